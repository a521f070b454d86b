package world

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// deeds is what one campaign has done so far, as far as the definitions of the
// detections need it.
type deeds struct {
	tried   map[string][]attempt
	refused map[string]time.Time
	objects map[string]map[string]bool
	secrets map[string][]attempt
	novel   map[string]map[string]time.Time
	burst   map[string][]time.Time
}

type attempt struct {
	at                    time.Time
	service, op, resource string
}

// shown says that a call fulfils the definition of codes.
func (w *world) shown(d *deed, codes ...string) {
	for _, code := range codes {
		if _, ok := d.campaign.Seen[code]; !ok {
			d.campaign.Seen[code] = d.at
		}
	}
	d.campaign.Must = add(d.campaign.Must, codes...)
}

// blame works out from the definitions of the detections what a call of an
// attacker should make fire, and keeps it.
func (w *world) blame(d *deed, held bool) {
	c, k := d.campaign, w.state[d.campaign]
	before := slices.Clone(c.Must)
	if c.From.IsZero() || d.at.Before(c.From) {
		c.From = d.at
	}
	if d.at.After(c.To) {
		c.To = d.at
	}
	c.Calls++
	c.Credentials = add(c.Credentials, w.known(d.by))
	key := d.by.name + "|" + d.service.name + "|" + d.op.name
	_, usual := w.first[key]
	honoured := d.status < 400
	w.blameGrant(d, k, held, honoured, usual, key)
	w.blamePlace(d)
	w.blameVolume(d, k)
	var shows []string
	for _, code := range c.Must {
		if !slices.Contains(before, code) || code == "D01" && honoured && !held {
			shows = append(shows, code)
		}
	}
	w.mark(d, shows)
}

// blameGrant is about scope, habit and approval.
func (w *world) blameGrant(d *deed, k *deeds, held, honoured, usual bool, key string) {
	c := d.campaign
	if honoured && !held {
		w.shown(d, "D01")
	}
	if !held || d.status == 403 {
		c.May = add(c.May, "D02")
		if !usual {
			w.probed(d, k)
		}
	}
	object := key + "|" + d.tenant + "|" + d.id
	if d.status == 403 {
		if _, ok := k.refused[object]; !ok {
			k.refused[object] = d.at
		}
	} else if at, ok := k.refused[object]; ok && honoured && d.at.Sub(at) >= time.Minute && d.at.Sub(at) < 24*time.Hour {
		w.shown(d, "D03")
	}
	if !usual && honoured {
		c.May = add(c.May, "D05")
		if held {
			w.novelty(d, k)
		}
	}
	if d.op.class == "admin" || d.op.class == "secret" || d.op.class == "mint" {
		c.May = add(c.May, "D09")
	}
	if d.op.class == "mint" {
		c.May = add(c.May, "D13")
	}
	if held && honoured && d.by.services != nil {
		if !slices.Contains(d.by.services, d.service.name) || !slices.Contains(d.by.operations, d.op.name) {
			w.shown(d, "D18")
		}
	}
	if d.idle {
		w.shown(d, "D14")
	}
	if !d.by.expires.IsZero() && honoured && d.at.After(d.by.expires.Add(2*time.Minute)) {
		w.shown(d, "D14")
	}
}

// probed counts distinct new operations out of grant in a sliding hour.
func (w *world) probed(d *deed, k *deeds) {
	list := append(k.tried[d.by.name], attempt{d.at, d.service.name, d.op.name, d.service.name + resource(d.op)})
	k.tried[d.by.name] = list
	var ops, services, resources []string
	for _, a := range list {
		if d.at.Sub(a.at) < time.Hour {
			ops, services, resources = add(ops, a.service+a.op), add(services, a.service), add(resources, a.resource)
		}
	}
	if len(ops) >= 4 && (len(services) >= 2 || len(resources) >= 3) {
		w.shown(d, "D02")
	}
}

// resource is the kind of thing that an operation is about.
func resource(o *operation) string {
	if o.path != "" {
		first, _, _ := strings.Cut(o.path[1:], "/")
		return first
	}
	if source, _, ok := strings.Cut(o.name, ":"); ok {
		return source
	}
	_, noun, _ := strings.Cut(o.name, " ")
	return noun
}

