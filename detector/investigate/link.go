package investigate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Links are followed in a span of their own, since traces lie anywhere in the
// store: around what is strange, else at the window's end.
const (
	// linksAround is how long before and after something strange links are
	// followed: as long as movements are merged.
	linksAround = rule.MergeWindow
	// linksMost bounds the span.
	linksMost = 7 * 24 * time.Hour
)

// Links is where the credentials' calls came from and led to.
type Links struct {
	// Window is the span in which links were followed.
	Window schema.Window `json:"window"`
	// Path is the way of a movement, hop by hop: a finding's, if there is one,
	// else what links tell from the likely entry on.
	Path []schema.Hop `json:"path"`
	// From names the finding that tells the path, empty if links do.
	From schema.FindingID `json:"from,omitempty"`
	// Entry says in words where the path begins, empty where nothing is known.
	Entry string `json:"entry,omitempty"`
	// Edges are what calls show within three hops, backwards and forwards.
	Edges []detector.Edge `json:"edges"`
	// Touched is what was done from places that do not belong.
	Touched []Used `json:"touched"`
	// Cut says in sentences what was not followed.
	Cut []string `json:"cut,omitempty"`
}

// linkWindow chooses the span to follow links in.
func (w *work) linkWindow(all bool) schema.Window {
	r := w.result
	span := r.Window
	if all {
		return span
	}
	// Of a credential or place that fell silent the end of the window tells nothing.
	var last time.Time
	for i := range r.Credentials {
		if r.Credentials[i].Last.After(last) {
			last = r.Credentials[i].Last
		}
	}
	if last.IsZero() {
		last = span.To
	}
	first := last.Add(-linksAround)
	switch {
	case w.suspect != nil && !w.suspect.First.IsZero():
		first, last = w.suspect.First, w.suspect.Last
	case r.Stranger >= 0:
		first, last = r.Places[r.Stranger].First, r.Places[r.Stranger].Last
	}
	if last.Sub(first) > linksMost {
		last = first.Add(linksMost)
	}
	first, last = first.Add(-linksAround), last.Add(linksAround+time.Microsecond)
	if first.After(span.From) {
		span.From = first
	}
	if last.Before(span.To) {
		span.To = last
	}
	return span
}

// links follows what leads to the credentials' calls and from them.
func (w *work) links(ctx context.Context, cfg detector.Config, all bool) error {
	r := w.result
	l := &r.Links
	*l = Links{Window: w.linkWindow(all), Path: []schema.Hop{}, Edges: []detector.Edge{}, Touched: []Used{}}
	cfg.Window, cfg.Only = l.Window, nil
	d := detector.New(cfg)
	starts := []detector.Node{}
	if w.place != "" {
		starts = append(starts, detector.Node{Kind: detector.NodePlace, Name: w.place})
	} else {
		for i := range r.Credentials {
			starts = append(starts, detector.Node{Kind: detector.NodeCredential, Name: r.Credentials[i].ID})
		}
	}
	for _, start := range starts {
		reach, err := d.Reach(ctx, start)
		var nobody *detector.UnknownCredential
		var nowhere *detector.UnknownPlace
		switch {
		case errors.As(err, &nobody), errors.As(err, &nowhere):
			continue // silent in that span
		case err != nil:
			return err
		}
		l.Edges = append(l.Edges, reach.Edges...)
		for _, why := range reach.Cut {
			if !slices.Contains(l.Cut, why) {
				l.Cut = append(l.Cut, why)
			}
		}
	}
	if err := w.touched(ctx); err != nil {
		return err
	}
	w.path()
	return nil
}

