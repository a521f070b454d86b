package world

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

// activity is how busy a caller is in an hour, 0 to 1.
func (w *world) activity(c *credential, t time.Time) float64 {
	hour, weekend := t.Hour(), t.Weekday() == time.Saturday || t.Weekday() == time.Sunday
	day := [24]float64{.1, .05, .05, .05, .05, .1, .3, .6, .9, 1, 1, 1, .9, 1, 1, 1, .9, .9, .8, .8, .7, .5, .3, .2}[hour]
	night := strings.HasPrefix(c.name, "job-") || c.name == "exporter" || c.name == "month-end"
	switch {
	case night:
		if hour == 1+int(hash(c.name)%4) {
			return 1
		}
		return 0
	case c.auth == "role", c.auth == "account", c.auth == "user":
		return 1
	case c.kind == "human" || c.kind == "ci":
		if w.cfg.Rhythm == Flat {
			return .5
		}
		if weekend != (w.cfg.Rhythm == Weekend) || hour < 8 || hour > 17 {
			return 0
		}
		return 1
	}
	switch w.cfg.Rhythm {
	case Flat:
		return 1
	case Batch:
		if hour < 5 {
			return 1
		}
		return .25
	case Weekend:
		if weekend {
			return day
		}
		return .35 * day
	}
	if weekend {
		return .4 * day
	}
	return day
}

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// cost is how many calls an operation makes, itself included.
func cost(o *operation, depth int) float64 {
	n := 1.0
	if depth < 6 {
		for _, e := range o.edges {
			n += e.odds * cost(e.op, depth+1)
		}
	}
	return n
}

// plan plans everything that happens.
func (w *world) plan() {
	total := 0.0
	shares := make([]float64, len(w.credentials))
	for i, c := range w.credentials {
		if len(c.habits) == 0 {
			continue
		}
		shares[i] = .4 + w.rand.ExpFloat64()
		if c.kind == "human" || c.auth == "key" {
			shares[i] = .3
		}
		total += min(shares[i], 4)
	}
	hours := w.cfg.Days * 24
	for i, c := range w.credentials {
		if len(c.habits) == 0 {
			continue
		}
		var active, spend, weight float64
		for h := range hours {
			active += w.activity(c, w.start.Add(time.Duration(h)*time.Hour))
		}
		for _, h := range c.habits {
			spend += h.weight * cost(h.op, 0)
			weight += h.weight
		}
		calls := float64(w.cfg.Calls) * min(shares[i], 4) / total / (spend / weight)
		perHour := calls / max(active, 1)
		w.at(w.start, w.hourly(c, perHour))
	}
	w.lookAlikes()
	w.campaigns()
}

// hourly plans the calls of a credential's hour, and the next hour.
func (w *world) hourly(c *credential, perHour float64) func(time.Time) {
	var tick func(time.Time)
	tick = func(t time.Time) {
		mean := perHour * w.activity(c, t)
		n := int(mean)
		if w.rand.Float64() < mean-float64(n) {
			n++
		}
		for range n {
			at := t.Add(time.Duration(w.rand.Int64N(int64(time.Hour))))
			if h, ok := w.choose(c, at); ok {
				w.at(at, func(at time.Time) { w.deed(&deed{at: at, by: c, service: h.service, op: h.op}) })
			}
		}
		w.at(t.Add(time.Hour), tick)
	}
	return tick
}

// choose picks one of a credential's habits of the week.
func (w *world) choose(c *credential, at time.Time) (habit, bool) {
	week := int(at.Sub(w.start)/(7*24*time.Hour)) % 4
	weight := 0.0
	fits := func(h *habit) bool {
		return (h.week < 0 || h.week == week) && !at.Before(h.op.born)
	}
	for i := range c.habits {
		if fits(&c.habits[i]) {
			weight += c.habits[i].weight
		}
	}
	pick := w.rand.Float64() * weight
	for i := range c.habits {
		if h := &c.habits[i]; fits(h) {
			if pick -= h.weight; pick <= 0 {
				return *h, true
			}
		}
	}
	return habit{}, false
}

