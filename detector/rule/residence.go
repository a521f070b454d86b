package rule

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Tunables of homes.
const (
	// HomeShare is on which share of a credential's days a place must have used
	// it to be its home.
	HomeShare = 0.95
	// HomeDays are the days of use that must be known before a home is learned:
	// a week, so that weekends and weekly jobs were seen once.
	HomeDays = 7
	// maxTenants is how many credentials may be at home at one address before
	// it is taken for a shared way out (address translation, a node), and
	// maxOwn at one workload before it is taken for a way in that many come
	// through (a gateway), whose calls are others'.
	maxTenants, maxOwn = 2, 5
)

// Place is where one credential is used: a workload with all its replicas, or
// an address with a kind of client.
type Place struct {
	// Name is that of [SeatName]. Workloads are the names behind it as the
	// network gives them, none where the place is known by its address.
	Name        string
	Workloads   []string
	First, Last time.Time
	days        []schema.Day
	standing    likeness
}

// ByAddress says that no workload is known.
func (p *Place) ByAddress() bool { return len(p.Workloads) == 0 }

// Residence says where one credential is at home.
type Residence struct {
	Subject *Subject
	// Places are in the order of their names.
	Places []*Place
}

// NewResidence gathers where a subject is used. Seats may come in any order.
func NewResidence(s *Subject, seats []Seat) *Residence {
	r := &Residence{Subject: s}
	byName := map[string]*Place{}
	for i := range seats {
		seat := &seats[i]
		name := SeatName(seat.Workload, seat.Address, seat.Agent)
		if name == "" {
			continue
		}
		p := byName[name]
		if p == nil {
			p = &Place{Name: name, First: seat.First, Last: seat.Last, standing: incomparable}
			byName[name] = p
			r.Places = append(r.Places, p)
		}
		if seat.Workload != "" {
			p.Workloads = append(p.Workloads, seat.Workload)
			if d := s.Declared; d != nil && d.Workload != "" {
				p.standing = min(p.standing, sameWorkload(d.Workload, seat.Workload))
			}
		}
		if seat.First.Before(p.First) {
			p.First = seat.First
		}
		if seat.Last.After(p.Last) {
			p.Last = seat.Last
		}
		p.days = append(p.days, seat.Days...)
	}
	for _, p := range r.Places {
		p.Workloads = unique(p.Workloads)
		slices.Sort(p.days)
		p.days = slices.Compact(p.days)
	}
	slices.SortFunc(r.Places, func(a, b *Place) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

// declared reports whether the catalogue says where the credential is at home,
// in words that can be compared with those of the network for any place. A name
// of another form ("deploy/ci" where the network gives SPIFFE ids) tells nothing
// of any of them, and what is learned does.
func (r *Residence) declared() bool {
	d := r.Subject.Declared
	return d != nil && d.Workload != "" && slices.ContainsFunc(r.Places, func(p *Place) bool { return p.standing != incomparable })
}

// Homes returns where the credential was at home when a day began: where the
// catalogue says, else the places that used it on nearly all days before. What
// comes later never changes it, so a thief who stays does not become at home.
func (r *Residence) Homes(t time.Time) []*Place {
	var homes []*Place
	if r.declared() {
		for _, p := range r.Places {
			if p.standing == same {
				homes = append(homes, p)
			}
		}
		return homes
	}
	day := schema.DayOf(t)
	var all []schema.Day
	for _, p := range r.Places {
		all = append(all, before(p.days, day)...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) < HomeDays {
		return nil
	}
	for _, p := range r.Places {
		if float64(len(before(p.days, day))) >= HomeShare*float64(len(all)) {
			homes = append(homes, p)
		}
	}
	return homes
}

// before returns the days before one; days are ascending.
func before(days []schema.Day, day schema.Day) []schema.Day {
	at, _ := slices.BinarySearch(days, day)
	return days[:at]
}

// Stray is a place where a credential is used and not at home.
type Stray struct {
	Of    *Residence
	Place *Place
	// Homes are where it is at home, in words.
	Homes []string
	// Declared says that the catalogue told; else it was learned.
	Declared bool
}

// Strays returns the places that first used the credential when it was at home
// elsewhere, and while it went on to be used there: a credential that moves
// house is no stray.
func (r *Residence) Strays() []Stray {
	var list []Stray
	for _, p := range r.Places {
		homes := r.Homes(p.First)
		if r.declared() {
			if p.standing == other {
				list = append(list, Stray{Of: r, Place: p, Homes: []string{r.Subject.Declared.Workload}, Declared: true})
			}
			continue
		}
		if len(homes) == 0 || slices.Contains(homes, p) || len(before(p.days, schema.DayOf(p.First))) > 0 {
			continue
		}
		stays := false
		var names []string
		for _, h := range homes {
			stays = stays || h.Last.After(p.First)
			names = append(names, h.Name)
			// A workload and an address are two names for what may be one.
			if h.ByAddress() != p.ByAddress() {
				names = nil
				break
			}
		}
		if stays && len(names) > 0 {
			list = append(list, Stray{Of: r, Place: p, Homes: names})
		}
	}
	return list
}

// Houses says which credentials are at home where.
type Houses struct {
	residences []*Residence
	catalog    *catalog.Catalog
	// seen are places, besides those of residences, that may serve something.
	seen map[string]*Place
}

// NewHouses takes all residences, in the order of their subjects' names.
func NewHouses(cat *catalog.Catalog, residences []*Residence) *Houses {
	slices.SortFunc(residences, func(a, b *Residence) int { return strings.Compare(a.Subject.Name, b.Subject.Name) })
	return &Houses{residences: residences, catalog: cat, seen: map[string]*Place{}}
}

// See takes a place into account that no residence has.
func (h *Houses) See(p *Place) {
	if p != nil && !p.ByAddress() {
		h.seen[p.Name] = p
	}
}

// Own returns the credentials that are at home at a place when a day begins,
// and had been before.
func (h *Houses) Own(place *Place, t time.Time) []*Residence {
	var own []*Residence
	for _, r := range h.residences {
		for _, home := range r.Homes(t) {
			if home.Name == place.Name && home.First.Before(t) {
				own = append(own, r)
			}
		}
	}
	if place.ByAddress() && len(own) > maxTenants || len(own) > maxOwn {
		return nil
	}
	return own
}

// Serves says how it is known that a workload serves a service: declared,
// or by its name; "" where it is not known to.
func (h *Houses) Serves(place *Place, service string) string {
	if service == "" || place == nil || place.ByAddress() {
		return ""
	}
	if s := h.catalog.ServiceNamed(service); s != nil && len(s.Workloads) > 0 {
		for _, glob := range s.Workloads {
			for _, name := range place.Workloads {
				if sameWorkload(glob, name) == same {
					return "declared"
				}
			}
		}
		return ""
	}
	last := place.Name
	if i := strings.LastIndexByte(last, '/'); i >= 0 {
		last = last[i+1:]
	}
	if strings.EqualFold(last, service) {
		return "by its name"
	}
	return ""
}

// Known reports whether any workload is known to serve a service.
func (h *Houses) Known(service string) bool {
	if s := h.catalog.ServiceNamed(service); s != nil && len(s.Workloads) > 0 {
		return true
	}
	serves := func(p *Place) bool { return h.Serves(p, service) != "" }
	for _, p := range h.seen {
		if serves(p) {
			return true
		}
	}
	return slices.ContainsFunc(h.residences, func(r *Residence) bool { return slices.ContainsFunc(r.Places, serves) })
}

// Served returns the services that a workload is known to serve, sorted.
func (h *Houses) Served(place *Place) []string {
	if place.ByAddress() {
		return nil
	}
	last := place.Name
	if i := strings.LastIndexByte(last, '/'); i >= 0 {
		last = last[i+1:]
	}
	names := []string{last}
	for _, s := range h.catalog.Services {
		names = append(names, s.Name)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return h.Serves(place, name) == "" })
	return unique(names)
}
