package recommend

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// before returns the entries that a proposal replaces: those declared, or one
// for each authority to which tokens presented scopes.
func (w *work) before() []schema.Grant {
	if d := w.j.Subject.Declared; d != nil && len(d.Grants) > 0 {
		return append(slices.Clone(d.Grants), w.presentedGrants(w.all())...)
	}
	return append([]schema.Grant{}, w.presentedGrants(w.all())...)
}

// presentedGrants writes presented scopes as entries.
func (w *work) presentedGrants(kept []bool) []schema.Grant {
	var list []schema.Grant
	for a := range w.atoms {
		h := &w.atoms[a].held
		if h.Grant != nil {
			continue
		}
		at := slices.IndexFunc(list, func(g schema.Grant) bool { return g.Authority == h.Authority })
		if at < 0 {
			at = len(list)
			list = append(list, schema.Grant{Authority: h.Authority, Dialect: h.Dialect, Scopes: []string{}, Source: "presented by its tokens"})
		}
		if kept[a] {
			list[at].Scopes = append(list[at].Scopes, h.Scope)
		}
	}
	return list
}

// grants writes the proposal: the declared entries without what is not kept.
// Entries that deny, or are not in force now, stay as they are. An entry of
// which nothing is kept stays as one that gives nothing, so that what the
// credential holds at the authority remains known.
func (w *work) grants(kept []bool) []schema.Grant {
	list := []schema.Grant{}
	if d := w.j.Subject.Declared; d != nil {
		for i := range d.Grants {
			list = append(list, w.entry(i, &d.Grants[i], kept))
		}
	}
	return append(list, w.presentedGrants(kept)...)
}

// entry writes one declared entry of the proposal.
func (w *work) entry(index int, g *schema.Grant, kept []bool) schema.Grant {
	var all, left []string
	kubernetes := false
	for a := range w.atoms {
		if w.atoms[a].entry != index {
			continue
		}
		h := &w.atoms[a].held
		kubernetes = h.Dialect == schema.DialectKubernetes
		all = append(all, h.Scope)
		if kept[a] {
			left = append(left, h.Scope)
		}
	}
	if len(left) == len(all) {
		return *g // also an entry that is not in force, or denies
	}
	out := *g
	switch {
	case len(left) == 0:
		out.Scopes, out.Except = []string{}, nil
	case kubernetes:
		// The rights are written out, verb and resource in one string; what
		// else narrows the entry stays.
		out.Scopes, out.APIGroups, out.Resources = left, nil, nil
	default:
		out.Scopes = left
	}
	return out
}

// trial is the credential as it would be declared.
func (w *work) trial(grants []schema.Grant) *catalog.Credential {
	var c catalog.Credential
	if d := w.j.Subject.Declared; d != nil {
		c = *d
		c.Grants = grants[:len(d.Grants)]
	}
	return &c
}

// check refuses a proposal that is wider than the grant: every scope that it
// gives must be given by the grant, on the same objects and times, and every
// entry that denies must still be there.
func (w *work) check(grants []schema.Grant) error {
	d := w.j.Subject.Declared
	if d == nil {
		return nil
	}
	window := schema.Window{From: w.now, To: w.j.Env.Window.To}
	type right struct {
		authority, scope, narrowed string
		dialect                    schema.Dialect
		from, to                   int64
		conditional                bool
	}
	held := map[right]bool{}
	for _, h := range w.j.Env.Compare.Held(d, nil, window) {
		held[right{h.Authority, h.Scope, h.Narrowed, h.Dialect, h.Grant.From.UnixNano(), h.Grant.To.UnixNano(), h.Conditional}] = true
	}
	trial := w.trial(grants)
	for _, h := range w.j.Env.Compare.Held(trial, nil, window) {
		if !held[right{h.Authority, h.Scope, h.Narrowed, h.Dialect, h.Grant.From.UnixNano(), h.Grant.To.UnixNano(), h.Conditional}] {
			return fmt.Errorf("%w (scope %q)", errWider, h.Scope)
		}
	}
	for i := range d.Grants {
		if d.Grants[i].Effect == schema.EffectDeny && !sameGrant(&d.Grants[i], &trial.Grants[i]) {
			return fmt.Errorf("%w (a denying entry is gone)", errWider)
		}
	}
	return nil
}

func sameGrant(a, b *schema.Grant) bool {
	return a.Authority == b.Authority && a.Effect == b.Effect && a.Dialect == b.Dialect && slices.Equal(a.Scopes, b.Scopes) &&
		slices.Equal(a.Except, b.Except) && slices.Equal(a.Resources, b.Resources) && slices.Equal(a.Namespaces, b.Namespaces) &&
		slices.Equal(a.Names, b.Names) && slices.Equal(a.APIGroups, b.APIGroups) && a.Conditional == b.Conditional &&
		a.From.Equal(b.From) && a.To.Equal(b.To)
}

