package investigate

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// homeDays is after how many days of use elsewhere a place that is new counts as
// strange, where the catalogue declares no home: as many as make a baseline
// mature.
const homeDays = 7

// placeKey is what places are told apart by.
type placeKey struct{ workload, network, client string }

// placeFold is calls from one place.
type placeFold struct {
	key         placeKey
	addresses   map[netip.Addr]bool
	networks    map[string]bool
	clients     map[string]bool
	credentials map[string]bool
	days        map[schema.Day]bool
	byReporter  [4]uint64
	place       Place
	// away says that a detection speaks of calls from here.
	away bool
}

func (f *placeFold) calls() uint64 {
	for _, n := range f.byReporter {
		if n > 0 {
			return n
		}
	}
	return 0
}

func keyOf(p *rule.Spot) placeKey {
	if p.Workload != "" {
		return placeKey{workload: rule.SeatName(p.Workload, netip.Addr{}, "")}
	}
	k := placeKey{client: p.Client()}
	if n := rule.Network(p.Address); n.IsValid() {
		k.network = n.String()
	}
	return k
}

// name is how a place is called.
func (k placeKey) name() string {
	switch {
	case k.workload != "":
		return k.workload
	case k.network == "" && k.client == "":
		return "unknown"
	case k.network == "":
		return k.client
	case k.client == "":
		return k.network
	}
	return k.network + " (" + k.client + ")"
}

// places finds from where the credentials were used, and which place is strange.
func (w *work) places(ctx context.Context) error {
	names, away := map[schema.PrincipalHash]string{}, map[placeKey]bool{}
	var all []schema.PrincipalHash
	for _, j := range w.judged {
		for _, h := range hashes(j.Subject) {
			names[h] = j.Subject.Name
			all = append(all, h)
		}
		for i := range j.Away {
			o := &j.Away[i]
			away[keyOf(&rule.Spot{Workload: o.Workload, Address: o.Address})] = true
		}
	}
	// Of an origin the client is not known, so such keys have none.
	isAway := func(k placeKey) bool { k.client = ""; return away[k] }
	suspects := w.suspects()
	found := map[placeKey]*placeFold{}
	err := w.facts.Spots(ctx, detector.SpotQuery{Window: w.result.Window, Hashes: all}, func(p *rule.Spot) error {
		k := keyOf(p)
		f := found[k]
		if f == nil {
			f = &placeFold{key: k, addresses: map[netip.Addr]bool{}, networks: map[string]bool{}, clients: map[string]bool{}, credentials: map[string]bool{},
				days: map[schema.Day]bool{}, place: Place{Name: k.name(), Workload: k.workload, First: p.First, Last: p.Last}}
			found[k] = f
		}
		f.add(p, names[p.Hash])
		f.away = f.away || isAway(k)
		return nil
	})
	if err != nil {
		return err
	}
	folds := make([]*placeFold, 0, len(found))
	for _, f := range found {
		folds = append(folds, f)
	}
	slices.SortFunc(folds, func(a, b *placeFold) int {
		return cmp.Or(a.place.First.Compare(b.place.First), cmp.Compare(a.place.Name, b.place.Name))
	})
	w.judgePlaces(folds, suspects)
	return nil
}

func (f *placeFold) add(p *rule.Spot, credential string) {
	if p.Address.IsValid() {
		f.addresses[p.Address] = true
		f.networks[rule.Network(p.Address).String()] = true
	}
	if c := p.Client(); c != "" {
		f.clients[c] = true
	}
	f.credentials[credential] = true
	for _, d := range p.Days {
		f.days[d] = true
	}
	if int(p.Reporter) < len(f.byReporter) {
		f.byReporter[p.Reporter] += p.Calls
	}
	if p.First.Before(f.place.First) {
		f.place.First = p.First
	}
	if p.Last.After(f.place.Last) {
		f.place.Last = p.Last
	}
}

// suspects are the places of the calls that the finding asked about shows, if it
// is one that speaks of calls that should not be.
func (w *work) suspects() map[placeKey]bool {
	set := map[placeKey]bool{}
	if w.suspect == nil {
		return set
	}
	for i := range w.suspect.Evidence.Calls {
		c := &w.suspect.Evidence.Calls[i]
		set[keyOf(&rule.Spot{Workload: c.Workload, Address: c.ClientAddress, Agent: c.UserAgent})] = true
	}
	return set
}

// judgePlaces says which places do not belong, in the order of their first use.
func (w *work) judgePlaces(folds []*placeFold, suspects map[placeKey]bool) {
	var total uint64
	for _, f := range folds {
		total += f.calls()
	}
	before := map[schema.Day]bool{} // days of use from places seen earlier that belong
	w.result.Places = []Place{}
	for _, f := range folds {
		p := f.place
		p.Networks, p.Clients, p.Credentials = sorted(f.networks), sorted(f.clients), sorted(f.credentials)
		p.Addresses, p.Days, p.Calls = len(f.addresses), len(f.days), f.calls()
		if len(f.addresses) == 1 {
			for a := range f.addresses {
				p.Address = a.String()
			}
		}
		if total > 0 {
			p.Share = float64(int(float64(p.Calls)/float64(total)*10000+0.5)) / 10000
		}
		settled := 0
		start := schema.DayOf(p.First)
		for d := range before {
			if d < start {
				settled++
			}
		}
		switch {
		case w.place != "":
			// The place was asked about; which others the credentials have is
			// for comparison.
		case f.away:
			p.Strange = "it is not where the catalogue says the credential lives"
		case settled >= homeDays:
			p.Strange = fmt.Sprintf("it is new after %d days of use from elsewhere", settled)
			if suspects[f.key] {
				p.Strange += ", and the finding's calls came from it"
			}
		}
		if p.Strange == "" {
			for d := range f.days {
				before[d] = true
			}
		} else if w.result.Stranger < 0 {
			w.result.Stranger = len(w.result.Places)
		}
		w.result.Places = append(w.result.Places, p)
	}
}
