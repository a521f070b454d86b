package rule

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// originRule is D06: a session or key is used from a network outside the
// declared ones, or by another workload than the declared one.
type originRule struct {
	base
	away map[string]*awayFrom
	// unlike are observed workload names that cannot be compared with the
	// declared one.
	unlike map[string]struct{}
	// blind counts calls that show no address.
	blind uint64
	// origins are all that were away.
	origins []Origin
	excused excused
}

// awayFrom gathers one finding of D06, that of one session.
type awayFrom struct {
	fold
	reporters [4]uint64
	networks  map[string]struct{}
	workloads map[string]struct{}
}

// wants reports whether the catalogue says where the credential is at home.
func (r *originRule) wants() bool {
	d := r.subject.Declared
	return d != nil && len(r.subject.Principals) > 0 && (d.Workload != "" || d.Approved != nil && d.Approved.Networks != nil)
}

func (r *originRule) origin(o *Origin) {
	d := r.subject.Declared
	strange := false
	var network, workload bool
	if d.Approved != nil && d.Approved.Networks != nil {
		switch {
		case !o.Address.IsValid():
			r.blind += o.Calls
		case !inside(d.Approved.Networks, o.Address):
			network, strange = true, true
		}
	}
	if d.Workload != "" && o.Workload != "" {
		switch sameWorkload(d.Workload, o.Workload) {
		case other:
			workload, strange = true, true
		case incomparable:
			if r.unlike == nil {
				r.unlike = map[string]struct{}{}
			}
			r.unlike[o.Workload] = struct{}{}
		}
	}
	if !strange {
		return
	}
	if c := r.env.Changed(r.subject, catalog.Act{Address: o.Address, First: o.First, Last: o.Last}, o.Workload); c != nil {
		what := "calls by " + o.Workload
		if o.Address.IsValid() {
			what = "calls from " + o.Address.String()
		}
		r.excused.add(AwayFromHome, r.subject, what, c)
		return
	}
	r.origins = append(r.origins, *o)
	if r.away == nil {
		r.away = map[string]*awayFrom{}
	}
	a := r.away[o.Session]
	if a == nil {
		a = &awayFrom{networks: map[string]struct{}{}, workloads: map[string]struct{}{}}
		r.away[o.Session] = a
	}
	a.widen(o.First, o.Last)
	a.reporters[min(int(o.Reporter), 3)] += o.Calls
	if network {
		a.networks[o.Address.String()] = struct{}{}
	}
	if workload {
		a.workloads[o.Workload] = struct{}{}
	}
	a.want.add(Selector{Hash: o.Hash, Session: o.Session, Workload: o.Workload, Address: o.Address, HasOrigin: true,
		Decisions: accepted, From: o.First, To: o.Last})
}

// accepted are the decisions that show that the credential itself was accepted.
var accepted = []schema.Decision{schema.DecisionAllowed, schema.DecisionNoEffect, schema.DecisionDenied}

// inside reports whether an address lies in one of the networks.
func inside(networks []netip.Prefix, address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Contains(address)
	})
}

type likeness uint8

const (
	same likeness = iota
	other
	incomparable
)

// sameWorkload compares a declared workload with what the network says. Both
// are names that people and platforms chose, so the answer is "other" only
// where the two are of one form: both SPIFFE ids, both ARNs, both with the same
// leading word ("deploy/…"), or both single words.
//
// A declared name may hold * (within a segment) and **. A replica's name
// ("ci-6d4cf56db6-x2x9z") is that of its workload ("ci"), but "ci-admin" is
// another's, and a declared "ns/payments/sa/ci" is the end of a SPIFFE id.
func sameWorkload(declared, observed string) likeness {
	if catalog.PathGlob(declared, observed) {
		return same
	}
	name := declared
	if i := strings.LastIndexByte(declared, '/'); i >= 0 {
		name = declared[i+1:]
	}
	last := observed
	if i := strings.LastIndexByte(observed, '/'); i >= 0 {
		last = observed[i+1:]
	}
	if strings.HasSuffix(observed, "/"+declared) {
		return same
	}
	if (form(declared) == "" || form(observed) == "") && (last == name || replica(last, name)) {
		return same
	}
	if ns, account, ok := kubernetesIdentity(observed); ok {
		switch {
		case declared == ns+"/"+account, catalog.PathGlob(declared, "ns/"+ns+"/sa/"+account):
			return same
		case accountPath(declared):
			return other
		}
	}
	if form(declared) != form(observed) {
		return incomparable
	}
	if form(declared) != "spiffe" && replica(observed, declared) {
		return same
	}
	return other
}

// replica reports whether a name is that of one copy of a workload: its name and
// what a platform adds, which is a number, hexadecimal digits, or letters and
// digits of the alphabet that Kubernetes draws from, without vowels so that it
// draws no words.
func replica(name, workload string) bool {
	rest, ok := strings.CutPrefix(name, workload+"-")
	if !ok {
		return false
	}
	added := strings.Split(rest, "-")
	return len(added) <= 2 && !slices.ContainsFunc(added, func(s string) bool {
		number := s != "" && strings.Trim(s, "0123456789") == ""
		drawn := strings.Trim(s, "bcdfghjklmnpqrstvwxz2456789") == "" || strings.Trim(s, "0123456789abcdef") == "" && strings.ContainsAny(s, "0123456789")
		return !number && (len(s) < 4 || len(s) > 10 || !drawn)
	})
}