// deed is one call to be made, with what it leads to.
type deed struct {
	at      time.Time
	by      *credential
	from    place
	service *service
	op      *operation
	tenant  string
	id      string
	subject string
	trace   string
	// status is the answer; 0 lets authorisation and chance decide.
	status int
	// session and key are of a role's session that is not the usual one; mints
	// is the key that the answer issues, to whom it is given.
	session, key, mints, mintsFor string
	// presents are scopes that this call's token has besides the usual ones.
	presents  []string
	campaign  *Campaign
	lookAlike string
	// took is how long it takes, if that is not left to chance; idle says that
	// the credential was not used for two months before.
	took time.Duration
	idle bool
	// alone says that serving it calls nothing else.
	alone bool
}

// deed makes a call happen and returns how long it took.
func (w *world) deed(d *deed) time.Duration {
	c := d.by
	if d.from.address == "" {
		d.from = c.home
	}
	if d.tenant == "" {
		list := c.tenants
		if list == nil {
			list = w.tenants
		}
		d.tenant = list[w.rand.IntN(len(list))]
	}
	if d.id == "" {
		d.id = fmt.Sprint(1000 + hash(c.name+d.service.name)%8000 + w.rand.Uint64N(40))
	}
	if d.trace == "" {
		d.trace = w.hexID(16)
	}
	if len(c.subjects) > 0 && d.subject == "" {
		d.subject = c.subjects[w.rand.IntN(len(c.subjects))]
	}
	held := c.holds(d.op.scope, d.at) || slices.Contains(d.presents, d.op.scope)
	if d.status == 0 {
		d.status = w.answer(d, held)
	}
	took := time.Duration(3+w.rand.IntN(30)) * time.Millisecond
	if d.took > 0 {
		took = d.took
	}
	if d.status < 300 && !d.alone {
		took += w.serve(d, took)
	}
	w.judge(d, held)
	w.log(d, took)
	return took
}

func (w *world) answer(d *deed, held bool) int {
	switch {
	case !held && !d.op.open:
		return 403
	case d.campaign != nil || d.lookAlike != "" || w.rand.IntN(60) > 0:
		return 200
	case w.rand.IntN(3) == 0:
		return []int{429, 500, 503}[w.rand.IntN(3)]
	}
	return 404
}

// serve lets the called service make the calls that serving needs.
func (w *world) serve(d *deed, after time.Duration) time.Duration {
	var took time.Duration
	for _, e := range d.op.edges {
		if w.rand.Float64() >= e.odds {
			continue
		}
		trace := d.trace
		if !d.service.traces {
			trace = w.hexID(16)
		}
		took += w.deed(&deed{at: d.at.Add(after/2 + took), by: d.service.identity, service: e.to, op: e.op, tenant: d.tenant, trace: trace}) + time.Millisecond
	}
	return took
}

// judge keeps the truth about a call.
func (w *world) judge(d *deed, held bool) {
	c := d.by
	honoured := d.status < 400 || d.status == 404
	if held && honoured {
		w.truth.Used[c.name+" "+d.op.scope] = true
		for _, s := range c.scopes {
			if implied(s, d.op.scope) {
				w.truth.Used[c.name+" "+s] = true
			}
		}
	}
	if d.campaign != nil {
		w.blame(d, held)
	}
	if d.lookAlike != "" {
		w.mark(d, nil)
	}
	if d.campaign == nil {
		for _, key := range []string{c.name + "|" + d.service.name, c.name + "|" + d.service.name + "|" + d.op.name} {
			if _, ok := w.first[key]; !ok {
				w.first[key] = d.at
			}
		}
		w.calls[c.name]++
	}
}

// mark writes a call into the truth.
func (w *world) mark(d *deed, shows []string) {
	m := Marked{Time: d.at, Service: d.service.name, Operation: d.op.name, Tenant: d.tenant, Status: d.status, Credential: w.known(d.by), LookAlike: d.lookAlike, Shows: slices.Clone(shows)}
	if d.campaign != nil {
		m.Campaign = d.campaign.ID
	}
	w.truth.Calls = append(w.truth.Calls, m)
}

// known is the name that findings use for a credential.
func (w *world) known(c *credential) string {
	switch {
	case c.undeclared && c.auth == "user":
		return c.key
	case c.undeclared:
		return w.issuer() + "|" + c.client
	}
	return c.name
}

func (w *world) issuer() string { return "https://idp." + w.domain }
