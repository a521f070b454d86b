package catalog

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

var sectionNames = []string{"services", "scopes", "credentials", "groups", "sources", "changes", "suppressions"}

// sections reads one document of a catalogue file and returns how many sections
// it has.
func (l *loader) sections(file *sourceFile, n *node) int {
	if n.kind != kindMap {
		l.problem(file, n, fmt.Sprintf("a catalogue must be a mapping, not %s", n.kind), "it has the sections "+strings.Join(sectionNames, ", "))
		return 0
	}
	f, _ := l.fields(file, n, "catalogue", sectionNames...)
	read := map[string]func(*sourceFile, *node){
		"services": l.service, "scopes": l.scope, "credentials": l.credential, "groups": l.group, "sources": l.source, "changes": l.change, "suppressions": l.suppression,
	}
	count := 0
	for _, name := range sectionNames {
		section := n.get(name)
		if section == nil {
			continue
		}
		count++
		// A section that is being emptied or begun is no mistake.
		if section.kind == kindNull {
			continue
		}
		for _, item := range f.items(name) {
			read[name](file, item)
		}
	}
	return count
}

func (l *loader) scope(file *sourceFile, n *node) {
	f, ok := l.fields(file, n, "scope", "name", "implies", "sensitivity", "rare")
	if !ok {
		return
	}
	s := schema.Scope{
		Name:        f.required("name"),
		Implies:     f.texts("implies", false),
		Sensitivity: uint8(f.integer("sensitivity", 1, 4)),
		Rare:        f.text("rare"),
	}
	if s.Name != "" && l.once(file, n, "scope", s.Name) {
		l.catalog.Scopes[s.Name] = s
		l.scopePlaces = append(l.scopePlaces, scopePlace{file, n, s.Name})
	}
}

// scopePlace is where a scope is declared, in the order of declaration.
type scopePlace struct {
	file *sourceFile
	at   *node
	name string
}

var credentialKinds = []string{"service", "agent", "ci", "third_party", "human"}

func (l *loader) credential(file *sourceFile, n *node) {
	f, ok := l.fields(file, n, "credential", "id", "match", "kind", "owner", "workload", "purpose",
		"grants", "approved", "issued", "expires", "revoked", "owner_until", "max_token_lifetime")
	if !ok {
		return
	}
	c := &Credential{
		ID: f.required("id"), Owner: f.text("owner"), Workload: f.text("workload"), Purpose: f.text("purpose"),
		MaxTokenLifetime: f.duration("max_token_lifetime"), File: file.path, Line: n.line,
	}
	if i := f.word("kind", credentialKinds); i >= 0 {
		c.Kind = credentialKinds[i]
	}
	c.Issued, c.Expires = f.period("issued", "expires")
	c.Revoked, c.OwnerUntil = f.instant("revoked", true), f.instant("owner_until", true)
	if !c.OwnerUntil.IsZero() && c.Owner == "" {
		l.problem(file, n.get("owner_until"), `"owner_until" says when an owner left, and "owner" names none`, "name the owner")
	}
	if c.ID != "" && !l.once(file, n, "credential", c.ID) {
		return
	}
	if matches := f.items("match"); len(matches) > 0 {
		for _, item := range matches {
			l.match(file, item, c)
		}
	} else if f.n.get("match") == nil || f.n.get("match").kind == kindList {
		l.problem(file, n, fmt.Sprintf("credential %q has no match, so nothing would be recognised as it", c.ID), `add one, such as match: [{client: "…"}]`)
	}
	c.Grants = l.grants(&f)
	if approved := f.value("approved"); approved != nil {
		c.Approved = l.approved(file, approved, c.ID)
	}
	l.catalog.Credentials = append(l.catalog.Credentials, c)
}

