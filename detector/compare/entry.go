package compare

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// truth is three-valued: what is not known for certain is maybe.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

func (t truth) not() truth { return yes - t }

// need is one scope that an operation needs.
type need struct {
	text string
	// right is the need parsed, where it is a Kubernetes one.
	right *right
}

func newNeed(d schema.Dialect, text string) need {
	n := need{text: text}
	if d == schema.DialectKubernetes {
		if r, ok := parseRight(text); ok {
			n.right = &r
		}
	}
	return n
}

// part is one scope of an entry, ready to be compared. For Kubernetes it is one
// verb on one resource of one group.
type part struct {
	// text is how it is shown.
	text  string
	right *right
	// all says that it is every scope, which not every dialect has a name for.
	all bool
}

func (p *part) covers(d schema.Dialect, n *need) bool {
	if p.all {
		return true
	}
	if p.right != nil && n.right != nil {
		return p.right.covers(n.right)
	}
	if p.right != nil || d == schema.DialectKubernetes {
		return p.text == n.text
	}
	return Covers(d, p.text, n.text)
}

// entry is a grant that counts for a service.
type entry struct {
	grant   *schema.Grant
	group   string
	dialect schema.Dialect
	parts   []part
	// except are left out of parts.
	except []part
}

// counts reports whether a grant speaks about the service's scopes, and in
// which dialect it is to be read: see the package comment.
func counts(g *schema.Grant, s *catalog.Service) (schema.Dialect, bool) {
	if g.Authority != "" && g.Authority != s.Authority {
		return 0, false
	}
	if g.Dialect == schema.DialectFlat || g.Dialect == s.Dialect {
		return s.Dialect, true
	}
	if g.Authority != "" {
		return g.Dialect, true
	}
	return g.Dialect, !special(g.Dialect) && !special(s.Dialect)
}

// special reports whether the dialect names the rights of one kind of system,
// so that its names mean nothing to another.
func special(d schema.Dialect) bool {
	return d == schema.DialectIAM || d == schema.DialectKubernetes
}

func newEntry(g *schema.Grant, group string, d schema.Dialect) entry {
	e := entry{grant: g, group: group, dialect: d}
	if d == schema.DialectKubernetes {
		e.kubernetes()
		return e
	}
	if g.Scopes == nil && len(g.Except) > 0 {
		e.parts = []part{{text: "*", all: true}}
		for _, s := range g.Except {
			e.except = append(e.except, part{text: s})
		}
		return e
	}
	for _, s := range g.Scopes {
		e.parts = append(e.parts, part{text: s})
	}
	return e
}

// kubernetes spreads an entry into its rights.
func (e *entry) kubernetes() {
	g := e.grant
	if g.Scopes == nil && len(g.Except) > 0 {
		e.parts = e.beside("*")
		for _, s := range g.Except {
			if r, ok := parseRight(s); ok && r.everything {
				e.except = append(e.except, part{text: s, right: &r})
			} else {
				e.except = append(e.except, e.whole(s)...)
			}
		}
		return
	}
	for _, s := range g.Scopes {
		if strings.Contains(s, " ") {
			e.parts = append(e.parts, e.whole(s)...)
		} else {
			e.parts = append(e.parts, e.beside(s)...)
		}
	}
}

// whole reads a scope that has verb and resource in one string. The groups that
// stand beside it count where it names none.
func (e *entry) whole(scope string) []part {
	verb, object, _ := strings.Cut(scope, " ")
	if strings.HasPrefix(object, "/") || len(e.grant.APIGroups) == 0 {
		if r, ok := parseRight(scope); ok {
			return []part{{text: r.String(), right: &r}}
		}
		return []part{{text: scope}}
	}
	var parts []part
	for i := range e.grant.APIGroups {
		r := right{verb: verb}
		if r.setResource(object, &e.grant.APIGroups[i]) {
			parts = append(parts, part{text: r.String(), right: &r})
		}
	}
	return parts
}

