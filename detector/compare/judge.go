package compare

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// maxCached bounds each of the comparer's memories; a full one is emptied.
const maxCached = 1 << 16

// Comparer compares use with grants. Its methods may be called by many
// goroutines at once.
type Comparer struct {
	services map[string]*catalog.Service
	groups   map[string][]schema.Grant
	// implying are the declared scopes that imply others, by name.
	implying []schema.Scope

	mu         sync.RWMutex
	holders    map[holderKey]*holder
	numbers    uint64
	demands    map[demandKey]*demand
	judgements map[string]*Judgement
	// granted shares the lists of what is held among judgements: one may be
	// thousands of scopes long.
	granted map[string][]string
}

// New returns a comparer over a catalogue, which must not change any more.
func New(cat *catalog.Catalog) *Comparer {
	c := &Comparer{
		services:   make(map[string]*catalog.Service, len(cat.Services)),
		groups:     make(map[string][]schema.Grant, len(cat.Groups)),
		holders:    map[holderKey]*holder{},
		demands:    map[demandKey]*demand{},
		judgements: map[string]*Judgement{},
		granted:    map[string][]string{},
	}
	for _, s := range cat.Services {
		c.services[s.Name] = s
	}
	for i := range cat.Groups {
		g := &cat.Groups[i]
		c.groups[g.Name] = append(c.groups[g.Name], g.Grants...)
	}
	for _, s := range cat.Scopes {
		if len(s.Implies) > 0 {
			c.implying = append(c.implying, s)
		}
	}
	slices.SortFunc(c.implying, func(a, b schema.Scope) int { return strings.Compare(a.Name, b.Name) })
	return c
}

// Judge tells whether the credential of the request held what the operation
// needs.
func (c *Comparer) Judge(r *Request) Judgement {
	service := c.services[r.Service]
	if service == nil {
		return Judgement{
			Demand:  schema.Demand{Why: fmt.Sprintf("the catalogue has no service %q", r.Service)},
			Reasons: []string{fmt.Sprintf("the catalogue has no service %q, so what the operation needs is not known", r.Service)},
		}
	}
	h := c.holder(service, r.Declared, r.Groups)
	mode := service.Grant
	if mode == schema.GrantDefault {
		mode = schema.GrantDeclared
		if r.Scopes != nil {
			mode = schema.GrantPresented
		}
	}
	var epoch int
	var since, until time.Time
	if mode != schema.GrantPresented {
		epoch, since, until = h.epoch(r.Time)
	}
	var space [256]byte
	key := h.key(space[:0], r, mode, epoch)
	c.mu.RLock()
	j := c.judgements[string(key)]
	c.mu.RUnlock()
	if j == nil {
		e := evaluation{
			c: c, h: h, r: r, mode: mode,
			demand: c.demand(service, r.Operation, r.Kind),
			known:  h.known && !r.Time.Before(h.from),
		}
		j = e.judge(epoch)
		j.Since, j.Until = since, until
		c.mu.Lock()
		if len(c.judgements) >= maxCached {
			clear(c.judgements)
		}
		c.judgements[string(key)] = j
		c.mu.Unlock()
	}
	return *j
}

// evaluation is one judgement in the making.
type evaluation struct {
	c      *Comparer
	h      *holder
	r      *Request
	mode   schema.GrantMode
	demand *demand
	// known says that what was declared at the time is known.
	known bool

	reasons []string
	open    bool
}

func (e *evaluation) say(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if !slices.Contains(e.reasons, s) {
		e.reasons = append(e.reasons, s)
	}
}

func (e *evaluation) judge(epoch int) *Judgement {
	j := &Judgement{Demand: e.demand.Demand, Mode: e.mode, Granted: e.granted(epoch)}
	switch {
	case !routed(e.r.RouteSource):
		if e.r.RouteSource == schema.RouteLearned {
			e.say("the operation was learned from traffic, and a learned route decides no verdict")
		} else {
			e.say("no route is known for the call, so what it needs is not known")
		}
	case e.demand.State == schema.DemandUnmapped:
		e.say("what the operation needs is not known: %s", e.demand.Why)
	case e.demand.State == schema.DemandPublic:
		e.say("the operation needs no scope")
		j.Holding = Holds
	default:
		e.alternatives(j)
	}
	if j.Holding == Lacks && len(e.demand.instead) > 0 && e.possible(e.demand.instead) {
		e.say("the request may have needed %s instead, which may be held", quoted(e.demand.instead))
		j.Holding, j.Missing = Unknown, nil
	}
	if j.Holding == Lacks {
		if why := e.elsewhere(); why != "" {
			e.say("%s, so lacking is not certain", why)
			j.Holding, j.Missing = Unknown, nil
		}
	}
	j.Reasons = e.reasons
	j.NeedsResource = j.Holding == Unknown && e.open
	return j
}