func (l *loader) match(file *sourceFile, n *node, c *Credential) {
	f, ok := l.fields(file, n, "match entry", "kind", "id", "issuer", "subject", "client")
	if !ok {
		return
	}
	m := Match{ID: f.text("id"), Issuer: f.text("issuer"), Subject: f.text("subject"), Client: f.text("client")}
	kinds := schema.CredentialKinds()
	if i := f.word("kind", kinds); i >= 0 {
		kind := schema.CredentialKind(i)
		m.Kind = &kind
	}
	if f.value("kind") != nil && m.Kind == nil {
		return
	}
	everything := m.Kind == nil
	for _, glob := range [...]string{m.ID, m.Issuer, m.Subject, m.Client} {
		everything = everything && strings.Trim(glob, "*") == ""
	}
	if everything {
		if len(n.entries)+len(n.merged) == 0 || m != (Match{}) {
			l.problem(file, n, fmt.Sprintf("a match entry of credential %q matches everything", c.ID), "give it a kind, id, issuer, subject or client")
		}
		return
	}
	kind := "any"
	if m.Kind != nil {
		kind = m.Kind.String()
	}
	key := fmt.Sprintf("match %q %q %q %q %q", kind, m.ID, m.Issuer, m.Subject, m.Client)
	if first, ok := l.declared[key]; ok {
		l.problem(file, n, fmt.Sprintf("credential %q has the same match entry as %s", c.ID, first), "a call must belong to one credential: remove one entry or make it narrower")
		return
	}
	l.declared[key] = fmt.Sprintf("credential %q in %s", c.ID, file.place(n.line))
	c.Match = append(c.Match, m)
}

func (l *loader) approved(file *sourceFile, n *node, credential string) *Approved {
	f, ok := l.fields(file, n, "approval", "services", "operations", "environments", "tenants", "networks")
	if !ok {
		return nil
	}
	a := &Approved{
		Services: f.texts("services", false), Operations: f.texts("operations", false),
		Environments: f.texts("environments", false), Tenants: f.texts("tenants", false),
	}
	if services := n.get("services"); services.is(kindList) {
		for _, item := range services.items {
			l.references = append(l.references, reference{file, item, item.text, fmt.Sprintf("credential %q approves", credential), false})
		}
	}
	if networks := f.items("networks"); networks != nil {
		a.Networks = make([]netip.Prefix, 0, len(networks))
		for _, item := range networks {
			if p, ok := l.network(file, item); ok {
				a.Networks = append(a.Networks, p)
			}
		}
	}
	return a
}

// network reads a CIDR, or one address.
func (l *loader) network(file *sourceFile, n *node) (netip.Prefix, bool) {
	if n.kind == kindText {
		if p, err := netip.ParsePrefix(n.text); err == nil {
			if p != p.Masked() {
				l.problem(file, n, fmt.Sprintf("network %q has bits set behind its length", n.text), fmt.Sprintf("did you mean %q?", p.Masked()))
				return p, false
			}
			return p, true
		}
		if a, err := netip.ParseAddr(n.text); err == nil && a.Zone() == "" {
			return netip.PrefixFrom(a, a.BitLen()), true
		}
	}
	l.problem(file, n, fmt.Sprintf("%s is no network", describe(n)), "write 10.20.0.0/16 or 2001:db8::/32")
	return netip.Prefix{}, false
}

// grants reads the key "grants" of a credential or group.
func (l *loader) grants(f *fields) []schema.Grant {
	items := f.items("grants")
	if items == nil {
		return nil
	}
	grants := make([]schema.Grant, 0, len(items))
	var undecided []int
	for _, item := range items {
		g, decided, ok := l.grant(f.file, item)
		if !ok {
			continue
		}
		if !decided {
			undecided = append(undecided, len(grants))
		}
		grants = append(grants, g)
	}
	for _, i := range undecided {
		l.undecided = append(l.undecided, &grants[i])
	}
	return grants
}