// touched lists what was done from places that do not belong.
func (w *work) touched(ctx context.Context) error {
	r := w.result
	strange, home := map[placeKey]bool{}, map[placeKey]bool{}
	for i := range r.Places {
		for _, k := range r.Places[i].keys() {
			strange[k] = strange[k] || r.Places[i].Strange != ""
			home[k] = home[k] || r.Places[i].Strange == ""
		}
	}
	if w.place != "" || r.Stranger < 0 {
		return nil // all of it is from the place asked about, or nothing is strange
	}
	for _, j := range w.judged {
		var origins []rule.Origin
		mixed := false
		err := w.facts.Origins(ctx, r.Window, hashes(j.Subject), func(o *rule.Origin) error {
			k := originKey(o)
			mixed = mixed || strange[k] && home[k]
			if strange[k] && !home[k] {
				origins = append(origins, *o)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if mixed {
			w.note(fmt.Sprintf("calls of %s that another client made from the same network as it are not told apart in what was touched", j.Subject.Name))
		}
		if len(origins) == 0 {
			continue
		}
		if len(origins) > maxOrigins {
			w.note(fmt.Sprintf("%s was used from %d strange sessions and addresses: what they touched is of the first %d", j.Subject.Name, len(origins), maxOrigins))
		}
		slices.SortFunc(origins, func(a, b rule.Origin) int {
			return cmp.Or(a.First.Compare(b.First), slices.Compare(a.Hash[:], b.Hash[:]), cmp.Compare(a.Session, b.Session), a.Address.Compare(b.Address), cmp.Compare(a.Workload, b.Workload))
		})
		uses, err := j.From(ctx, origins[:min(len(origins), maxOrigins)], true)
		if err != nil {
			return err
		}
		r.Links.Touched = append(r.Links.Touched, w.used(&judged{j.Judged, uses})...)
	}
	sortUsed(r.Links.Touched)
	return nil
}

// originKey is the key of a place as far as an origin tells it.
func originKey(o *rule.Origin) placeKey {
	return keyOf(&rule.Spot{Workload: o.Workload, Address: o.Address})
}

// keys are those that origins from the place have.
func (p *Place) keys() []placeKey {
	if p.Workload != "" {
		return []placeKey{{workload: p.Workload}}
	}
	var list []placeKey
	for _, n := range p.Networks {
		if _, err := netip.ParsePrefix(n); err == nil {
			list = append(list, placeKey{network: n})
		}
	}
	return list
}

// path tells the way: as a finding of movement does, or else from the edges that
// lead backwards to the strange calls.
func (w *work) path() {
	r := w.result
	l := &r.Links
	if f := w.mover(); f != nil {
		l.From, l.Path = f.ID, append(l.Path, f.Evidence.Hops...)
	} else {
		l.Path = append(l.Path, hopsOf(l.Edges, true)...)
		l.Path = append(l.Path, w.strangers()...)
		l.Path = append(l.Path, hopsOf(l.Edges, false)...)
	}
	slices.SortStableFunc(l.Path, func(a, b schema.Hop) int { return a.Time.Compare(b.Time) })
	// Without anything strange, links are a matter of every day.
	if len(l.Path) > 0 && (l.From != "" || r.Stranger >= 0 || w.suspect != nil) {
		h := &l.Path[0]
		l.Entry = fmt.Sprintf("%s, at %s with %s", h.From, h.Time.UTC().Format("2006-01-02 15:04:05"), h.Credential)
	}
}

// mover is the finding that tells a way through the credentials: the one asked
// about, else the gravest and earliest open one.
func (w *work) mover() *schema.Finding {
	if w.suspect != nil && len(w.suspect.Evidence.Hops) > 0 {
		return w.suspect
	}
	var best *schema.Finding
	for i := range w.findings {
		f := &w.findings[i]
		if len(f.Evidence.Hops) == 0 || f.Status != schema.StatusOpen || !f.First.Before(w.result.Window.To) || f.Last.Before(w.result.Window.From) ||
			!w.concerns(f) {
			continue
		}
		if best == nil || f.Severity > best.Severity || f.Severity == best.Severity && (f.First.Before(best.First) || f.First.Equal(best.First) && f.ID < best.ID) {
			best = f
		}
	}
	return best
}

// concerns reports whether one of the credentials takes part in a movement.
func (w *work) concerns(f *schema.Finding) bool {
	for i := range w.result.Credentials {
		name := w.result.Credentials[i].ID
		if f.Credential.ID == name || slices.ContainsFunc(f.Evidence.Hops, func(h schema.Hop) bool { return h.Credential == name || h.To == name }) {
			return true
		}
	}
	return false
}

// hopsOf turns links into hops: what issued or caused something, not every call.
func hopsOf(edges []detector.Edge, backward bool) []schema.Hop {
	var hops []schema.Hop
	for i := range edges {
		e := &edges[i]
		if e.Backward != backward || e.Kind != detector.EdgeMint && e.Kind != detector.EdgeCause {
			continue
		}
		call := e.Call
		h := schema.Hop{Kind: "mint", Tier: int(e.Tier), Time: e.First, From: e.From.Name, To: e.To.Name, Credential: e.From.Name, Call: &call}
		if e.Kind == detector.EdgeCause {
			h.Kind = "call"
			h.To = cmp.Or(e.Service, e.Place, e.To.Name)
		}
		if len(e.Operations) > 0 {
			h.Operation = e.Operations[0]
		}
		hops = append(hops, h)
	}
	return hops
}

// strangers are the first uses from places that do not belong.
func (w *work) strangers() []schema.Hop {
	var hops []schema.Hop
	for i := range w.result.Places {
		p := &w.result.Places[i]
		if p.Strange == "" || !w.result.Links.Window.Contains(p.First) {
			continue
		}
		h := schema.Hop{Kind: "switch", Time: p.First, From: p.Name, Credential: p.Credentials[0]}
		for k := range w.result.Links.Touched {
			u := &w.result.Links.Touched[k]
			if u.First.Equal(p.First) {
				h.To, h.Operation, h.Tenant = u.Service, u.Operation, u.Tenant
			}
		}
		hops = append(hops, h)
	}
	return hops
}
