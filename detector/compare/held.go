package compare

import (
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// HeldScope is one scope that the catalogue says a credential holds.
//
// One may also be made by hand for a scope that tokens presented: Authority,
// Scope and Dialect are enough then.
type HeldScope struct {
	Authority string
	// Scope is the scope as text: as written, for Kubernetes one verb on one
	// resource ("get pods"), for all but some "* except a, b".
	Scope   string
	Dialect schema.Dialect
	// Narrowed tells in words on what alone it is held ("in ci"), empty for
	// everything.
	Narrowed string
	// Grant is the entry it stands in, nil for a presented scope.
	Grant *schema.Grant
	// Group is the group that holds it, empty if the credential itself does.
	Group string
	// From and To bound when it was held within the window asked for; zero is
	// unbounded.
	From, To    time.Time
	Conditional bool
	// Denied says that a deny entry of the credential's own, in force at the
	// end of the window asked for, surely refuses all of it.
	Denied bool

	entry *entry
}

// Held lists every declared allow scope of the credential, and of the groups
// given, that was in force at some time in the window, in the order of the
// catalogue. A scope given by two entries is listed twice.
func (c *Comparer) Held(declared *catalog.Credential, groups []string, w schema.Window) []HeldScope {
	var held []HeldScope
	if declared != nil {
		for i := range declared.Grants {
			held = c.appendHeld(held, &declared.Grants[i], "", w)
		}
		c.markDenied(held, declared, w.To)
	}
	seen := map[string]bool{}
	for _, name := range groups {
		if seen[name] {
			continue
		}
		seen[name] = true
		for i := range c.groups[name] {
			held = c.appendHeld(held, &c.groups[name][i], name, w)
		}
	}
	return held
}

func (c *Comparer) appendHeld(held []HeldScope, g *schema.Grant, group string, w schema.Window) []HeldScope {
	from, to := later(g.From, w.From), earlier(g.To, w.To)
	if g.Effect != schema.EffectAllow || !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return held
	}
	whole := newEntry(g, group, c.dialectOf(g))
	except := whole.exceptions()
	narrowed := whole.narrowing()
	for i := range whole.parts {
		one := whole
		one.parts = whole.parts[i : i+1]
		held = append(held, HeldScope{
			Authority: g.Authority, Scope: one.parts[0].text + except, Dialect: one.dialect, Narrowed: narrowed,
			Grant: g, Group: group, From: from, To: to, Conditional: g.Conditional, entry: &one,
		})
	}
	return held
}

// markDenied marks the scopes that a deny entry in force just before the end
// refuses, wherever and on whatever they are used. In doubt, as with two
// patterns of which one may be the wider, a scope is not marked.
func (c *Comparer) markDenied(held []HeldScope, declared *catalog.Credential, end time.Time) {
	for i := range declared.Grants {
		g := &declared.Grants[i]
		if g.Effect != schema.EffectDeny || end.IsZero() && !g.To.IsZero() || !end.IsZero() && !g.InForce(end.Add(-time.Nanosecond)) {
			continue
		}
		deny := newEntry(g, "", c.dialectOf(g))
		if deny.narrowing() != "" {
			continue
		}
		for k := range held {
			h := &held[k]
			if h.Dialect != deny.dialect || g.Authority != "" && g.Authority != h.Authority || len(h.entry.except) > 0 {
				continue
			}
			allow := &h.entry.parts[0]
			part := deny.covering(&need{text: allow.text, right: allow.right})
			h.Denied = h.Denied || part != nil && !allow.all &&
				(part.all || allow.right != nil || !strings.ContainsAny(allow.text, "*?") || part.text == allow.text || part.text == "*")
		}
	}
}

// dialectOf returns the dialect an entry is read in: a flat one takes that of
// the services it speaks to, if they agree.
func (c *Comparer) dialectOf(g *schema.Grant) schema.Dialect {
	if g.Dialect != schema.DialectFlat {
		return g.Dialect
	}
	found, d := false, schema.DialectFlat
	for _, s := range c.services {
		if g.Authority != "" && g.Authority != s.Authority {
			continue
		}
		if found && s.Dialect != d {
			return schema.DialectFlat
		}
		found, d = true, s.Dialect
	}
	return d
}

// Uses tells whether a held scope takes part in satisfying the request, or may:
// it covers a need of an alternative that is satisfied, or may be (or, where
// every alternative fails, of any). It need not be pivotal: where two held
// scopes would each do, both are used.
func (c *Comparer) Uses(held HeldScope, r *Request) bool {
	service := c.services[r.Service]
	if service == nil || !routed(r.RouteSource) || held.Grant != nil && !held.Grant.InForce(r.Time) {
		return false
	}
	e := held.readFor(service)
	if e == nil {
		return false
	}
	d := c.demand(service, r.Operation, r.Kind)
	if d.State != schema.DemandKnown {
		return false
	}
	if e.touches(d.instead, r) {
		return true
	}
	var touched []int
	for i := range d.needs {
		if e.touches(d.needs[i], r) {
			touched = append(touched, i)
		}
	}
	if len(touched) == 0 {
		return false
	}
	h := c.holder(service, r.Declared, r.Groups)
	ev := &evaluation{
		c: c, h: h, r: r, mode: schema.GrantDeclared, demand: d,
		known: h.known && !r.Time.Before(h.from),
	}
	for _, i := range touched {
		if ev.possible(d.needs[i]) {
			return true
		}
	}
	// Every alternative that it is part of fails. Where another one satisfies
	// the request, that one was used.
	for i := range d.needs {
		if d.Alternatives[i].Unscoped || ev.possible(d.needs[i]) {
			return false
		}
	}
	return true
}

// touches tells whether an entry covers, or may cover, one of the needs.
func (e *entry) touches(list []needs, r *Request) bool {
	for k := range list {
		n := &list[k]
		for i := range n.up {
			if e.covering(&n.up[i]) == nil {
				continue
			}
			if t, _ := e.applies(&n.up[0], r, n.sure); t != no {
				return true
			}
		}
	}
	return false
}

// readFor returns the entry as it counts for the service, nil if it does not.
func (h *HeldScope) readFor(s *catalog.Service) *entry {
	if h.Grant == nil {
		if h.Authority != "" && h.Authority != s.Authority {
			return nil
		}
		e := newEntry(&schema.Grant{Scopes: []string{h.Scope}}, "", s.Dialect)
		return &e
	}
	d, ok := counts(h.Grant, s)
	switch {
	case !ok:
		return nil
	case h.entry != nil && h.entry.dialect == d:
		return h.entry
	}
	// Read in another service's dialect: the same scope of the entry, if it
	// has one of that text there.
	whole := newEntry(h.Grant, h.Group, d)
	for i := range whole.parts {
		text := whole.parts[i].text
		if text == h.Scope || strings.HasPrefix(h.Scope, text+" except ") {
			whole.parts = whole.parts[i : i+1]
			return &whole
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// earlier returns the earlier of two ends, of which the zero time is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
