package compare

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// world is a random small catalogue with requests to put to it.
type world struct {
	r       *rand.Rand
	dialect schema.Dialect
	scopes, operations,
	resources []string
	cat *catalog.Catalog
}

func pick(r *rand.Rand, list []string) string { return list[r.IntN(len(list))] }

// some picks up to n, possibly none.
func some(r *rand.Rand, list []string, n int) []string {
	out := []string{}
	for range r.IntN(n + 1) {
		out = append(out, pick(r, list))
	}
	return out
}

func newWorld(seed uint64) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 1))}
	switch seed % 4 {
	case 0:
		w.scopes = []string{"a", "b", "c", "d"}
		w.operations = w.scopes
		w.resources = []string{"x/1", "x/2", ""}
	case 1:
		w.dialect = schema.DialectWildcard
		w.scopes = []string{"*", "a:*", "a:b", "*:b", "a:b:*", "c", "a*"}
		w.operations = []string{"a", "a:b", "a:c", "c:b", "a:b:c"}
		w.resources = []string{"x/1", "y/1", ""}
	case 2:
		w.dialect = schema.DialectIAM
		w.scopes = []string{"*", "s3:Get*", "s3:*", "sqs:SendMessage", "S3:GETOBJECT", "s3:?etObject", "s3:GetObjectVersion"}
		w.operations = []string{"s3:GetObject", "s3:ListObjects", "sqs:SendMessage", "s3:CopyObject", "sts:GetCallerIdentity"}
		w.resources = []string{"arn:aws:s3:::logs/a", "arn:aws:s3:::logs", "arn:aws:s3:::logs/*", "arn:aws:sqs:r:1:jobs", "*", ""}
	case 3:
		w.dialect = schema.DialectKubernetes
		w.scopes = []string{"*", "get", "list", "get pods", "list *", "create pods/exec", "get /healthz", "get *.apps"}
		w.operations = []string{"get pods", "list pods", "get deployments.apps", "create pods", "create pods/exec", "get /healthz", "get /api/v1"}
		w.resources = []string{"p", "q", ""}
	}
	service := &catalog.Service{Name: "s", Authority: "a", Dialect: w.dialect, Grant: schema.GrantMode(w.r.IntN(5))}
	if !special(w.dialect) {
		service.DemandOperation = true
	}
	w.cat = &catalog.Catalog{Services: []*catalog.Service{service}, Scopes: map[string]schema.Scope{}}
	for range w.r.IntN(3) {
		s := pick(w.r, w.scopes)
		w.cat.Scopes[s] = schema.Scope{Name: s, Implies: some(w.r, w.scopes, 2)}
	}
	w.cat.Groups = []catalog.Group{{Name: "g", Grants: w.grants(2)}}
	w.cat.Credentials = []*catalog.Credential{{ID: "c", Grants: w.grants(4)}}
	return w
}

func (w *world) grants(n int) []schema.Grant {
	var out []schema.Grant
	for range w.r.IntN(n + 1) {
		out = append(out, w.grant())
	}
	return out
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *world) day() time.Time { return epoch.AddDate(0, 0, w.r.IntN(20)) }

func (w *world) grant() schema.Grant {
	g := schema.Grant{Authority: pick(w.r, []string{"a", "a", "a", "", "z"}), Dialect: w.dialect, Conditional: w.r.IntN(6) == 0}
	if w.r.IntN(4) == 0 {
		g.Effect = schema.EffectDeny
	}
	if w.r.IntN(6) == 0 {
		g.Except = append(some(w.r, w.scopes, 2), pick(w.r, w.scopes))
	} else {
		g.Scopes = some(w.r, w.scopes, 3)
	}
	if w.r.IntN(4) == 0 {
		if w.dialect == schema.DialectKubernetes {
			g.Names = some(w.r, w.resources, 2)
		} else {
			g.Resources = some(w.r, w.resources, 2)
		}
	}
	if w.dialect == schema.DialectKubernetes && w.r.IntN(3) == 0 {
		g.Resources = some(w.r, []string{"pods", "pods/exec", "*", "/healthz", "/api/*", "deployments"}, 3)
		if w.r.IntN(2) == 0 {
			g.APIGroups = some(w.r, []string{"", "apps", "*"}, 2)
		}
	}
	if w.r.IntN(5) == 0 {
		g.Namespaces = some(w.r, []string{"n", "m"}, 2)
	}
	if w.r.IntN(4) == 0 {
		g.From = w.day()
	}
	if w.r.IntN(4) == 0 {
		g.To = w.day()
	}
	return g
}

