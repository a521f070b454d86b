package compare

import "strings"

// matchARN tells whether a resource pattern of an IAM entry takes in the object
// that a call shows. It says no only where the pattern surely speaks about
// another object of the same sort: a log often shows another object than the
// one that the right is checked against (the bucket instead of the object, the
// key instead of the secret). sure says that the operation needs this one
// right alone, so that the object shown must be its.
func matchARN(pattern, shown, action string, sure bool) truth {
	if pattern == "*" {
		return yes
	}
	prefix, name, _ := strings.Cut(action, ":")
	prefix = strings.ToLower(prefix)
	arn, ok := splitARN(shown)
	if !ok {
		return maybe
	}
	fits := arn.service == prefix && (prefix != "s3" || objectAction(name) == strings.Contains(arn.resource, "/"))
	if strings.Contains(pattern, "${") {
		// A policy variable: some value of it may match.
		pattern = variables(pattern)
		if glob(pattern, shown, false) {
			return maybe
		}
	}
	if !sure || !fits {
		return maybe
	}
	if glob(pattern, shown, false) {
		return yes
	}
	p, ok := splitARN(pattern)
	switch {
	case !ok:
		return maybe
	case !glob(p.service, prefix, true):
		return no // The entry's pattern for another of its services.
	case prefix != "s3" && kindOf(p.resource) != kindOf(arn.resource) && !strings.ContainsAny(kindOf(p.resource), "*?"):
		return maybe
	}
	return no
}

type arn struct{ service, resource string }

// splitARN parts "arn:partition:service:region:account:resource".
func splitARN(s string) (arn, bool) {
	f := strings.SplitN(s, ":", 6)
	if len(f) < 6 || f[0] != "arn" {
		return arn{}, false
	}
	return arn{f[2], f[5]}, true
}

// kindOf returns the kind that stands first in an ARN's resource ("role" of
// "role/ci"), empty where it has none (a queue).
func kindOf(resource string) string {
	if i := strings.IndexAny(resource, "/:"); i >= 0 {
		return resource[:i]
	}
	if strings.ContainsAny(resource, "*?") {
		return "*"
	}
	return ""
}

// objectAction reports whether an action of S3 is checked against an object
// rather than a bucket.
func objectAction(name string) bool {
	name = strings.ToLower(name)
	if strings.Contains(name, "bucket") {
		return false
	}
	return strings.Contains(name, "object") || strings.Contains(name, "multipart")
}

// variables replaces policy variables by "*".
func variables(pattern string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(pattern, "${")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteByte('*')
		_, pattern, _ = strings.Cut(after, "}")
	}
}
