package rule

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Tunables of shared credentials.
const (
	// SharingDays is how many days back sharing is looked for: a week has each
	// job in it.
	SharingDays = 7
	// steadyDays is on how many of them a place must have called: what ran once is
	// a debug pod or a migration.
	steadyDays = 3
	// alike is the share of common operations (Jaccard) from which two places are
	// one application, contained the share of the smaller profile within the larger:
	// a canary does a part of what its application does.
	alike, contained = 0.2, 0.5
	// leastOperations is how many operations a place must call that is only known by
	// its address, unless both network and client are its own: replicas that happen
	// to do one thing each are no applications.
	leastOperations = 3
)

// sharedRule is D07: several applications use one credential.
type sharedRule struct {
	base
	doors map[door]*doorUse
	// places says which place each door is part of, once all arrivals are known.
	places map[door]*workplace
}

func (r *sharedRule) since() time.Time { return r.env.Window.To.Add(-SharingDays * 24 * time.Hour) }

func (r *sharedRule) arrival(v *Arrival) {
	if !r.subject.Machine() || v.Last.Before(r.since()) || provider(v.Agent) || provider(v.Workload) || v.Workload == "" && !v.Address.IsValid() {
		return
	}
	if r.doors == nil {
		r.doors = map[door]*doorUse{}
	}
	d := doorOf(v.Workload, v.Address, v.Agent)
	use := r.doors[d]
	if use == nil {
		use = &doorUse{days: map[schema.Day]struct{}{}, slots: map[int32]struct{}{}}
		r.doors[d] = use
	}
	use.days[v.Day] = struct{}{}
	for _, s := range v.Slots {
		use.slots[int32(v.Day)*slotsADay+int32(s)] = struct{}{}
	}
}

// wants reports whether more than one place uses the credential steadily.
func (r *sharedRule) wants() bool {
	if r.places == nil {
		r.places = workplaces(r.doors)
	}
	steady := map[*workplace]struct{}{}
	for _, w := range r.places {
		if len(w.days) >= steadyDays {
			steady[w] = struct{}{}
		}
	}
	return len(steady) > 1 && len(steady) <= maxHaunts // more are the users of an application, not applications
}

func (r *sharedRule) task(t *Task) {
	w := r.places[doorOf(t.Workload, t.Address, t.Agent)]
	if w == nil || len(w.days) < steadyDays || t.Operation == "" {
		return
	}
	if w.operations == nil {
		w.operations = map[Op]struct{}{}
		w.first, w.last = t.First, t.Last
	}
	w.operations[Op{t.Service, t.Operation}] = struct{}{}
	w.calls += t.Calls
	if t.First.Before(w.first) {
		w.first = t.First
	}
	if t.Last.After(w.last) {
		w.last = t.Last
	}
	w.want.add(Selector{Hash: t.Hash, Service: t.Service, Operation: t.Operation, Decisions: accepted, From: t.First, To: t.Last})
}

// application is places that do the same work.
type application struct {
	places     []*workplace
	operations map[Op]struct{}
	days       map[schema.Day]struct{}
}

func (a *application) name() string {
	var names []string
	for _, p := range a.places {
		names = append(names, p.name)
	}
	return some(names, 2)
}

// list names the operations, sorted.
func (a *application) list() []string {
	var names []string
	for op := range a.operations {
		names = append(names, op.Operation+onService(op.Service))
	}
	slices.Sort(names)
	return names
}

// steady returns the places that called on enough days, in the order of their
// names. Places with a name and those with an address only may be the same
// ones, so they are not mixed.
func (r *sharedRule) steady() []*workplace {
	all := map[string]*workplace{}
	for _, w := range r.places {
		if len(w.days) >= steadyDays && len(w.operations) > 0 {
			all[w.name+"\x00"+w.through] = w
		}
	}
	var places []*workplace
	for _, byAddress := range []bool{false, true} {
		places = places[:0]
		for _, name := range sortedKeys(all) {
			if all[name].byAddress == byAddress {
				places = append(places, all[name])
			}
		}
		if len(places) > 1 {
			break
		}
	}
	var told []*workplace
	for _, w := range places {
		// One of another network with another client than all that do other work is
		// no replica of them, however little it does.
		if !w.byAddress || len(w.operations) >= leastOperations || !slices.ContainsFunc(places, func(o *workplace) bool {
			return o != w && !sameWork(w.operations, o.operations) && !w.stranger(o)
		}) {
			told = append(told, w)
		}
	}
	return told
}

// applications groups the steady places by what they call, and leaves out what
// was not used side by side with another: that is a successor.
func (r *sharedRule) applications() []*application {
	places := r.steady()
	group := make([]int, len(places))
	for i := range places {
		group[i] = i
		for k := range i {
			if same := sameWork(places[i].operations, places[k].operations); same && group[i] != group[k] {
				from, to := max(group[i], group[k]), min(group[i], group[k])
				for n := range i + 1 {
					if group[n] == from {
						group[n] = to
					}
				}
			}
		}
	}
	var list []*application
	at := map[int]*application{}
	for i, p := range places {
		a := at[group[i]]
		if a == nil {
			a = &application{operations: map[Op]struct{}{}, days: map[schema.Day]struct{}{}}
			at[group[i]] = a
			list = append(list, a)
		}
		a.places = append(a.places, p)
		for op := range p.operations {
			a.operations[op] = struct{}{}
		}
		for d := range p.days {
			a.days[d] = struct{}{}
		}
	}
	all := slices.Clone(list)
	return slices.DeleteFunc(list, func(a *application) bool {
		return !slices.ContainsFunc(all, func(o *application) bool { return o != a && a.beside(o) >= steadyDays })
	})
}