// novelty counts what is new within the grant, in pieces, as D05 defines them: a
// service with all that is done there, else an operation; what touches secrets or
// rights is one by itself. Three in a week must be found, or one that touches
// secrets or rights; two are borderline.
// What an agent or a build does changes anyway, and a credential without two weeks
// and 200 calls behind it has no habit to leave.
func (w *world) novelty(d *deed, k *deeds) {
	if d.by.kind == "agent" || d.by.kind == "ci" || w.calls[d.by.name] < 200 || d.at.Sub(w.start) < 14*24*time.Hour {
		return
	}
	grave := d.op.class == "secret" || d.op.class == "admin" || d.op.class == "mint"
	name := d.service.name + d.op.name
	if _, known := w.first[d.by.name+"|"+d.service.name]; !known && !grave {
		name = d.service.name
	}
	if k.novel[d.by.name] == nil {
		k.novel[d.by.name] = map[string]time.Time{}
	}
	if _, again := k.novel[d.by.name][name]; !again {
		k.novel[d.by.name][name] = d.at
	}
	recent := 0
	for _, at := range k.novel[d.by.name] {
		if d.at.Sub(at) < 7*24*time.Hour {
			recent++
		}
	}
	if recent >= 3 || grave {
		w.shown(d, "D05")
	}
}

// blamePlace is about where a call came from, and for whom.
func (w *world) blamePlace(d *deed) {
	c, home := d.campaign, d.by.home
	inMesh := d.service != w.cloud && d.service != w.cluster && d.service != w.portal
	moved := network(d.from.address) != network(home.address)
	stranger := inMesh && d.from.spiffe != home.spiffe
	client := client(d.from.agent) != client(home.agent)
	if moved || stranger {
		c.May = add(c.May, "D05", "D06", "D07", "D08", "D11")
		declared := moved && d.by.networks != nil && !strings.HasPrefix(d.from.address, "10.") || stranger && strings.HasPrefix(d.by.workload, "ns/")
		// By habit, two of network, workload and client must be new.
		habit := w.calls[d.by.name] >= 200 && (moved && stranger || moved && client || stranger && client)
		if declared || habit {
			w.shown(d, "D06")
		}
		if stranger && d.from.spiffe != w.ingress() {
			w.shown(d, "D11")
		}
	}
	if strings.HasPrefix(d.from.agent, "curl/") && home.agent != d.from.agent || strings.HasPrefix(d.from.agent, "python-requests") {
		c.May = add(c.May, "D08")
	}
	if d.by.tenants != nil && inMesh && !slices.Contains(d.by.tenants, d.tenant) {
		c.May = add(c.May, "D05", "D09")
		if w.calls[d.by.name] >= 500 && d.status < 400 {
			w.shown(d, "D09")
		}
	}
}

// blameVolume is about how much.
func (w *world) blameVolume(d *deed, k *deeds) {
	c := d.campaign
	key := d.by.name + "|" + d.service.name + "|" + d.op.name
	hour := key + d.at.Format("2006010215")
	if k.objects[hour] == nil {
		k.objects[hour] = map[string]bool{}
	}
	k.objects[hour][d.id] = true
	if n := len(k.objects[hour]); n > 20 && strings.Contains(d.op.name, "{id}") {
		c.May = add(c.May, "D10")
		if n > 125 {
			w.shown(d, "D10")
		}
	}
	k.burst[key] = append(k.burst[key], d.at)
	recent := 0
	for _, at := range k.burst[key] {
		if d.at.Sub(at) < 10*time.Minute {
			recent++
		}
	}
	if recent >= 20 {
		c.May = add(c.May, "D15")
	}
	if d.op.class == "secret" && d.status < 400 {
		c.May = add(c.May, "D15")
		var names []string
		k.secrets[d.by.name] = append(k.secrets[d.by.name], attempt{at: d.at, op: d.service.name + d.id})
		for _, a := range k.secrets[d.by.name] {
			if d.at.Sub(a.at) < 10*time.Minute {
				names = add(names, a.op)
			}
		}
		if len(names) >= 10 {
			w.shown(d, "D15")
		}
	}
}

// network is the first part of an address pattern: what a /24 shares, and of
// private addresses, of which each workload has a /24, a /16.
func network(address string) string {
	parts := strings.Split(address, ".")
	if len(parts) != 4 {
		return address
	}
	if parts[0] == "10" {
		return strings.Join(parts[:2], ".")
	}
	return strings.Join(parts[:3], ".")
}

// client is the program behind a user agent: an update of it is no other one.
func client(agent string) string {
	name, _, _ := strings.Cut(agent, "/")
	return name
}

// campaign begins one.
func (w *world) campaign(goal, stealth, entry string) *Campaign {
	c := &Campaign{ID: fmt.Sprintf("%s/%02d-%s-%s-%s", w.cfg.Name(), len(w.state), goal, stealth, entry), Goal: goal, Stealth: stealth, Entry: entry, Seen: map[string]time.Time{}}
	w.state[c] = &deeds{tried: map[string][]attempt{}, refused: map[string]time.Time{}, objects: map[string]map[string]bool{},
		secrets: map[string][]attempt{}, novel: map[string]map[string]time.Time{}, burst: map[string][]time.Time{}}
	w.attacks = append(w.attacks, c)
	return c
}
