package tick_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/detector/tick"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

const clients = 12

// crowded is a store of clients that may read, with a ticker that judges two of them
// a step, if more than eight wait and go on as before.
func crowded(t *testing.T) (*house, *tick.Ticker) {
	t.Helper()
	text := "services:\n  - {name: api, hosts: [api.test], authority: idp, grant: declared, operations: [{operation: GET /a, scopes: [[read]], class: read}, " +
		"{operation: DELETE /a, scopes: [[admin]], class: delete}]}\ncredentials:\n"
	for n := range clients {
		text += fmt.Sprintf("  - {id: c%02d, match: [{id: client-%02d}], owner: x, grants: [{authority: idp, scopes: [read]}]}\n", n, n)
	}
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	h := open(t, cat)
	_, store := h.ticker("one")
	return h, tick.New(tick.Config{Store: store, Facts: func() detector.Facts { return detector.Store(h.conn) },
		Catalog: func() *catalog.Catalog { return h.cat }, Turn: 2})
}

// crowdCall is the number-th call of a client.
func crowdCall(client, number int, method, from string) schema.Call {
	id := fmt.Sprintf("client-%02d", client)
	c := schema.Call{
		Time: time.Date(2026, 3, 2, 10, 0, number, 0, time.UTC), Source: schema.Source{Type: "test", Name: "test"}, Reporter: schema.ReporterGateway,
		Credential: schema.Credential{Kind: schema.KindOAuthClient, ID: id, Client: id, Verified: true}, Decision: schema.DecisionAllowed,
		Method: method, Host: "api.test", Path: "/a", Status: 200, ClientAddress: netip.MustParseAddr(from), Workload: id,
	}
	binary.BigEndian.PutUint64(c.ID[:], uint64(number)<<16|uint64(client)<<1|uint64(len(method)&1))
	return c
}

// everyone calls once.
func everyone(number int) (calls []schema.Call) {
	for n := range clients {
		calls = append(calls, crowdCall(n, number, "GET", "10.0.0.1"))
	}
	return calls
}

// TestCrowd: where many wait a step judges a few; everybody's turn comes, and who
// did something new, or came from elsewhere, is next.
func TestCrowd(t *testing.T) {
	h, one := crowded(t)
	h.put(t, everyone(1))
	if result := step(t, one, false); !result.Full || result.Credentials != clients {
		t.Fatalf("the first step is of everything: %+v", result)
	}
	settle := func(most int) {
		t.Helper()
		for n := 0; ; n++ {
			result := step(t, one, false)
			if result.Idle {
				break
			}
			if result.Full || result.Credentials > most || n > clients {
				t.Fatalf("step %d judged %d, full %v", n, result.Credentials, result.Full)
			}
		}
		equal(t, h.standing(t), h.scanned(t))
	}
	// What they do is not known yet, and so is new.
	for number := 2; number < 5; number++ {
		h.put(t, everyone(number))
		settle(clients)
	}
	for n, client := range []int{0, 7, clients - 1} {
		number := 5 + n
		h.put(t, append(everyone(number), crowdCall(client, number, "DELETE", "10.0.0.1")))
		result := step(t, one, false)
		opened := ""
		for _, change := range result.Changes {
			if change.Kind == tick.Opened && change.Finding.Code == "D01" {
				opened += change.Finding.Credential.ID
			}
		}
		if want := fmt.Sprintf("c%02d", client); opened != want || result.Credentials != 2 {
			t.Errorf("%s did something new, and the first step opened %q and judged %d", want, opened, result.Credentials)
		}
		settle(8)
	}
}

// TestNews: what a principal was seen doing is another number when it does
// something new or is elsewhere, and the same when it goes on.
func TestNews(t *testing.T) {
	h, _ := crowded(t)
	_, store := h.ticker("one")
	var at time.Time
	if err := h.conn.QueryRow(t.Context(), "SELECT now64(6, 'UTC')").Scan(&at); err != nil {
		t.Fatal(err)
	}
	call := func(number int, method, from string) schema.Call {
		c := crowdCall(0, number, method, from)
		c.Time = at.Add(time.Duration(number) * time.Millisecond) // places are those of the last days
		return c
	}
	news := func(calls ...schema.Call) uint64 {
		t.Helper()
		h.put(t, calls)
		list, err := store.News(t.Context(), time.Time{})
		if err != nil || len(list) != 1 {
			t.Fatalf("%d principals have news, %v", len(list), err)
		}
		return list[calls[0].Credential.Principal().Hash()]
	}
	first := news(call(1, "GET", "10.0.0.1"))
	if again := news(call(2, "GET", "10.0.0.1")); again != first {
		t.Error("it went on as before, and that is news")
	}
	other := news(call(3, "DELETE", "10.0.0.1"))
	if other == first {
		t.Error("it called another operation, and that is none")
	}
	if elsewhere := news(call(4, "GET", "203.0.113.9")); elsewhere == other {
		t.Error("it was somewhere else, and that is none")
	}
}

