package compare

import "strings"

// coreGroup is how a text names the core API group where it must be told from
// "every group": "*.core".
const coreGroup = "core"

// right is one Kubernetes right, or a pattern of rights: a verb on a resource
// of an API group, or on a URL that is no resource.
type right struct {
	verb string
	// everything says that the right is on all resources and all URLs.
	everything bool
	// url is set for what is no resource ("/healthz", "/api/*").
	url string
	// group is "" for the core group; anyGroup overrides it.
	group    string
	anyGroup bool
	// resource is "pods", "pods/log", "*" or "*/scale".
	resource string
}

// parseRight reads "VERB RESOURCE[.GROUP][/SUBRESOURCE]", "VERB /PATH" or a verb
// alone. It is the grammar of Kubernetes operations, with wildcards.
func parseRight(text string) (right, bool) {
	verb, object, found := strings.Cut(text, " ")
	if verb == "" {
		return right{}, false
	}
	if !found {
		return right{verb: verb, everything: true}, true
	}
	if object == "" || strings.ContainsAny(object, " \t") {
		return right{}, false
	}
	r := right{verb: verb}
	if object[0] == '/' {
		r.url = object
		return r, true
	}
	return r, r.setResource(object, nil)
}

// setResource reads "RESOURCE[.GROUP][/SUBRESOURCE]". A resource that names no
// group is of the group given, and of the core group, or for "*" of every one,
// where none is given.
func (r *right) setResource(object string, group *string) bool {
	name, sub, hasSub := strings.Cut(object, "/")
	name, own, hasGroup := strings.Cut(name, ".")
	if name == "" || hasSub && sub == "" || hasGroup && own == "" {
		return false
	}
	switch {
	case hasGroup:
		r.setGroup(own)
	case group != nil:
		r.setGroup(*group)
	default:
		r.anyGroup = name == "*"
	}
	r.resource = name
	if hasSub {
		r.resource += "/" + sub
	}
	return true
}

func (r *right) setGroup(group string) {
	switch group {
	case "*":
		r.anyGroup = true
	case coreGroup:
		r.group = ""
	default:
		r.group = group
	}
}

// covers is RBAC's rule: verb, group and resource, or verb and URL, each equal
// or covered by RBAC's own wildcards, which are fewer than one would think:
// "pods/*" is none of them.
func (r *right) covers(n *right) bool {
	if r.verb != "*" && r.verb != n.verb {
		return false
	}
	switch {
	case r.everything:
		return true
	case n.everything:
		return false
	case n.url != "" || r.url != "":
		return n.url != "" && r.url != "" && coversPath(r.url, n.url)
	case !r.anyGroup && (n.anyGroup || r.group != n.group):
		return false
	case r.resource == "*" || r.resource == n.resource:
		return true
	}
	if sub, ok := strings.CutPrefix(r.resource, "*/"); ok {
		_, needed, has := strings.Cut(n.resource, "/")
		return has && sub == needed
	}
	return false
}

// coversPath compares URLs as RBAC does: equal, "*", or a prefix before "*".
func coversPath(granted, needed string) bool {
	if granted == needed || granted == "*" {
		return true
	}
	prefix, star := strings.CutSuffix(granted, "*")
	return star && strings.HasPrefix(needed, strings.TrimRight(prefix, "*"))
}

// nameless reports whether the authoriser never sees an object's name for this
// right, though an audit log may have taken one from the body: a rule that is
// narrowed to names never matches then.
func (r *right) nameless() bool {
	return r.url != "" || r.verb == "create" && !strings.Contains(r.resource, "/")
}

// clusterScoped reports whether requests of this right never carry a namespace,
// though an audit log may have taken one from the body.
func (r *right) clusterScoped() bool {
	return r.url != "" || r.verb == "create" && r.resource == "namespaces" && r.group == ""
}

// String writes the right in the grammar that parseRight reads.
func (r *right) String() string {
	switch {
	case r.everything:
		return r.verb
	case r.url != "":
		return r.verb + " " + r.url
	}
	name, sub, hasSub := strings.Cut(r.resource, "/")
	switch {
	case r.anyGroup && name != "*":
		name += ".*"
	case r.anyGroup:
	case r.group != "":
		name += "." + r.group
	case name == "*":
		name += "." + coreGroup
	}
	if hasSub {
		name += "/" + sub
	}
	return r.verb + " " + name
}

// alwaysAllowed says why an operation needs no right at all, empty if it does.
func alwaysAllowed(operation string) string {
	for _, p := range [...]string{"/healthz", "/livez", "/readyz"} {
		if _, path, _ := strings.Cut(operation, " "); path == p {
			return "an API server lets " + p + " through before it asks any authoriser, unless it is told otherwise"
		}
	}
	return ""
}

// otherAuthoriser says who besides RBAC decides about an identity of these
// groups, empty for no one that we know of.
func otherAuthoriser(groups []string) string {
	for _, g := range groups {
		switch g {
		case "system:nodes":
			return "the Node authoriser also decides about members of system:nodes"
		case "system:masters":
			return "the API server itself authorises members of system:masters"
		}
	}
	return ""
}
