package rule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// SourceDay says that logs of a type held calls of a service on a day.
type SourceDay struct {
	SourceType string
	Service    string
	Day        schema.Day
	// Calls is how many, 0 where nobody counted.
	Calls uint64
}

// Loss is units of one kind of log that should have been calls and could not be
// read.
type Loss struct {
	SourceType, Reason string
	Units              uint64
	// Calls is how many calls were read from that kind of log.
	Calls uint64
	// From and To are the first and last day that the loss falls into; To is 0
	// where that is not known, and the loss then concerns all days alike.
	From, To schema.Day
}

// timed says that it is known when the units were lost.
func (l *Loss) timed() bool { return l.To > 0 }

// mostLost is the share of a day's calls that may be lost before the day counts
// as not seen.
const mostLost = 1 - minCoverage

// Coverage knows which days of which services were seen in a window.
//
// A day of a service counts as seen only where a log that carries the service
// (or another service of the same declared source) held at least one call of
// that day: that a log was silent and that it was lost look alike. Where the
// catalogue declares a source complete, a silence of up to quietDays between two
// days with calls is taken as quiet rather than lost.
type Coverage struct {
	catalog    *catalog.Catalog
	from, to   schema.Day // inclusive
	byService  map[string]daySet
	byType     map[string]daySet
	calls      map[string]map[schema.Day]uint64 // by source type
	carriers   map[string]map[string]struct{}   // service → source types
	incomplete []string
	losses     []Loss
	cache      map[string]Seen
}

type daySet map[schema.Day]struct{}

// quietDays is the longest silence of a log that counts as quiet: a long
// weekend.
const quietDays = 3

// Seen is the coverage of one or several services with its days.
type Seen struct {
	schema.Coverage
	// Observed are the days seen, ascending; share holds how much of each.
	Observed []schema.Day
	share    []float64
}

// NewCoverage reads what the logs held. incomplete says in words which inputs
// were not read to their end, losses what could not be read of them.
func NewCoverage(c *catalog.Catalog, w schema.Window, days []SourceDay, incomplete []string, losses []Loss) *Coverage {
	cov := &Coverage{
		catalog: c, from: schema.DayOf(w.From), to: schema.DayOf(w.To.Add(-time.Microsecond)),
		byService: map[string]daySet{}, byType: map[string]daySet{}, calls: map[string]map[schema.Day]uint64{}, carriers: map[string]map[string]struct{}{},
		incomplete: incomplete, losses: losses, cache: map[string]Seen{},
	}
	for _, d := range days {
		if cov.carriers[d.Service] == nil {
			cov.carriers[d.Service] = map[string]struct{}{}
		}
		cov.carriers[d.Service][d.SourceType] = struct{}{}
		if d.Day < cov.from || d.Day > cov.to {
			continue
		}
		mark(cov.byService, d.Service, d.Day)
		mark(cov.byType, d.SourceType, d.Day)
		if cov.calls[d.SourceType] == nil {
			cov.calls[d.SourceType] = map[schema.Day]uint64{}
		}
		cov.calls[d.SourceType][d.Day] += d.Calls
	}
	return cov
}

func mark(sets map[string]daySet, name string, day schema.Day) {
	if sets[name] == nil {
		sets[name] = daySet{}
	}
	sets[name][day] = struct{}{}
}

// Incomplete says which inputs were not read to their end.
func (c *Coverage) Incomplete() []string { return c.incomplete }

// Service returns the coverage of one service.
func (c *Coverage) Service(name string) Seen {
	if seen, ok := c.cache[name]; ok {
		return seen
	}
	seen := c.service(name)
	c.cache[name] = seen
	return seen
}