// possible tells whether all the needs are held or may be.
func (e *evaluation) possible(list []needs) bool {
	for k := range list {
		v := e.need(&list[k])
		if v.truth == no {
			return false
		}
		e.open = e.open || v.open
	}
	return true
}

func quoted(list []needs) string {
	names := make([]string, len(list))
	for i := range list {
		names[i] = strconv.Quote(list[i].text())
	}
	return strings.Join(names, " and ")
}

// elsewhere names who else decides about this call, empty for no one.
func (e *evaluation) elsewhere() string {
	if e.h.unsure != "" || e.h.service.Dialect != schema.DialectKubernetes {
		return e.h.unsure
	}
	return alwaysAllowed(e.r.Operation)
}

// alternatives judges the demand: it holds if one alternative does, and lacks
// if all fail.
func (e *evaluation) alternatives(j *Judgement) {
	best := no
	var missing [][]string
	for i := range e.demand.Alternatives {
		a := &e.demand.Alternatives[i]
		if a.Unscoped {
			e.say("%s authenticates without scopes, so what it allows is not known", schemeName(a))
			best = max(best, maybe)
			continue
		}
		held := yes
		open := false
		var lacks []string
		var by []Contribution
		for k := range e.demand.needs[i] {
			n := &e.demand.needs[i][k]
			v := e.need(n)
			if v.truth == no {
				lacks = append(lacks, n.text())
			}
			held = min(held, v.truth)
			open = open || v.open
			by = append(by, v.by...)
		}
		switch held {
		case yes:
			if best != yes {
				j.Satisfied, j.By = a, by
			}
		case no:
			missing = append(missing, lacks)
		case maybe:
			e.open = e.open || open
		}
		best = max(best, held)
	}
	switch best {
	case yes:
		j.Holding = Holds
		e.reasons = nil
		for _, b := range j.By {
			e.say("%q is held through %q (%s)", b.Need, b.Scope, b.Source)
		}
		if len(j.By) == 0 {
			e.say("the operation needs no scope")
		}
	case no:
		j.Holding, j.Missing = Lacks, missing
	}
}

func schemeName(a *schema.Alternative) string {
	if a.Scheme == "" {
		return "an alternative"
	}
	return "the security scheme " + a.Scheme
}

// verdict is the answer about one need.
type verdict struct {
	truth truth
	// open says that the concrete resource, were it known, could decide.
	open bool
	by   []Contribution
}

// need tells whether one need is held, by the grant that counts.
func (e *evaluation) need(n *needs) verdict {
	switch e.mode {
	case schema.GrantPresented:
		return e.presented(n)
	case schema.GrantBoth:
		p, d := e.presented(n), e.declared(n)
		return verdict{min(p.truth, d.truth), d.open && p.truth != no, append(p.by, d.by...)}
	case schema.GrantEither:
		p, d := e.presented(n), e.declared(n)
		v := verdict{max(p.truth, d.truth), d.open, append(p.by, d.by...)}
		// A declared deny wins over what was presented, too.
		refused, open := e.refused(&n.up[0], n.sure)
		v.truth = min(v.truth, refused.not())
		v.open = v.open || open
		return v
	}
	return e.declared(n)
}

// presented looks among the scopes that the call presented.
func (e *evaluation) presented(n *needs) verdict {
	if e.r.Scopes == nil {
		e.say("the call carries no scopes, so what its credential presented is not known")
		return verdict{truth: maybe}
	}
	v := verdict{}
	for _, s := range e.r.Scopes {
		for i := range n.up {
			if Covers(e.h.service.Dialect, s, n.up[i].text) {
				v.truth = yes
				v.by = append(v.by, Contribution{n.text(), s, nil, "presented"})
				break
			}
		}
	}
	if v.truth == no {
		e.say("%q is not among the scopes presented", n.text())
	}
	return v
}

