package detector_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// TestManyCredentials: so many that they are judged in several parts, two at a time,
// and of some so many calls in an hour that paces, norms and habits are asked for.
// What is said is what memory says.
func TestManyCredentials(t *testing.T) {
	const clients = 1300
	var text strings.Builder
	text.WriteString("services:\n  - {name: api, hosts: [api.test], authority: idp, grant: declared, operations: [{operation: \"GET /a/{id}\", scopes: [[read]], class: read}, " +
		"{operation: \"DELETE /a/{id}\", scopes: [[admin]], class: delete}, {operation: \"GET /secrets/{id}\", scopes: [[read]], class: secret}]}\ncredentials:\n")
	for n := range clients {
		if n%10 > 0 { // nobody knows the tenth
			fmt.Fprintf(&text, "  - {id: c%04d, match: [{id: client-%04d}], owner: team-%d, grants: [{authority: idp, scopes: [read]}]}\n", n, n, n%7)
		}
	}
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	writeFile(t, path, text.String())
	cat, err := catalog.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 2026))
	begin := time.Date(2026, 2, 2, 8, 0, 0, 0, time.UTC)
	var calls []schema.Call
	call := func(client int, at time.Time, method, path string, decision schema.Decision) {
		id := fmt.Sprintf("client-%04d", client)
		c := schema.Call{Time: at, Source: schema.Source{Type: "test", Name: "test"}, Reporter: schema.Reporter(len(calls) % 2),
			Credential: schema.Credential{Kind: schema.KindOAuthClient, ID: id, Client: id, Verified: true}, Decision: decision,
			Method: method, Host: "api.test", Path: path, Status: 200, Workload: fmt.Sprintf("job-%d", client%40)}
		binary.BigEndian.PutUint64(c.ID[:], uint64(len(calls)))
		detectortest.Enrich(cat, &c)
		calls = append(calls, c)
	}
	for client := range clients {
		for day := range 20 {
			call(client, begin.AddDate(0, 0, day).Add(time.Duration(r.IntN(4*3600))*time.Second), "GET", fmt.Sprintf("/a/%d", r.IntN(9)), schema.DecisionAllowed)
		}
		if client%97 == 0 {
			call(client, begin.AddDate(0, 0, 19).Add(time.Hour), "DELETE", "/a/1", schema.DecisionAllowed)
		}
		for n := range 80 * (1 - min(client%260, 1)) { // five of them walk through what there is
			call(client, begin.AddDate(0, 0, 19).Add(2*time.Hour+time.Duration(n)*time.Second), "GET", fmt.Sprintf("/a/%d", 1000+n), schema.DecisionAllowed)
			call(client, begin.AddDate(0, 0, 19).Add(3*time.Hour+time.Duration(n)*time.Second), "GET", fmt.Sprintf("/secrets/%d", n), schema.DecisionAllowed)
		}
	}
	conn, stored := newStores(t).fill(t, cat, calls, 5000, 5000)
	got := detectortest.Run(t, detector.Config{Catalog: cat, Conn: conn})
	want := detectortest.Run(t, detector.Config{Catalog: cat, Facts: memory.New(stored)})
	codes := map[string]int{}
	for i := range got.Findings {
		codes[got.Findings[i].Code]++
	}
	for _, code := range []string{"D01", "D10", "D15", "D17"} {
		if codes[code] == 0 {
			t.Errorf("no %s among %v: the test says little", code, codes)
		}
	}
	same(t, got.JSON(t), want.JSON(t))
}