// beside spreads a verb over the resources and groups that stand beside it.
func (e *entry) beside(verb string) []part {
	g := e.grant
	if g.Resources == nil && g.APIGroups == nil {
		return []part{{text: verb, right: &right{verb: verb, everything: true}}}
	}
	resources, groups := g.Resources, g.APIGroups
	if resources == nil {
		resources = []string{"*"}
	}
	if groups == nil {
		groups = []string{"*"}
	}
	var parts []part
	for _, object := range resources {
		if strings.HasPrefix(object, "/") {
			r := right{verb: verb, url: object}
			parts = append(parts, part{text: r.String(), right: &r})
			continue
		}
		for i := range groups {
			r := right{verb: verb}
			if r.setResource(object, &groups[i]) && !slices.ContainsFunc(parts, func(p part) bool { return *p.right == r }) {
				parts = append(parts, part{text: r.String(), right: &r})
			}
		}
	}
	return parts
}

// covering returns the part that covers the need, by name alone.
func (e *entry) covering(n *need) *part {
	for i := range e.except {
		if e.except[i].covers(e.dialect, n) {
			return nil
		}
	}
	for i := range e.parts {
		if e.parts[i].covers(e.dialect, n) {
			return &e.parts[i]
		}
	}
	return nil
}

// applies tells whether the entry, which covers a need by name, applies to the
// request for all else that narrows it. open says that the concrete resource,
// which a fold does not show, could decide.
func (e *entry) applies(n *need, r *Request, sure bool) (t truth, open bool) {
	if e.dialect == schema.DialectKubernetes {
		t, open = e.appliesKubernetes(n, r)
	} else {
		t, open = e.appliesElsewhere(n, r, sure)
	}
	if e.grant.Conditional {
		t = min(t, maybe)
	}
	return t, open && t == maybe
}

func (e *entry) appliesKubernetes(n *need, r *Request) (truth, bool) {
	g := e.grant
	if g.Namespaces != nil {
		if n.right != nil && n.right.clusterScoped() || r.Tenant == "" ||
			!slices.Contains(g.Namespaces, r.Tenant) && !slices.Contains(g.Namespaces, "*") {
			return no, false
		}
	}
	if g.Names == nil {
		return yes, false
	}
	switch {
	case len(g.Names) == 0, n.right != nil && n.right.nameless():
		return no, false
	case !r.ResourceKnown:
		return maybe, true
	case slices.Contains(g.Names, r.Resource):
		return yes, false
	case hidden(r.Resource):
		return maybe, false
	}
	return no, false
}

// hidden reports whether a part of an object's name was removed with a secret.
func hidden(resource string) bool {
	return strings.Contains(resource, schema.RedactedPath) || strings.Contains(resource, schema.RedactedText)
}

// unhidden returns what is left of an object's name for patterns to match: in
// place of what was removed stands a character that only "*" takes in, and no
// digest follows.
func unhidden(resource string) string {
	if !hidden(resource) {
		return resource
	}
	if i := strings.LastIndexByte(resource, '#'); i >= 0 {
		resource = resource[:i]
	}
	return strings.NewReplacer(schema.RedactedPath, "\x00\x00", schema.RedactedText, "\x00\x00").Replace(resource)
}

func (e *entry) appliesElsewhere(n *need, r *Request, sure bool) (t truth, open bool) {
	g := e.grant
	t = yes
	if g.APIGroups != nil {
		t = maybe // No dialect but Kubernetes knows what they are.
	}
	if g.Namespaces != nil && !slices.Contains(g.Namespaces, "*") {
		switch {
		case len(g.Namespaces) == 0:
			return no, false
		case r.Tenant == "":
			t = maybe
		case !slices.ContainsFunc(g.Namespaces, func(p string) bool { return glob(p, r.Tenant, false) }):
			return no, false
		}
	}
	for i, patterns := range [...][]string{g.Resources, g.Names} {
		if patterns == nil || slices.Contains(patterns, "*") {
			continue
		}
		if len(patterns) == 0 {
			return no, false
		}
		if !r.ResourceKnown || r.Resource == "" {
			t, open = min(t, maybe), open || !r.ResourceKnown
			continue
		}
		shown := unhidden(r.Resource)
		match := no
		if hidden(r.Resource) {
			match = maybe
		}
		for _, p := range patterns {
			switch {
			case e.dialect == schema.DialectIAM:
				match = max(match, matchARN(p, shown, n.text, sure))
			case glob(p, shown, false), i == 1 && glob(p, shown[strings.LastIndexAny(shown, "/:")+1:], false):
				match = yes
			}
		}
		if match == no {
			return no, false
		}
		t = min(t, match)
	}
	return t, open
}