// TestWaitsLong: calls whose turn does not come for longer than what is looked back
// at are not forgotten.
func TestWaitsLong(t *testing.T) {
	h, _ := crowded(t)
	_, table := h.ticker("one")
	store := &slow{Table: table}
	one := tick.New(tick.Config{Store: store, Facts: func() detector.Facts { return detector.Store(h.conn) },
		Catalog: func() *catalog.Catalog { return h.cat }, Turn: 1})
	h.put(t, everyone(1))
	step(t, one, false)
	at := time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)
	everybody := func() {
		for client := range clients {
			store.touch(client, at)
		}
	}
	everybody()
	if result := step(t, one, false); result.Credentials != clients {
		t.Fatalf("what they do was not known, and so was new; judged were %d", result.Credentials)
	}
	at = at.Add(time.Minute)
	everybody()
	judged, steps := 0, 0
	for result := step(t, one, false); !result.Idle; result = step(t, one, false) {
		if steps++; steps > 2*clients {
			t.Fatal("it never ends")
		}
		if judged += result.Credentials; steps < 4 {
			at = at.Add(tick.Overlap * 3 / 2)
			store.touch(0, at)
		}
	}
	// One a step, until so few are left that all of them are judged.
	if steps < 5 || judged < clients {
		t.Errorf("in %d steps %d were judged, of %d that had called", steps, judged, clients)
	}
	if want := at.Add(-tick.Overlap); !store.since.Equal(want) {
		t.Errorf("all were judged, and what is looked at begins at %s, not %s", store.since, want)
	}
}

// slow is a store whose touches the test makes, as of its own clock.
type slow struct {
	*tick.Table
	touches []tick.Touch
	since   time.Time
}

func (s *slow) touch(client int, at time.Time) {
	c := crowdCall(client, 1, "GET", "10.0.0.1")
	s.touches = append(s.touches, tick.Touch{Minute: tick.Minute{Principal: c.Credential.Principal().Hash(), Begin: at}, Times: 1})
}

func (s *slow) Touched(_ context.Context, since time.Time) (list []tick.Touch, err error) {
	s.since = since
	for _, one := range s.touches {
		if !one.Begin.Before(since) {
			list = append(list, one)
		}
	}
	return list, nil
}

func (s *slow) News(context.Context, time.Time) (map[schema.PrincipalHash]uint64, error) {
	return nil, nil
}

// asking counts for how many findings calls are read.
type asking struct {
	detector.Facts
	asked *int
}

func (a asking) Calls(ctx context.Context, w schema.Window, wants [][]rule.Selector) ([][]schema.Call, error) {
	for _, one := range wants {
		if len(one) > 0 {
			*a.asked++
		}
	}
	return a.Facts.Calls(ctx, w, wants)
}

// TestCallsOfFindings: the calls of a finding are read when it is new or became
// different, and by a pass over everything; who goes on otherwise is not asked about.
func TestCallsOfFindings(t *testing.T) {
	h, _ := crowded(t)
	_, store := h.ticker("one")
	asked := 0
	one := tick.New(tick.Config{Store: store, Facts: func() detector.Facts { return asking{detector.Store(h.conn), &asked} },
		Catalog: func() *catalog.Catalog { return h.cat }})
	h.put(t, append(everyone(1), crowdCall(3, 1, "DELETE", "10.0.0.1")))
	for n, c := range []struct {
		what       string
		calls      []schema.Call
		everything bool
		asked      int
	}{
		{"the first", nil, false, 1},
		{"others call", everyone(2), false, 0},
		{"another out of scope", []schema.Call{crowdCall(3, 4, "DELETE", "10.0.0.1")}, false, 1},
		{"an earlier one comes late", []schema.Call{crowdCall(3, 2, "DELETE", "10.0.0.1")}, false, 1},
		{"one of another client", []schema.Call{crowdCall(5, 5, "DELETE", "10.0.0.1")}, false, 1},
		{"it goes on within scope", []schema.Call{crowdCall(3, 6, "GET", "10.0.0.1"), crowdCall(5, 6, "GET", "10.0.0.1")}, false, 0},
		{"everything", everyone(7), true, 2},
	} {
		if len(c.calls) > 0 {
			h.put(t, c.calls)
		}
		if asked = 0; step(t, one, c.everything).Idle {
			t.Fatalf("%d (%s): nothing was judged", n, c.what)
		}
		if asked != c.asked {
			t.Errorf("%d (%s): the calls of %d findings were read, not of %d", n, c.what, asked, c.asked)
		}
		equal(t, h.standing(t), h.scanned(t))
	}
}