// passes reports whether a use would be satisfied for certain by the proposal.
// It asks the comparer anew, with the proposal's entries, rather than trusting
// how the proposal was made.
func (w *work) passes(u *rule.Use, grants []schema.Grant, kept []bool) bool {
	request := w.request(u, w.trial(grants))
	if w.j.Subject.Declared == nil {
		request.Declared = nil
	}
	mode := w.mode(u)
	if mode == schema.GrantPresented {
		request.Scopes = w.presentedLeft(u, kept)
	}
	return len(w.j.Env.Compare.Covers(&request, mode)) > 0
}

// presentedLeft are the scopes that a call would still present.
func (w *work) presentedLeft(u *rule.Use, kept []bool) []string {
	left := []string{}
	s := w.j.Env.Catalog.ServiceNamed(u.Service)
	for _, scope := range u.Scopes {
		if a, ok := w.byKey[atomKey{nil, s.Authority, scope}]; !ok || kept[a] {
			left = append(left, scope)
		}
	}
	return left
}

// replay judges uses against a proposal, as far as the grant of today covers
// them.
func (w *work) replay(uses []rule.Use, grants []schema.Grant, kept []bool, window schema.Window) Replay {
	r := Replay{Window: window}
	var all, refused usage
	for i := range uses {
		u := &uses[i]
		if !counts(u) || w.clauses(u) == nil {
			continue
		}
		all.add(u)
		if !w.passes(u, grants, kept) {
			refused.add(u)
		}
	}
	r.Operations = len(all.byOperation)
	r.Calls, r.Days, _ = all.total()
	r.Refused = refused.operations()
	return r
}

// holdOut makes a proposal from what came before the split, and replays what
// came after. What nothing can be said about is kept there, too.
func (w *work) holdOut(split time.Time, silent []rule.Silence) *HoldOut {
	var before, after []rule.Use
	for i := range w.legitimate {
		if u := w.legitimate[i]; u.First.Before(split) {
			before = append(before, u)
		} else {
			after = append(after, u)
		}
	}
	needs := w.needs(before)
	s := solve(w.problem(needs), nodeLimit)
	kept := w.kept(s.keep, silent)
	h := &HoldOut{Split: split, Replay: w.replay(after, w.grants(kept), kept, schema.Window{From: split, To: w.j.Env.Window.To})}
	for _, in := range kept {
		if !in {
			h.Removed++
		}
	}
	return h
}

// yaml writes entries as a piece of a catalogue. Every text is quoted, so that
// reading it back gives the same entries.
func (w *work) yaml(grants []schema.Grant) string {
	var b strings.Builder
	b.WriteString("credentials:\n  - id: " + quote(w.j.Subject.Name) + "\n")
	if w.j.Subject.Declared == nil {
		b.WriteString("    match:\n")
		for _, id := range w.j.Subject.Credential().Observed {
			b.WriteString("      - {id: " + quote(id) + "}\n")
		}
	}
	if len(grants) == 0 {
		b.WriteString("    grants: []\n")
		return b.String()
	}
	b.WriteString("    grants:\n")
	for i := range grants {
		b.WriteString("      - {" + strings.Join(fields(&grants[i]), ", ") + "}\n")
	}
	return b.String()
}

// fields writes what is set of an entry.
func fields(g *schema.Grant) []string {
	var out []string
	text := func(key, value string) {
		if value != "" {
			out = append(out, key+": "+quote(value))
		}
	}
	list := func(key string, values []string, write bool) {
		if !write {
			return
		}
		quoted := make([]string, len(values))
		for i, v := range values {
			quoted[i] = quote(v)
		}
		out = append(out, key+": ["+strings.Join(quoted, ", ")+"]")
	}
	text("authority", g.Authority)
	if g.Dialect != schema.DialectFlat || g.Authority != "" {
		// Left out, it would be that of the authority's services.
		out = append(out, "dialect: "+g.Dialect.String())
	}
	if g.Effect != schema.EffectAllow {
		out = append(out, "effect: "+g.Effect.String())
	}
	list("scopes", g.Scopes, g.Scopes != nil)
	list("except", g.Except, len(g.Except) > 0)
	list("api_groups", g.APIGroups, g.APIGroups != nil)
	list("resources", g.Resources, g.Resources != nil)
	list("namespaces", g.Namespaces, g.Namespaces != nil)
	list("names", g.Names, g.Names != nil)
	if g.Conditional {
		out = append(out, "conditional: true")
	}
	for _, bound := range []struct {
		key string
		at  time.Time
	}{{"from", g.From}, {"to", g.To}} {
		if !bound.at.IsZero() {
			out = append(out, bound.key+": "+bound.at.UTC().Format(time.RFC3339Nano))
		}
	}
	text("source", g.Source)
	return out
}

// quote writes a YAML double-quoted scalar. Go's quoting of ASCII differs from
// YAML's in nothing but its own escapes for bytes that are no UTF-8, which a
// catalogue cannot hold anyway.
func quote(s string) string { return strconv.QuoteToASCII(strings.ToValidUTF8(s, "\uFFFD")) }