// accountPath reports whether a declared name is "ns/NAMESPACE/sa/ACCOUNT".
func accountPath(name string) bool {
	parts := strings.Split(name, "/")
	return len(parts) == 4 && parts[0] == "ns" && parts[2] == "sa"
}

// kubernetesIdentity reads namespace and service account from the SPIFFE id that
// meshes give to pods: spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT.
func kubernetesIdentity(id string) (namespace, account string, ok bool) {
	rest, ok := strings.CutPrefix(id, "spiffe://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		return "", "", false
	}
	return parts[2], parts[4], true
}

// form names the scheme of a workload's name.
func form(name string) string {
	switch scheme, _, ok := strings.Cut(name, "://"); {
	case ok:
		return scheme
	case strings.HasPrefix(name, "arn:"):
		return "arn"
	case strings.ContainsAny(name, " \t"):
		return "prose"
	case strings.HasPrefix(name, "i-") && strings.Trim(name[2:], "0123456789abcdef") == "":
		return "instance"
	}
	first, _, ok := strings.Cut(name, "/")
	if ok {
		return first + "/"
	}
	return ""
}

func (r *originRule) finish(out *Result) {
	if r.blind > 0 {
		out.Withheld = append(out.Withheld, Withheld{AwayFromHome, r.subject.Name, "some of its calls", "they show no address"})
	}
	if len(r.unlike) > 0 {
		out.Withheld = append(out.Withheld, Withheld{AwayFromHome, r.subject.Name,
			fmt.Sprintf("workload %q against %s", r.subject.Declared.Workload, some(quoted(sortedKeys(r.unlike)), 2)),
			"the declared name and what the network says are of different forms"})
	}
	r.excused.close(out)
	for session, a := range r.away {
		out.Drafts = append(out.Drafts, Draft{Finding: r.finding(session, a), Want: a.want.cut()})
	}
}

func (r *originRule) finding(session string, a *awayFrom) schema.Finding {
	f := r.open(AwayFromHome, session)
	f.Session = session
	f.First, f.Last = a.first, a.last
	f.Calls = ranked(&a.reporters)
	d := r.subject.Declared
	var where []string
	if len(a.networks) > 0 {
		where = append(where, "from "+some(sortedKeys(a.networks), 2))
		for _, p := range d.Approved.Networks {
			f.Evidence.Usual = append(f.Evidence.Usual, p.String())
		}
		f.Reasons = append(f.Reasons, fmt.Sprintf("its approved networks are %s", some(f.Evidence.Usual, 5)),
			fmt.Sprintf("it called from %s", some(sortedKeys(a.networks), 10)))
	}
	if len(a.workloads) > 0 {
		where = append(where, "by "+some(sortedKeys(a.workloads), 2))
		f.Evidence.Usual = append(f.Evidence.Usual, d.Workload)
		f.Reasons = append(f.Reasons, fmt.Sprintf("its workload is %s", d.Workload),
			fmt.Sprintf("the network says that %s called", some(sortedKeys(a.workloads), 10)))
	}
	if len(f.Evidence.Usual) == 0 {
		f.Evidence.Usual = []string{"no network at all"}
	}
	f.Evidence.Seen = append(sortedKeys(a.networks), sortedKeys(a.workloads)...)
	who := r.subject.Name
	if session != "" {
		who = "session " + session + " of " + who
	}
	f.Title = fmt.Sprintf("%s was used %s, away from its home", who, strings.Join(where, " and "))

	w := weight{}
	w.holder(r.subject)
	if len(a.networks) > 0 && len(a.workloads) > 0 {
		w.add(1, "both network and workload are strange")
	}
	for text := range a.networks {
		if ip, err := netip.ParseAddr(text); err == nil && !ip.Unmap().IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			w.add(1, "from a public address")
			break
		}
	}
	f.Severity = w.severity(schema.SeverityHigh, 2)
	f.Confidence = 0.9
	if len(a.networks) == 0 {
		f.Confidence = 0.8
	}
	f.Reasons = append(f.Reasons, fmt.Sprintf("%s between %s and %s", count(f.Calls, "call"), stamp(a.first), stamp(a.last)),
		w.reason(f.Severity),
		fmt.Sprintf("confidence %.2f: declared home, accepted credential%s", f.Confidence, onlyWorkload(len(a.networks) == 0)))
	f.Next = commands(&f, callsOf(&schema.Finding{Credential: f.Credential})+since(a.first))
	return f
}

func onlyWorkload(only bool) string {
	if only {
		return "; workloads are renamed more often than networks"
	}
	return ""
}

// since is the command's filter for calls from a time on.
func since(t time.Time) string { return " --since " + t.UTC().Format(time.RFC3339) }

func quoted(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%q", s)
	}
	return out
}