func (w *world) request() *Request {
	r := &Request{
		Kind: schema.KindOAuthClient, Service: "s", Operation: pick(w.r, w.operations), RouteSource: schema.RouteSpec,
		Tenant: pick(w.r, []string{"n", "m", ""}), ResourceKnown: w.r.IntN(2) == 0, Time: w.day(),
	}
	if r.ResourceKnown {
		r.Resource = pick(w.r, w.resources)
	}
	if w.r.IntN(4) > 0 {
		r.Declared = w.cat.Credentials[0]
	}
	if w.r.IntN(3) == 0 {
		r.Groups = []string{"g"}
	}
	if w.r.IntN(2) == 0 {
		r.Scopes = some(w.r, w.scopes, 2)
	}
	return r
}

func (w *world) String() string {
	return fmt.Sprintf("service %+v\nscopes %v\ngroup %+v\ncredential %+v", *w.cat.Services[0], w.cat.Scopes, w.cat.Groups[0].Grants, w.cat.Credentials[0].Grants)
}

const worlds = 6_000

// rank orders the answers: allowing never lowers it, denying never raises it.
var rank = map[Holding]int{Lacks: 0, Unknown: 1, Holds: 2}

// known tells whether what was declared was known at the time.
func known(c *Comparer, r *Request) bool {
	h := c.holder(c.services["s"], r.Declared, r.Groups)
	return h.known && !r.Time.Before(h.from)
}

func TestMoreGrants(t *testing.T) {
	moved := 0
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		r := w.request()
		if r.Declared == nil {
			continue
		}
		c := New(w.cat)
		before, wasKnown := c.Judge(r), known(c, r)
		more := w.grant()
		grants := r.Declared.Grants
		r.Declared.Grants = append(slices.Clone(grants), more)
		after := New(w.cat).Judge(r)
		if before.Holding != after.Holding {
			moved++
		}
		wrong := false
		switch {
		case more.Effect == schema.EffectAllow:
			wrong = before.Holding == Holds && after.Holding == Lacks || wasKnown && rank[after.Holding] < rank[before.Holding]
		default:
			wrong = before.Holding == Lacks && after.Holding == Holds || wasKnown && rank[after.Holding] > rank[before.Holding]
		}
		if wrong {
			t.Fatalf("seed %d: %v became %v by %+v\nrequest %+v\nin %v\nreasons %q, then %q",
				seed, before.Holding, after.Holding, more, *r, w, before.Reasons, after.Reasons)
		}
	}
	if moved < worlds/20 {
		t.Errorf("only %d of %d additions changed anything: the test is too tame", moved, worlds)
	}
}

func TestOrderOfGrants(t *testing.T) {
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		r := w.request()
		before := New(w.cat).Judge(r)
		for _, list := range [][]schema.Grant{w.cat.Credentials[0].Grants, w.cat.Groups[0].Grants} {
			w.r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
		slices.Reverse(r.Scopes)
		after := New(w.cat).Judge(r)
		for _, j := range []*Judgement{&before, &after} {
			slices.Sort(j.Reasons)
			j.Reasons = slices.Compact(j.Reasons)
			for i := range j.By {
				j.By[i].Grant = nil // Entries moved.
			}
			slices.SortFunc(j.By, func(a, b Contribution) int {
				return slices.Compare([]string{a.Need, a.Scope, a.Source}, []string{b.Need, b.Scope, b.Source})
			})
		}
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("seed %d: %+v\nbecame %+v\nrequest %+v\nin %v", seed, before, after, *r, w)
		}
	}
}

func TestConstantBetweenBounds(t *testing.T) {
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		r := w.request()
		j := New(w.cat).Judge(r)
		if !j.Since.IsZero() && r.Time.Before(j.Since) || !j.Until.IsZero() && !r.Time.Before(j.Until) {
			t.Fatalf("seed %d: %v lies outside [%v, %v)", seed, r.Time, j.Since, j.Until)
		}
		for d := -1; d < 22; d++ {
			when := epoch.AddDate(0, 0, d)
			for _, at := range []time.Time{when, when.Add(-time.Microsecond)} {
				if !j.Since.IsZero() && at.Before(j.Since) || !j.Until.IsZero() && !at.Before(j.Until) {
					continue
				}
				other := *r
				other.Time = at
				if got := New(w.cat).Judge(&other); !reflect.DeepEqual(got, j) {
					t.Fatalf("seed %d: at %v %+v\nat %v %+v\nin %v", seed, r.Time, j, at, got, w)
				}
			}
		}
	}
}

