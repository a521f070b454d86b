package rule

// whereRules are the rules about from where and by whom.
type whereRules struct {
	bound  boundRule
	shared sharedRule
	human  humanRule
}

func newWhereRules(b base) whereRules {
	return whereRules{bound: boundRule{base: b}, shared: sharedRule{base: b}, human: humanRule{base: b}}
}

func (w *whereRules) finish(out *Result) {
	w.bound.finish(out)
	w.shared.finish(out)
	w.human.finish(out)
}

// What the rules about from where and by whom want to see, in this order: arrivals;
// who else used some addresses, who issued some keys.

// WantsArrivals reports whether where the subject's calls came from is to be
// learned.
func (s *Set) WantsArrivals() bool { return s.where.bound.wants() }

// Arrival takes one arrival; those of one principal and session follow each other.
func (s *Set) Arrival(v *Arrival) {
	s.where.bound.arrival(v)
	s.where.shared.arrival(v)
	s.where.human.arrival(v)
}

// Addresses are those of which D06 and D08 must know who used them. Call it after
// all arrivals.
func (s *Set) Addresses() []string {
	return unique(append(s.where.bound.addresses(), s.where.human.addresses()...))
}

// Tenancy takes who used one of the Addresses; by is whose principal it is.
func (s *Set) Tenancy(t *Tenancy, by *Subject) {
	s.where.bound.tenancy(t, by)
	s.where.human.tenancy(t, by)
}

// Seats are the workloads, without what tells replicas, of which D06 must know
// which credentials they use. Call it after all arrivals.
func (s *Set) Seats() []string { return s.where.bound.seats() }

// Occupied takes who used one of the Seats; by is whose principal it is.
func (s *Set) Occupied(o *Occupancy, by *Subject) { s.where.bound.occupied(o, by) }

// Keys are the issued keys of which D06 must know who issued them.
func (s *Set) Keys() []string { return s.where.bound.keys() }

// Issued takes a call that issued one of the Keys.
func (s *Set) Issued(c *Step) { s.where.bound.issued(c) }

// WantsTasks reports whether what each place calls must be known for D07. Call it
// after all arrivals.
func (s *Set) WantsTasks() bool { return s.where.shared.wants() }

// Task takes what one place called.
func (s *Set) Task(t *Task) { s.where.shared.task(t) }

// Clients are the user agents whose single calls D08 must see. Call it after all
// arrivals.
func (s *Set) Clients() []string { return s.where.human.clients() }

// Driven takes a call by one of the Clients, in order of time.
func (s *Set) Driven(c *Step) { s.where.human.step(c) }