// declared looks among the entries of the catalogue that were in force.
func (e *evaluation) declared(n *needs) verdict {
	v := verdict{}
	for i := range n.up {
		up := &n.up[i]
		refused, refusedOpen := e.refused(up, n.sure)
		for k := range e.h.entries {
			entry := &e.h.entries[k]
			if entry.grant.Effect != schema.EffectAllow || !entry.grant.InForce(e.r.Time) {
				continue
			}
			part := entry.covering(up)
			if part == nil {
				continue
			}
			applies, open := entry.applies(&n.up[0], e.r, n.sure)
			t := min(applies, refused.not())
			switch {
			case t == yes:
				v.by = append(v.by, Contribution{n.text(), part.text + entry.exceptions(), entry.grant, entry.source()})
			case applies == maybe:
				e.say("%q (%s) may give %q: %s", part.text, entry.source(), n.text(), entry.why(e.r))
			}
			v.truth = max(v.truth, t)
			v.open = v.open || t == maybe && (open || refusedOpen)
		}
	}
	refused, open := e.refused(&n.up[0], n.sure)
	v.truth = min(v.truth, refused.not())
	switch {
	case v.truth == no && refused != yes && !e.known:
		e.say("%s", e.unknownGrant())
		v.truth, v.open = maybe, false
	case v.truth == no:
		v.open = false
		if refused != yes {
			e.say("%q is not among the scopes held at %s", n.text(), e.h.service.Authority)
		}
	case refused == maybe:
		v.open = v.open || open
	}
	if v.truth != yes {
		v.by = nil
	}
	return v
}

// refused tells whether a deny entry in force refuses the scope.
func (e *evaluation) refused(n *need, sure bool) (t truth, open bool) {
	for k := range e.h.entries {
		entry := &e.h.entries[k]
		if entry.grant.Effect != schema.EffectDeny || !entry.grant.InForce(e.r.Time) {
			continue
		}
		part := entry.covering(n)
		if part == nil {
			continue
		}
		applies, o := entry.applies(n, e.r, sure)
		switch applies {
		case yes:
			e.say("%q is denied through %q (%s)", n.text, part.text, entry.source())
		case maybe:
			e.say("%q (%s) may deny %q: %s", part.text, entry.source(), n.text, entry.why(e.r))
		}
		t = max(t, applies)
		open = open || o
	}
	return t, open && t == maybe
}

// why tells why an entry is uncertain for the request.
func (e *entry) why(r *Request) string {
	g := e.grant
	var why []string
	if g.Conditional {
		why = append(why, "the entry is conditional")
	}
	kubernetes := e.dialect == schema.DialectKubernetes
	if g.APIGroups != nil && !kubernetes {
		why = append(why, "it names API groups, which only Kubernetes has")
	}
	if g.Namespaces != nil && !kubernetes && r.Tenant == "" && !slices.Contains(g.Namespaces, "*") {
		why = append(why, "it holds only in "+several(g.Namespaces)+", and the call shows no tenant")
	}
	objects := g.Names
	if !kubernetes {
		objects = append(slices.Clone(g.Resources), g.Names...)
	}
	if len(objects) > 0 && !slices.Contains(objects, "*") {
		only := "it holds only on " + several(objects)
		switch {
		case !r.ResourceKnown:
			why = append(why, only+", and these calls are not told apart by that")
		case r.Resource == "":
			why = append(why, only+", which the call does not show")
		default:
			why = append(why, fmt.Sprintf("%s, and %q does not tell whether it does", only, r.Resource))
		}
	}
	return strings.Join(why, ", and ")
}

func (e *evaluation) unknownGrant() string {
	at, besides := e.h.service.Authority, ""
	if len(e.h.entries) > 0 {
		besides = " besides what its groups give"
	}
	switch {
	case e.h.known:
		return fmt.Sprintf("what was held at %s is known only from %s on", at, e.h.from.UTC().Format(time.RFC3339))
	case e.r.Declared == nil:
		return fmt.Sprintf("the credential is not in the catalogue, so what it holds at %s%s is not known", at, besides)
	}
	return fmt.Sprintf("the catalogue has no grant entry of %s for %s, so what it holds there%s is not known", e.r.Declared.ID, at, besides)
}

// routed reports whether a route may decide a verdict.
func routed(s schema.RouteSource) bool {
	return s == schema.RouteFromSource || s == schema.RouteSpec || s == schema.RouteRule
}