func (c *Coverage) service(name string) Seen {
	var sources []*catalog.SourceCoverage
	for i := range c.catalog.Sources {
		s := &c.catalog.Sources[i]
		if s.Services == nil && c.catalog.ServiceNamed(name) != nil || slices.Contains(s.Services, name) {
			sources = append(sources, s)
		}
	}
	seen := Seen{Coverage: schema.Coverage{Service: name, Known: len(sources) > 0, Days: int(c.to) - int(c.from) + 1,
		Window: schema.Window{From: c.from.Start(), To: (c.to + 1).Start()}}}
	share := map[schema.Day]float64{}
	if !seen.Known {
		for d := range c.byService[name] {
			share[d] = 1
		}
		hole := "the catalogue does not say what the logs cover"
		if name != "" {
			hole += " of " + name
		}
		seen.Holes = append(seen.Holes, hole)
	}
	for _, s := range sources {
		seen.Holes = append(seen.Holes, c.source(name, s, share)...)
	}
	seen.Holes = append(seen.Holes, c.lower(name, share)...)
	seen.Holes = append(seen.Holes, c.incomplete...)
	var sum float64
	for d := int(c.from); d <= int(c.to); d++ {
		if part, ok := share[schema.Day(d)]; ok {
			seen.Observed = append(seen.Observed, schema.Day(d))
			seen.share = append(seen.share, part)
			sum += part
		}
	}
	seen.DaysSeen = len(seen.Observed)
	if seen.Known && seen.Days > 0 {
		seen.Share = round4(sum / float64(seen.Days))
	}
	if missing := seen.Days - seen.DaysSeen; missing > 0 && seen.Known {
		seen.Holes = append(seen.Holes, fmt.Sprintf("nothing was seen of %s on %d of %s", name, missing, count(seen.Days, "day")))
	}
	return seen
}

// source adds the days that one declared source covers, and returns its holes.
func (c *Coverage) source(service string, s *catalog.SourceCoverage, share map[schema.Day]float64) []string {
	if !s.Complete {
		return []string{fmt.Sprintf("source %s is declared incomplete", s.Name)}
	}
	sample := s.Sample
	if sample == 0 {
		sample = 1
	}
	var holes []string
	if sample < 1 {
		holes = append(holes, fmt.Sprintf("source %s keeps %.3g %% of the calls", s.Name, 100*sample))
	}
	lost, reasons := c.lost(service)
	sample *= 1 - lost
	holes = append(holes, reasons...)
	for d := range c.alive(service, s) {
		start, end := d.Start(), (d + 1).Start()
		// A day that the source covers in part does not count.
		if !s.From.IsZero() && start.Before(s.From) || !s.To.IsZero() && end.After(s.To) {
			continue
		}
		share[d] = max(share[d], sample)
	}
	return holes
}

// lost returns the share of the calls that could not be read, in the kinds of
// log that carry the service; a loss whose kind is not known concerns all.
func (c *Coverage) lost(service string) (share float64, holes []string) {
	known := c.kinds()
	var sum uint64
	calls := map[string]uint64{}
	for _, l := range c.losses {
		if l.timed() || !c.concerns(&l, service, known) {
			continue
		}
		sum += l.Units
		calls[l.SourceType] = l.Calls
		holes = append(holes, fmt.Sprintf("%s of %s logs could not be read: %s", units(l.Units), l.SourceType, l.Reason))
	}
	bad := sum
	for _, n := range calls {
		sum += n
	}
	if sum == 0 {
		return 0, nil
	}
	return float64(bad) / float64(sum), holes
}

// units writes "1 unit" and "2 units".
func units(n uint64) string {
	if n == 1 {
		return "1 unit"
	}
	return fmt.Sprintf("%d units", n)
}

// kinds are the kinds of log that carry any service.
func (c *Coverage) kinds() map[string]bool {
	known := map[string]bool{}
	for _, types := range c.carriers {
		for t := range types {
			known[t] = true
		}
	}
	return known
}

// concerns says whether what was lost may have been calls of the service.
func (c *Coverage) concerns(l *Loss, service string, known map[string]bool) bool {
	if host, encrypted := strings.CutPrefix(l.Reason, schema.LostTLS); encrypted {
		// What is encrypted is mostly of others: only a name says that it is not.
		s := c.catalog.ServiceNamed(service)
		return host != "" && (host == service || s != nil && c.catalog.ServesHost(s, host))
	}
	_, carries := c.carriers[service][l.SourceType]
	return carries || !known[l.SourceType]
}