// grant reads one grant; decided says that it names its dialect.
func (l *loader) grant(file *sourceFile, n *node) (g schema.Grant, decided, ok bool) {
	f, ok := l.fields(file, n, "grant", "authority", "dialect", "effect", "scopes", "except", "api_groups",
		"resources", "namespaces", "names", "conditional", "from", "to", "source")
	if !ok {
		return g, false, false
	}
	g = schema.Grant{
		Authority: f.text("authority"), Source: f.text("source"), Conditional: f.boolean("conditional"),
		Scopes: f.texts("scopes", false), Except: f.texts("except", false),
		APIGroups: f.texts("api_groups", true), Resources: f.texts("resources", false),
		Namespaces: f.texts("namespaces", true), Names: f.texts("names", false),
	}
	if i := f.word("dialect", schema.Dialects()); i >= 0 {
		g.Dialect = schema.Dialect(i)
	}
	if i := f.word("effect", []string{"allow", "deny"}); i >= 0 {
		g.Effect = schema.Effect(i)
	}
	g.From, g.To = f.period("from", "to")
	scopes, except := n.get("scopes"), n.get("except")
	switch {
	case scopes != nil && except != nil:
		l.problem(file, except, "a grant has either scopes or except, not both", "except means all scopes but these")
	case scopes == nil && except == nil:
		l.problem(file, n, "a grant needs scopes or except", "write scopes: [] to say that nothing is held")
	case except.is(kindList) && len(except.items) == 0:
		l.problem(file, except, "except is empty, which would grant everything", `write scopes: ["*"] if that is meant`)
	}
	return g, n.get("dialect") != nil, true
}

func (l *loader) group(file *sourceFile, n *node) {
	f, ok := l.fields(file, n, "group", "name", "grants")
	if !ok {
		return
	}
	g := Group{Name: f.required("name"), File: file.path, Line: n.line}
	if n.get("grants") == nil {
		l.problem(file, n, `a group needs the key "grants"`, "")
	}
	g.Grants = l.grants(&f)
	if g.Name != "" && l.once(file, n, "group", g.Name) {
		l.catalog.Groups = append(l.catalog.Groups, g)
	}
}

func (l *loader) source(file *sourceFile, n *node) {
	f, ok := l.fields(file, n, "source", "name", "services", "complete", "sample", "from", "to")
	if !ok {
		return
	}
	s := SourceCoverage{Name: f.required("name"), Services: f.texts("services", false), Complete: f.boolean("complete"), Sample: 1}
	s.From, s.To = f.period("from", "to")
	if sample := f.value("sample"); sample != nil {
		v, err := strconv.ParseFloat(sample.text, 64)
		if sample.kind != kindNumber || err != nil || !(v > 0 && v <= 1) {
			l.problem(file, sample, fmt.Sprintf(`"sample" must be a number above 0, at most 1, not %s`, describe(sample)), "1.0 is every call, 0.1 one in ten")
		} else {
			s.Sample = v
		}
	}
	if services := n.get("services"); services.is(kindList) {
		for _, item := range services.items {
			l.references = append(l.references, reference{file, item, item.text, fmt.Sprintf("source %q covers", s.Name), true})
		}
	}
	for i := range l.catalog.Sources {
		other := &l.catalog.Sources[i]
		if s.Name != "" && other.Name == s.Name && overlap(other.From, other.To, s.From, s.To) {
			l.problem(file, n, fmt.Sprintf("source %q is declared twice for the same time, first in %s", s.Name, l.sourcePlaces[i]), "remove or rename one, or bound both with from and to")
			return
		}
	}
	l.catalog.Sources = append(l.catalog.Sources, s)
	l.sourcePlaces = append(l.sourcePlaces, file.place(n.line))
}

// overlap reports whether two half-open periods have a moment in common; zero
// is unbounded.
func overlap(from1, to1, from2, to2 time.Time) bool {
	return (to1.IsZero() || from2.IsZero() || from2.Before(to1)) && (to2.IsZero() || from1.IsZero() || from1.Before(to2))
}