// holder is all that one credential, with the groups it presented, holds at the
// authority of one service.
type holder struct {
	number  uint64
	service *catalog.Service
	entries []entry
	// from is the instant from which on it is known what is held, if it is
	// known at all; the zero time is ever.
	known bool
	from  time.Time
	// bounds are the instants at which an entry begins or ends, rising.
	bounds []time.Time
	// byTenant and byResource say that some entry is narrowed by them.
	byTenant, byResource bool
	// unsure explains why lacking is never certain for this identity.
	unsure string
}

func newHolder(s *catalog.Service, declared *catalog.Credential, groups []string, held map[string][]schema.Grant) *holder {
	h := &holder{service: s}
	if declared != nil {
		for i := range declared.Grants {
			h.add(&declared.Grants[i], "")
		}
	}
	for i, name := range groups {
		if slices.Contains(groups[:i], name) {
			continue
		}
		grants := held[name]
		for j := range grants {
			h.add(&grants[j], name)
		}
	}
	slices.SortFunc(h.bounds, time.Time.Compare)
	h.bounds = slices.CompactFunc(h.bounds, time.Time.Equal)
	return h
}

func (h *holder) add(g *schema.Grant, group string) {
	dialect, ok := counts(g, h.service)
	if !ok {
		return
	}
	e := newEntry(g, group, dialect)
	h.entries = append(h.entries, e)
	// What a group gives its members is held besides: only an entry of the
	// credential's own says that its grants are known.
	if group == "" {
		if !h.known || g.From.Before(h.from) {
			h.from = g.From
		}
		h.known = true
	}
	for _, t := range [...]time.Time{g.From, g.To} {
		if !t.IsZero() {
			h.bounds = append(h.bounds, t)
		}
	}
	h.byTenant = h.byTenant || g.Namespaces != nil
	h.byResource = h.byResource || g.Names != nil || g.Resources != nil && dialect != schema.DialectKubernetes
}

// epoch returns the number of bounds that have passed at t, and the span
// around t in which that number is the same.
func (h *holder) epoch(t time.Time) (n int, since, until time.Time) {
	n, _ = slices.BinarySearchFunc(h.bounds, t, func(b, t time.Time) int {
		if b.After(t) {
			return 1
		}
		return -1
	})
	if n > 0 {
		since = h.bounds[n-1]
	}
	if n < len(h.bounds) {
		until = h.bounds[n]
	}
	return n, since, until
}

// source names where an entry stands.
func (e *entry) source() string {
	switch {
	case e.group != "" && e.grant.Source != "":
		return "group " + e.group + ", " + e.grant.Source
	case e.group != "":
		return "group " + e.group
	case e.grant.Source != "":
		return e.grant.Source
	}
	return "catalogue"
}

// narrowing tells in words what narrows an entry, empty if nothing does.
func (e *entry) narrowing() string {
	var b strings.Builder
	say := func(what string, list []string) {
		if list == nil {
			return
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(what + " " + several(list))
	}
	g := e.grant
	if e.dialect != schema.DialectKubernetes {
		if !slices.Equal(g.Resources, []string{"*"}) {
			say("on", g.Resources)
		}
		say("api groups", g.APIGroups)
	}
	say("in", g.Namespaces)
	say("named", g.Names)
	if g.Conditional {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString("conditional")
	}
	return b.String()
}

// several writes a list, of a long one only the beginning.
func several(list []string) string {
	const most = 4
	if len(list) <= most+1 {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// exceptions writes what is left out of an entry, empty for nothing.
func (e *entry) exceptions() string {
	if len(e.except) == 0 {
		return ""
	}
	names := make([]string, len(e.except))
	for i := range e.except {
		names[i] = e.except[i].text
	}
	return " except " + strings.Join(names, ", ")
}

// texts lists the entry's scopes as they are shown.
func (e *entry) texts() []string {
	narrow := e.narrowing()
	if narrow != "" {
		narrow = " (" + narrow + ")"
	}
	deny := ""
	if e.grant.Effect == schema.EffectDeny {
		deny = "not "
	}
	out := make([]string, len(e.parts))
	for i := range e.parts {
		out[i] = deny + e.parts[i].text + e.exceptions() + narrow
	}
	return out
}