// beside counts the days on which two applications called.
func (a *application) beside(o *application) int {
	n := 0
	for d := range a.days {
		if _, ok := o.days[d]; ok {
			n++
		}
	}
	return n
}

// sameWork reports whether two profiles are those of one application.
func sameWork(a, b map[Op]struct{}) bool {
	common := 0
	for op := range a {
		if _, ok := b[op]; ok {
			common++
		}
	}
	return float64(common) >= alike*float64(len(a)+len(b)-common) || float64(common) >= contained*float64(min(len(a), len(b)))
}

func (r *sharedRule) finish(out *Result) {
	list := r.applications()
	if len(list) < 2 {
		return
	}
	f := r.open(SharedCredential)
	var want earliest
	var names []string
	byAddress, through := list[0].places[0].byAddress, map[string]struct{}{}
	for _, a := range list {
		names = append(names, a.name())
		for _, p := range a.places {
			if p.through != "" {
				through[p.through] = struct{}{}
			}
			if f.First.IsZero() || p.first.Before(f.First) {
				f.First = p.first
			}
			if p.last.After(f.Last) {
				f.Last = p.last
			}
			f.Calls += p.calls
			for _, w := range p.want.list {
				want.add(w)
			}
		}
		f.Evidence.Seen = append(f.Evidence.Seen, fmt.Sprintf("%s: %s", a.name(), some(a.list(), 5)))
	}
	f.Evidence.Usual = []string{"one application for each credential"}
	f.Title = fmt.Sprintf("%d applications share %s: %s", len(list), r.subject.Name, some(names, 3))
	f.Reasons = []string{fmt.Sprintf("over %d days these used it on %d days or more side by side, and have less than %.0f %% of their operations in common: %s",
		SharingDays, steadyDays, 100*alike, some(names, 5))}
	if n := r.together(list); n > 0 {
		f.Reasons = append(f.Reasons, fmt.Sprintf("they are no successors of each other: in %s of five minutes two of them called", count(n, "span")))
	}
	w := r.spread(&f, list)
	f.Severity = min(w.severity(schema.SeverityLow, 1), schema.SeverityMedium)
	if w.points >= classPoints(schema.ClassAdmin) && !byAddress && len(through) == 0 {
		// Only who the network itself names is sure enough.
		f.Severity = schema.SeverityHigh
	}
	f.Confidence = 0.8
	told := "who calls is told by the network"
	switch {
	case byAddress:
		f.Confidence, told = 0.6, "the logs name no workload, so places are addresses with a kind of client"
	case len(through) > 0:
		f.Confidence, told = 0.6, "behind "+some(sortedKeys(through), 2)+", which is a way in, places are kinds of client with networks of their own"
	}
	f.Reasons = append(f.Reasons, w.reason(f.Severity), fmt.Sprintf("confidence %.2f: %s", f.Confidence, told))
	f.Next = commands(&f, "scopedrift recommend "+argument(r.subject.Name), callsOf(&schema.Finding{Credential: f.Credential})+since(f.First))
	out.Drafts = append(out.Drafts, Draft{Finding: f, Want: want.cut()})
}

// together counts the slots in which two applications called.
func (r *sharedRule) together(list []*application) int {
	by := map[int32]int{}
	n := 0
	for i, a := range list {
		for _, p := range a.places {
			for slot := range p.slots {
				if first, ok := by[slot]; !ok {
					by[slot] = i
				} else if first >= 0 && first != i {
					by[slot] = -1
					n++
				}
			}
		}
	}
	return n
}

// spread says what a leak in one application would open of the others, and how
// to split, and weighs the worst of it.
func (r *sharedRule) spread(f *schema.Finding, list []*application) weight {
	var worst weight
	for i, a := range list {
		opened := map[Op]struct{}{}
		for k, other := range list {
			if k == i {
				continue
			}
			for op := range other.operations {
				if _, own := a.operations[op]; !own {
					opened[op] = struct{}{}
				}
			}
		}
		ops := (&application{operations: opened}).list()
		if len(ops) == 0 {
			continue
		}
		f.Reasons = append(f.Reasons, fmt.Sprintf("a leak at %s opens %s that it does not need: %s", a.name(), count(len(ops), "operation"), some(ops, 3)))
		for _, op := range sortedOps(opened) {
			if class := r.env.ClassOf(op.Service, op.Operation); classPoints(class) > worst.points {
				worst = weight{}
				worst.add(classPoints(class), fmt.Sprintf("%s is of class %s and open to all of them", op.Operation+onService(op.Service), class))
			}
		}
	}
	for _, a := range list[:min(len(list), 5)] {
		f.Reasons = append(f.Reasons, fmt.Sprintf("split: a credential of its own for %s, with %s", a.name(), some(a.list(), 5)))
	}
	return worst
}

func sortedOps(set map[Op]struct{}) []Op {
	list := make([]Op, 0, len(set))
	for op := range set {
		list = append(list, op)
	}
	slices.SortFunc(list, func(a, b Op) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation))
	})
	return list
}
