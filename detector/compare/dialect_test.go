package compare

import (
	"regexp"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

func TestCovers(t *testing.T) {
	const flat, wild, iam, kube, url = schema.DialectFlat, schema.DialectWildcard, schema.DialectIAM, schema.DialectKubernetes, schema.DialectURL
	tests := []struct {
		d               schema.Dialect
		granted, needed string
		want            bool
	}{
		{flat, "a", "a", true},
		{flat, "a*", "ab", false},
		{flat, "A", "a", false},
		{wild, "orders:*", "orders:read", true},
		{wild, "orders:*", "orders:read:own", true},
		{wild, "orders:*", "orders", false},
		{wild, "orders*", "orders", true},
		{wild, "orders*", "orders:read", true},
		{wild, "*:read", "orders:read", true},
		{wild, "*:read", "a:b:read", false},
		{wild, "*.Read.All", "User.Read.All", true},
		{wild, "User.*.All", "User.ReadWrite.All", true},
		{wild, "User.*.All", "User.Read.Write.All", false},
		{wild, "a:r*d:x", "a:read:x", true},
		{wild, "a:r*d:x", "a:r:d:x", false},
		{wild, "*", "anything:at.all/x", true},
		{wild, "orders:*", "orders:*", true},
		{wild, "orders:read*", "orders:*", false},
		{wild, "*:*", "orders:*", true},
		{wild, "*:read", "*:read", true},
		{wild, "a:*b", "a:*", false},
		{wild, "Orders:*", "orders:read", false},
		{iam, "*", "s3:GetObject", true},
		{iam, "s3:*", "S3:getobject", true},
		{iam, "s3:Get*", "s3:PutObject", false},
		{iam, "s3:?etObject", "s3:GetObject", true},
		{iam, "s3:Get?", "s3:Get*", false},
		{iam, "s3:Get*", "s3:Get*", true},
		{iam, "s3:G*t*ect", "s3:GetObject", true},
		{iam, "s3", "s3:GetObject", false},
		{kube, "get pods", "get pods", true},
		{kube, "get pods", "get pods/log", false},
		{kube, "get *", "get pods/log", true},
		{kube, "get *", "get deployments.apps", true},
		{kube, "get *.core", "get deployments.apps", false},
		{kube, "get *.core", "get pods", true},
		{kube, "get *.apps", "get deployments.apps/scale", true},
		{kube, "get pods.*", "get pods.metrics.k8s.io", true},
		{kube, "get pods", "get pods.metrics.k8s.io", false},
		{kube, "get */scale.x", "get a/scale", false},
		{kube, "update */scale", "update replicasets/scale", true},
		{kube, "update *.apps/scale", "update replicasets.apps/scale", true},
		{kube, "update *.apps/scale", "update replicasets/scale", false},
		{kube, "get pods/*", "get pods/log", false},
		{kube, "*", "delete nodes", true},
		{kube, "*", "get /healthz", true},
		{kube, "* *", "get /healthz", false},
		{kube, "* *", "get pods", true},
		{kube, "get", "get pods", true},
		{kube, "get", "list pods", false},
		{kube, "get /*", "get /metrics", true},
		{kube, "get /api/*", "get /api/v1", true},
		{kube, "get /api/*", "get /api", false},
		{kube, "get /api", "get /api/v1", false},
		{kube, "get pods", "get *", false},
		{kube, "get *", "get *", true},
		{kube, "get pods extra", "get pods", false},
		{kube, "", "get pods", false},
		{url, "https://h/auth/drive", "https://h/auth/drive", true},
		{url, "https://h/auth/drive", "https://h/auth/drive.readonly", false},
		{url, "https://h/auth/drive*", "https://h/auth/drive.readonly", false},
		{url, "https://h/auth/drive*", "https://h/auth/drive/files", true},
		{url, "https://h/auth/*", "https://h/auth/drive", true},
		{url, "https://h/auth/", "https://h/auth/drive", true},
		{url, "https://h/auth/", "https://h/authority", false},
		{url, "HTTPS://H/auth/", "https://h/auth/x", true},
		{url, "https://h/auth/", "http://h/auth/x", false},
		{url, "https://h/auth/", "https://h/auth/../admin", false},
		{url, "https://h/auth/", "https://h/auth/%2E%2e/admin", false},
		{url, "https://h*", "https://h.evil/x", false},
		{url, "https://mail.google.com/", "https://mail.google.com/", true},
		{url, "openid", "openid", true},
		{url, "openid*", "openid", false},
	}
	for _, tt := range tests {
		if got := Covers(tt.d, tt.granted, tt.needed); got != tt.want {
			t.Errorf("%v: %q covers %q: %v", tt.d, tt.granted, tt.needed, got)
		}
	}
}

func TestRightWrittenAndRead(t *testing.T) {
	for _, text := range []string{"get pods", "get pods/log", "list deployments.apps", "* *", "get *.core", "get pods.*", "get *.apps/scale",
		"get */scale", "get /healthz", "get /api/*", "*", "get", "get ingresses.networking.k8s.io/status"} {
		r, ok := parseRight(text)
		if !ok || r.String() != text {
			t.Errorf("%q is read as %+v and written %q", text, r, r.String())
		}
	}
}

func TestWithoutVersion(t *testing.T) {
	for name, want := range map[string]string{
		"ListFunctions20150331":         "ListFunctions",
		"GetFunction20150331v2":         "GetFunction",
		"CreateDistribution2020_05_31":  "CreateDistribution",
		"InvokeV2":                      "InvokeV2",
		"DescribeInstances":             "DescribeInstances",
		"ListObjectsV2":                 "ListObjectsV2",
		"20150331":                      "20150331",
		"v2":                            "v2",
		"GetFunctionUrlConfig":          "GetFunctionUrlConfig",
		"DeleteTrafficPolicy2013_04_01": "DeleteTrafficPolicy",
	} {
		if got := withoutVersion(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// pattern turns a glob into a regular expression.
func pattern(glob, star string, single, fold bool) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`^(?s`)
	if fold {
		b.WriteString(`i`)
	}
	b.WriteString(`)`)
	for i, c := range []byte(glob) {
		switch {
		case c == '*' && i == len(glob)-1:
			b.WriteString(`.*`)
		case c == '*':
			b.WriteString(star)
		case c == '?' && single:
			b.WriteString(`.`)
		default:
			b.WriteString(regexp.QuoteMeta(string(rune(c))))
		}
	}
	return regexp.MustCompile(b.String() + `$`)
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// The matchers agree with regular expressions, and a covered pattern means that
// everything it stands for is covered.
func FuzzCovers(f *testing.F) {
	f.Add(uint8(1), "orders:*", "orders:read", "x")
	f.Add(uint8(1), "*:r*d:*", "orders:read:*", ":")
	f.Add(uint8(2), "s3:?et*", "s3:Get*", "Object")
	f.Add(uint8(3), "* *.apps/scale", "get deployments.apps/scale", "x")
	f.Add(uint8(4), "https://h/a/*", "https://h/a/../b", "x")
	f.Fuzz(func(t *testing.T, d uint8, granted, needed, filler string) {
		dialect := schema.Dialect(d % 5)
		got := Covers(dialect, granted, needed)
		if granted == needed && !got && !strings.Contains(granted, "?") {
			t.Fatalf("%v: %q does not cover itself", dialect, granted)
		}
		if len(granted)+len(needed) > 60 || !ascii(granted+needed+filler) {
			return
		}
		if !strings.Contains(needed, "*") {
			var want *regexp.Regexp
			switch dialect {
			case schema.DialectWildcard:
				want = pattern(granted, `[^:./]*`, false, false)
			case schema.DialectIAM:
				want = pattern(granted, `.*`, true, true)
			}
			if want != nil && want.MatchString(needed) != got {
				t.Fatalf("%v: %q covers %q: %v, %s says otherwise", dialect, granted, needed, got, want)
			}
			return
		}
		if !got || strings.ContainsAny(filler, "*") || dialect == schema.DialectKubernetes || dialect == schema.DialectURL || dialect == schema.DialectFlat {
			return
		}
		head, last := needed, ""
		if strings.HasSuffix(needed, "*") {
			head, last = needed[:len(needed)-1], filler
		}
		inner := filler
		if dialect == schema.DialectWildcard {
			inner = strings.NewReplacer(":", "", ".", "", "/", "").Replace(filler)
		}
		if one := strings.ReplaceAll(head, "*", inner) + last; !Covers(dialect, granted, one) {
			t.Fatalf("%v: %q covers %q, but not %q", dialect, granted, needed, one)
		}
	})
}

// Whatever a text is, reading a right from it and judging by it must not fail,
// and what is written is read back.
func FuzzRight(f *testing.F) {
	f.Add("get pods", "list *.core")
	f.Add("* */scale", "update a.b.c/scale")
	f.Add("get /api/*", "get /api/v1")
	f.Fuzz(func(t *testing.T, a, b string) {
		r, ok := parseRight(a)
		if !ok {
			return
		}
		if again, ok := parseRight(r.String()); !ok || again != r {
			t.Fatalf("%q is %+v, written %q and read %+v", a, r, r.String(), again)
		}
		if !r.covers(&r) {
			t.Fatalf("%q does not cover itself", a)
		}
		if n, ok := parseRight(b); ok && r.covers(&n) && n.covers(&r) && r.String() != n.String() && !strings.Contains(r.url+n.url, "*") {
			t.Fatalf("%q and %q cover each other", a, b)
		}
	})
}

// Resource patterns and events of any form are read without failing.
func FuzzARN(f *testing.F) {
	f.Add("arn:aws:s3:::logs/*", "arn:aws:s3:::logs/a", "s3:GetObject", "s3:GetObject20150331v2")
	f.Add("arn:aws:iam::1:user/${aws:username}", "arn:aws:iam::1:user/a", "iam:GetUser", "iam:")
	f.Fuzz(func(t *testing.T, pattern, shown, action, event string) {
		if matchARN("*", shown, action, true) != yes {
			t.Fatal("* does not match")
		}
		if got := matchARN(pattern, shown, action, false); got == no {
			t.Fatal("not sure, and yet no")
		}
		matchARN(pattern, shown, action, true)
		EventDemand(event)
	})
}