// What a comparer remembers is what it would find out anew.
func TestMemory(t *testing.T) {
	for seed := range uint64(worlds / 10) {
		w := newWorld(seed)
		c := New(w.cat)
		for range 40 {
			r := w.request()
			if got, want := c.Judge(r), New(w.cat).Judge(r); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: remembered %+v\nfound %+v\nrequest %+v\nin %v", seed, got, want, *r, w)
			}
		}
	}
}

// A fold over unknown resources is certain only if it is so for each of them,
// and says truly whether knowing them would help.
func TestFolds(t *testing.T) {
	helped := 0
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		r := w.request()
		r.ResourceKnown, r.Resource = false, ""
		c := New(w.cat)
		fold := c.Judge(r)
		for _, resource := range append(w.resources, "elsewhere", "arn:aws:s3:::other/b") {
			one := *r
			one.ResourceKnown, one.Resource = true, resource
			j := c.Judge(&one)
			if j.NeedsResource {
				t.Fatalf("seed %d: needs what it has", seed)
			}
			if j.Holding == fold.Holding {
				continue
			}
			helped++
			if fold.Holding != Unknown || !fold.NeedsResource {
				t.Fatalf("seed %d: folded %v (needs %v), on %q %v\nrequest %+v\nin %v\nreasons %q and %q",
					seed, fold.Holding, fold.NeedsResource, resource, j.Holding, *r, w, fold.Reasons, j.Reasons)
			}
		}
	}
	if helped == 0 {
		t.Error("no resource ever helped: the test is too tame")
	}
}

// Every held scope that satisfied a request is said to be used by it.
func TestContributionsAreUsed(t *testing.T) {
	seen := 0
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		r := w.request()
		c := New(w.cat)
		j := c.Judge(r)
		held := c.Held(r.Declared, r.Groups, schema.Window{})
		for _, by := range j.By {
			if by.Grant == nil {
				continue
			}
			seen++
			i := slices.IndexFunc(held, func(h HeldScope) bool { return h.Grant == by.Grant && h.Scope == by.Scope })
			if i < 0 {
				t.Fatalf("seed %d: %+v is not held: %+v", seed, by, held)
			}
			if !c.Uses(held[i], r) {
				t.Fatalf("seed %d: %+v is not used\nrequest %+v\nin %v", seed, by, *r, w)
			}
		}
	}
	if seen == 0 {
		t.Error("nothing was satisfied: the test is too tame")
	}
}

// Without a scope that a request does not use, the answer is the same.
func TestUnusedScopesDoNotMatter(t *testing.T) {
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		r := w.request()
		if r.Declared == nil || w.dialect == schema.DialectKubernetes {
			continue // Its parts are not its scopes as written.
		}
		c := New(w.cat)
		before := c.Judge(r)
		if before.Holding != Holds {
			continue
		}
		for _, h := range c.Held(r.Declared, nil, schema.Window{}) {
			if h.Grant.Except != nil || c.Uses(h, r) {
				continue
			}
			old := h.Grant.Scopes
			h.Grant.Scopes = slices.DeleteFunc(slices.Clone(old), func(s string) bool { return s == h.Scope })
			after := New(w.cat).Judge(r)
			h.Grant.Scopes = old
			if after.Holding != Holds {
				t.Fatalf("seed %d: %+v was said to be unused, without it %v\nrequest %+v\nin %v", seed, h, after.Holding, *r, w)
			}
		}
	}
}

// Many goroutines get the answers that one gets.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(7)
	var requests []*Request
	var want []Judgement
	for range 200 {
		r := w.request()
		requests = append(requests, r)
		want = append(want, New(w.cat).Judge(r))
	}
	c := New(w.cat)
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			for i := range requests {
				i = (i + 25*g) % len(requests)
				if got := c.Judge(requests[i]); !reflect.DeepEqual(got, want[i]) {
					t.Errorf("request %d: %+v, want %+v", i, got, want[i])
				}
				c.Uses(HeldScope{Scope: pick(rand.New(rand.NewPCG(1, uint64(i))), w.scopes)}, requests[i])
			}
		})
	}
	wait.Wait()
}