// lower takes what was lost on known days off the share of those days, spread
// evenly over them, and a day of which too much was lost off what was seen. It
// returns the holes.
func (c *Coverage) lower(service string, share map[schema.Day]float64) (holes []string) {
	known, missed := c.kinds(), map[schema.Day]float64{}
	for i := range c.losses {
		l := &c.losses[i]
		if !l.timed() || l.To < c.from || l.From > c.to || !c.concerns(l, service, known) {
			continue
		}
		each := float64(l.Units) / float64(max(int(l.To)-int(l.From), 0)+1)
		for d := int(max(l.From, c.from)); d <= int(min(l.To, c.to)); d++ {
			missed[schema.Day(d)] += each
		}
		when := "on " + l.From.String()
		if l.To != l.From {
			when = "between " + l.From.String() + " and " + l.To.String()
		}
		were := "were"
		if l.Units == 1 {
			were = "was"
		}
		holes = append(holes, fmt.Sprintf("%s of %s logs %s lost %s: %s", units(l.Units), l.SourceType, were, when, strings.TrimPrefix(l.Reason, schema.Lost)))
	}
	for d, lost := range missed {
		var calls float64
		for kind := range c.carriers[service] {
			calls += float64(c.calls[kind][d])
		}
		part := lost / max(lost+calls, 1)
		if part > mostLost {
			delete(share, d)
		} else if seen, ok := share[d]; ok {
			share[d] = seen * (1 - part)
		}
	}
	return holes
}

// alive returns the days on which the source's logs were there: days with calls
// from any log that carries one of its services, and short silences between.
func (c *Coverage) alive(service string, s *catalog.SourceCoverage) daySet {
	names := s.Services
	if names == nil {
		for _, known := range c.catalog.Services {
			names = append(names, known.Name)
		}
	}
	days := daySet{}
	for _, name := range append([]string{service}, names...) {
		for kind := range c.carriers[name] {
			for d := range c.byType[kind] {
				days[d] = struct{}{}
			}
		}
	}
	sorted := make([]schema.Day, 0, len(days))
	for d := range days {
		sorted = append(sorted, d)
	}
	slices.Sort(sorted)
	for i := 1; i < len(sorted); i++ {
		if gap := int(sorted[i]) - int(sorted[i-1]) - 1; gap > 0 && gap <= quietDays {
			for d := sorted[i-1] + 1; d < sorted[i]; d++ {
				days[d] = struct{}{}
			}
		}
	}
	return days
}

// All returns what was seen of all the services together: a day counts if it
// was seen of each, with the smallest share.
func (c *Coverage) All(services []string) Seen {
	if len(services) == 1 {
		return c.Service(services[0])
	}
	var all Seen
	for i, name := range services {
		one := c.Service(name)
		if i == 0 {
			all = one
			all.Coverage.Service = ""
			all.Holes = slices.Clone(one.Holes)
			continue
		}
		all.Known = all.Known && one.Known
		all.Share = min(all.Share, one.Share)
		all.Holes = append(all.Holes, one.Holes...)
		all.Observed, all.share = intersect(&all, &one)
	}
	if !all.Known {
		all.Share = 0
	}
	all.DaysSeen = len(all.Observed)
	all.Holes = distinct(all.Holes)
	return all
}

func intersect(a, b *Seen) (days []schema.Day, share []float64) {
	for i, d := range a.Observed {
		if j, ok := slices.BinarySearch(b.Observed, d); ok {
			days = append(days, d)
			share = append(share, min(a.share[i], b.share[j]))
		}
	}
	return days, share
}

// Tail returns the longest stretch of days up to day "to" of which at least
// the given share was seen, bounded by from: the window that D04 stands on.
// Where coverage is unknown it is all observed days of the span.
func (s *Seen) Tail(from, to schema.Day, share float64) (observed []schema.Day, start schema.Day) {
	if !s.Known {
		for _, d := range s.Observed {
			if d >= from && d <= to {
				observed = append(observed, d)
			}
		}
		return observed, from
	}
	var sum float64
	best, i := -1, len(s.Observed)-1
	for d := int(to); d >= int(from); d-- {
		for i >= 0 && int(s.Observed[i]) > d {
			i--
		}
		if i >= 0 && int(s.Observed[i]) == d {
			sum += s.share[i]
		}
		if sum >= share*float64(int(to)-d+1)-1e-9 {
			best = d
		}
	}
	if best < 0 {
		return nil, to
	}
	for _, d := range s.Observed {
		if int(d) >= best && d <= to {
			observed = append(observed, d)
		}
	}
	return observed, schema.Day(best)
}

// round4 rounds a share so that it is written alike everywhere.
func round4(f float64) float64 { return float64(int(f*10000+0.5)) / 10000 }
