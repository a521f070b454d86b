package rule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// unownedRule is D17: a machine credential of which neither owner, workload nor
// purpose is known.
type unownedRule struct {
	base
	fold
	// accepted says that the credential was accepted at least once: keys that
	// somebody made up are no inventory.
	accepted bool
	services map[string]struct{}
	granted  map[string]struct{}
}

func (r *unownedRule) use(u *Use) {
	if !r.concerns() {
		return
	}
	if r.services == nil {
		r.services, r.granted = map[string]struct{}{}, map[string]struct{}{}
	}
	if u.Decision.Accepted() {
		r.accepted = true
		if u.Service != "" {
			r.services[u.Service] = struct{}{}
		}
		for _, s := range u.Scopes {
			r.granted[s] = struct{}{}
		}
		r.fold.add(u, u.calls())
	}
}

// concerns reports whether nothing is known about the credential.
func (r *unownedRule) concerns() bool {
	d := r.subject.Declared
	return (d == nil || d.Owner == "" && d.Workload == "" && d.Purpose == "") &&
		r.subject.Identifies() && r.subject.Machine()
}

func (r *unownedRule) finish(out *Result) {
	if !r.accepted {
		return
	}
	f := r.open(UnownedCredential)
	r.fold.close(&f)
	services := sortedKeys(r.services)
	if len(services) == 1 {
		f.Service = services[0]
		f.Environment = r.environment(f.Service)
	}
	f.Title = fmt.Sprintf("%s calls %s, and nobody knows whose it is or what for", r.subject.Name, someServices(services))
	f.Evidence.Seen = services
	if len(r.granted) > 0 {
		f.Evidence.Granted = sortedKeys(r.granted)
	}

	var w weight
	for _, s := range services {
		if isProduction(r.environment(s)) {
			w.add(1, "used in production")
			break
		}
	}
	if slices.ContainsFunc(services, func(name string) bool {
		s := r.env.Catalog.ServiceNamed(name)
		return s != nil && s.InternetFacing
	}) {
		w.add(1, "used at a service that faces the internet")
	}
	f.Severity = w.severity(schema.SeverityLow, 1)
	f.Severity = min(f.Severity, schema.SeverityMedium)
	f.Confidence = 0.95
	if r.subject.Declared == nil {
		f.Reasons = append(f.Reasons, "the catalogue declares no such credential")
	} else {
		f.Reasons = append(f.Reasons, "the catalogue declares it with neither owner, workload nor purpose")
	}
	f.Reasons = append(f.Reasons,
		fmt.Sprintf("its kind is %s, which is a machine's", f.Credential.Kind),
		fmt.Sprintf("seen on %s, the last time on %s", count(len(r.days), "day"), stamp(r.last)),
		w.reason(f.Severity),
		fmt.Sprintf("confidence %.2f: what the catalogue says is certain, and the credential was accepted", f.Confidence))
	f.Next = commands(&f, callsOf(&schema.Finding{Credential: f.Credential}))
	out.Drafts = append(out.Drafts, Draft{Finding: f, Want: r.want.cut()})
}

// someServices names services in a sentence.
func someServices(names []string) string {
	switch len(names) {
	case 0:
		return "services"
	case 1, 2:
		return some(names, 2)
	}
	return fmt.Sprintf("%s and %s", names[0], count(len(names)-1, "other service"))
}

// Inventory turns the findings of D17 into one, for when there is no catalogue:
// then every credential is unowned, and saying so of each helps nobody. It
// returns false where there is nothing to sum up.
func Inventory(drafts []Draft) (Draft, bool) {
	if len(drafts) == 0 {
		return Draft{}, false
	}
	one, kinds := sum(UnownedCredential, drafts)
	f := &one.Finding
	f.Title = fmt.Sprintf("%s seen; without a catalogue nobody is known to own %s",
		count(len(drafts), "machine credential")+isAre(len(drafts)), itThem(len(drafts)))
	f.Reasons = append(f.Reasons, "no catalogue of credentials was given, so owner, workload and purpose are known of none")
	for _, kind := range sortedKeys(kinds) {
		f.Reasons = append(f.Reasons, fmt.Sprintf("%s of kind %s", count(kinds[kind], "credential"), kind))
	}
	f.Reasons = append(f.Reasons, "severity low: an inventory, not an accusation",
		"confidence 0.95: each of them was accepted at least once")
	f.Next = commands(f, "scopedrift credentials", "scopedrift check catalog PATH")
	return one, true
}

// sum makes one finding of those of many credentials, which it sorts, and counts
// these by kind.
func sum(code string, drafts []Draft) (Draft, map[string]int) {
	slices.SortFunc(drafts, func(a, b Draft) int { return strings.Compare(a.Finding.Credential.ID, b.Finding.Credential.ID) })
	d := detection(code)
	f := schema.Finding{
		ID: schema.NewFindingID(code, AllCredentials), Detection: d.Name, Code: d.Code,
		Severity: schema.SeverityLow, Confidence: 0.95, Status: schema.StatusOpen,
		Credential: schema.FindingCredential{ID: AllCredentials, Observed: []string{}},
		Evidence:   schema.Evidence{BenignIf: d.BenignIf}, Frameworks: slices.Clone(d.Frameworks),
	}
	kinds := map[string]int{}
	var span fold
	var want earliest
	for i := range drafts {
		one := &drafts[i].Finding
		f.Credential.Observed = append(f.Credential.Observed, one.Credential.Observed...)
		f.Evidence.Seen = append(f.Evidence.Seen, one.Credential.ID)
		kinds[one.Credential.Kind]++
		f.Calls += one.Calls
		span.widen(one.First, one.Last)
		for _, s := range drafts[i].Want {
			want.add(s)
		}
	}
	f.First, f.Last = span.first, span.last
	f.Credential.Observed = unique(f.Credential.Observed)
	return Draft{Finding: f, Want: want.cut()}, kinds
}

// AllCredentials is the credential's name in the summaries of D16 and D17.
const AllCredentials = "*"

func isAre(n int) string {
	if n == 1 {
		return " was"
	}
	return " were"
}

func itThem(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}
