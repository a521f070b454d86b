package rule

import (
	"strings"
	"testing"
)

func TestClientFamily(t *testing.T) {
	for agent, want := range map[string]string{
		"": "", "aws-cli/2.15.0 Python/3.11.6 Linux/6.1": "aws-cli", "[aws-cli/1.18.136 Python/3.8.5 Darwin/19.5.0 botocore/1.17.59]": "aws-cli",
		"Boto3/1.18.55 Python/3.9.8": "boto3", "Botocore/1.34": "boto3", "kubectl/v1.29.0 (linux/amd64) kubernetes/3f7a50f": "kubectl",
		"Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/119.0":   "browser",
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": "crawler",
		"Mozilla/5.0 (X11) AppleWebKit/537.36 HeadlessChrome/119.0":                "headless-browser",
		"python-requests/2.31.0": "python-requests", "Python/3.11 aiohttp/3.9": "aiohttp", "Go-http-client/1.1": "go-http-client", "curl/8.5.0": "curl",
		"APN/1.0 HashiCorp/1.0 Terraform/1.5.7 (+https://www.terraform.io)": "terraform", "PostmanRuntime/7.36.0": "postman",
		"python/3.10.10 (Linux) AZURECLI/2.50.0": "azure-cli", "OurOwnThing 7": "ourownthing", "café/1": "café",
	} {
		if got := ClientFamily(agent); got != want {
			t.Errorf("%q is %q, want %q", agent, got, want)
		}
	}
	for agent, want := range map[string]bool{
		"aws-cli/2.15.0 Python/3.11 Windows/10 exe/AMD64": true, "aws-cli/2.15.0 Python/3.11 Windows/2019Server exe/AMD64": false,
		"Boto3/1.18 Python/3.9 Darwin/19.5.0": true, "kubectl/v1.29.0 (darwin/arm64)": true, "Boto3/1.18 Linux/5.4": false, "": false,
	} {
		if Desktop(agent) != want {
			t.Errorf("desktop of %q is not %v", agent, want)
		}
	}
	for agent, want := range map[string]bool{
		"cloudformation.amazonaws.com": true, "AWS Internal": true, "aws-internal/3 aws-sdk-java/1.12": true, "[AWS Internal]": true,
		"evil.amazonaws.com.example/1": false, "aws-cli/2.15": false, "": false,
	} {
		if provider(agent) != want {
			t.Errorf("provider of %q is not %v", agent, want)
		}
	}
}

// FuzzClientFamily: a version is no part of a family, and nothing breaks.
func FuzzClientFamily(f *testing.F) {
	for _, seed := range []string{"aws-cli/2.15", "Mozilla/5.0 (", "\xff/\x00", "[[ x", "/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, agent string) {
		family := ClientFamily(agent)
		if strings.ContainsAny(family, "/ ,;](") || family != ClientFamily(family) && !strings.Contains(family, "mozilla") {
			t.Errorf("%q is %q", agent, family)
		}
	})
}
