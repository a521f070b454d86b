package rule

import "strings"

// clientMarks name clients by a mark anywhere in the user agent, where the first
// product does not tell: libraries and platforms go before it or hide it. The
// first that matches counts.
var clientMarks = []struct{ mark, family string }{
	{"terraform", "terraform"}, {"pulumi", "pulumi"}, {"azurecli/", "azure-cli"}, {"gcloud/", "gcloud"}, {"gsutil", "gsutil"},
	{"aws-cli/", "aws-cli"}, {"aiohttp/", "aiohttp"}, {"awspowershell", "powershell"}, {"windowspowershell", "powershell"},
	{"powershell/", "powershell"}, {"postmanruntime", "postman"}, {"headlesschrome", "headless-browser"}, {"phantomjs", "headless-browser"},
}

// clientNames are other names of one client.
var clientNames = map[string]string{
	"botocore": "boto3", "wget2": "wget", "httpie-go": "httpie", "xh": "httpie", "electron": "browser", "opera": "browser",
}

// ClientFamily names the client behind a user agent without its version and
// platform, so that an update is no other client: "aws-cli", "browser",
// "kubectl", "boto3"; of what is not known, the first product in lower case. It
// is empty where the log tells none.
func ClientFamily(agent string) string {
	agent = strings.ToLower(strings.TrimLeft(agent, "[ \t\"'"))
	for _, m := range clientMarks {
		if strings.Contains(agent, m.mark) {
			return m.family
		}
	}
	if rest, ok := strings.CutPrefix(agent, "mozilla/"); ok {
		if automated(rest) {
			return "crawler"
		}
		return "browser"
	}
	if i := strings.IndexAny(agent, "/ ,;]("); i >= 0 {
		agent = agent[:i]
	}
	if name, ok := clientNames[agent]; ok {
		return name
	}
	return agent
}

// automated reports whether what calls itself a browser says that it is none.
func automated(agent string) bool {
	for _, mark := range []string{"bot", "spider", "crawl", "+http", "monitor", "uptime"} {
		if strings.Contains(agent, mark) {
			return true
		}
	}
	return false
}

// handUse says how surely a client is driven by a person.
type handUse uint8

// Nothing is known of what is in no list: libraries, agents, services.
const (
	// maybeHand: command-line tools, which scripts call as well.
	maybeHand handUse = iota + 1
	// surelyHand: what has windows.
	surelyHand
)

var handDriven = map[string]handUse{
	"browser": surelyHand, "postman": surelyHand, "insomnia": surelyHand, "lens": surelyHand, "k9s": surelyHand, "bruno": surelyHand,
	"rapidapi": surelyHand, "paw": surelyHand, "hoppscotch": surelyHand,
	"curl": maybeHand, "wget": maybeHand, "httpie": maybeHand, "aws-cli": maybeHand, "gcloud": maybeHand, "gsutil": maybeHand,
	"azure-cli": maybeHand, "kubectl": maybeHand, "oc": maybeHand, "helm": maybeHand, "powershell": maybeHand, "grpcurl": maybeHand,
	"psql": maybeHand, "vault": maybeHand, "gh": maybeHand, "glab": maybeHand, "okta-cli": maybeHand,
}

// Desktop reports whether a user agent names a system that stands on desks and
// not in data centres. Servers with such a system exist, and are rare.
func Desktop(agent string) bool {
	agent = strings.ToLower(agent)
	if strings.Contains(agent, "server") && strings.Contains(agent, "windows") {
		return false
	}
	for _, mark := range []string{"darwin", "macintosh", "mac os x", "os/macos", "windows/10", "windows/11", "windows nt 10", "os/windows", "iphone", "android"} {
		if strings.Contains(agent, mark) {
			return true
		}
	}
	return false
}

// provider reports whether calls are made by a cloud's own back end on behalf of
// the caller: the user agent or the address is a service's name. From where such
// a call comes says nothing about who made it.
func provider(agent string) bool {
	agent = strings.ToLower(strings.TrimLeft(agent, "[ \t\"'"))
	first := agent
	if i := strings.IndexAny(first, "/ ,;]("); i >= 0 {
		first = first[:i]
	}
	for _, domain := range []string{".amazonaws.com", ".googleapis.com", ".azure.com"} {
		if strings.HasSuffix(first, domain) {
			return true
		}
	}
	return strings.HasPrefix(agent, "aws internal") || strings.Contains(agent, "aws-internal/") || first == "awslambda-worker" ||
		strings.Contains(agent, "google-internal") || strings.HasPrefix(agent, "microsoft azure portal")
}
