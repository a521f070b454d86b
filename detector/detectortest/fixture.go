// Package detectortest reads the detector's test cases: one txtar file each,
// with a catalogue, calls, and the findings expected.
//
// What you want: [Read] for a case, [Run] for what a detector says to it. Calls
// are written shortly, one JSON object a line (see [Line]), and enriched from
// the case's catalogue as the pipeline would.
package detectortest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Case is one test case.
type Case struct {
	// Name is the file's, without extension.
	Name string
	// Archive is the file as read.
	Archive *txtar.Archive
	Catalog *catalog.Catalog
	Calls   []schema.Call
	// Window is that of the line "window: FROM TO" in the comment, with "-"
	// for an open bound.
	Window schema.Window
}

// Line is a call as a case writes it.
type Line struct {
	// At is the time of the first call; Every and Times repeat it.
	At    time.Time `json:"at"`
	Every string    `json:"every"`
	Times int       `json:"times"`
	// N begins the count of the repetitions: "{n}" in Do and Resource stands for
	// N, N+1 and so on, "{h}" for eight hexadecimal digits without an order.
	N int `json:"n"`
	// As is KIND/ID, the credential.
	As      string   `json:"as"`
	Issuer  string   `json:"issuer"`
	Subject string   `json:"subject"`
	Client  string   `json:"client"`
	Session string   `json:"session"`
	Groups  []string `json:"groups"`
	Scopes  []string `json:"scopes"`
	// Do is "METHOD HOST/PATH", routed by the catalogue, or an operation that
	// the log names itself; then Host says which service.
	Do   string `json:"do"`
	Host string `json:"host"`
	// Got is the decision, allowed by default.
	Got      string `json:"got"`
	Tenant   string `json:"tenant"`
	Resource string `json:"resource"`
	From     string `json:"from"`
	Workload string `json:"workload"`
	Reporter string `json:"reporter"`
	Quality  string `json:"quality"`
	// Log is the source type, "test" by default.
	Log string `json:"log"`
	// Trace and Request are ids; with Times, "%d" in them stands for the number
	// of the repetition. Took is how long the call lasted.
	Trace    string   `json:"trace"`
	Request  string   `json:"request"`
	Took     string   `json:"took"`
	Instance string   `json:"instance"`
	Agent    string   `json:"agent"`
	Mints    string   `json:"mints"`
	Actors   []string `json:"actors"`
	// Query are the names of the parameters of the address.
	Query []string `json:"query"`
}

// Cases are the files that fit a pattern; a test that finds none fails.
func Cases(t testing.TB, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	return paths
}

// Read reads a case.
func Read(t testing.TB, path string) *Case {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &Case{Name: strings.TrimSuffix(filepath.Base(path), ".txtar"), Archive: archive, Catalog: catalog.Empty()}
	dir := t.TempDir()
	files := 0
	var calls []byte
	for _, f := range archive.Files {
		switch {
		case f.Name == "calls.jsonl":
			calls = f.Data
		case strings.HasSuffix(f.Name, ".json") && f.Name != "openapi.json":
		default:
			files++
			if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if files > 0 {
		if c.Catalog, err = catalog.Load(dir); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	c.Window = window(t, archive.Comment)
	c.Calls = Calls(t, c.Catalog, calls)
	return c
}

func window(t testing.TB, comment []byte) (w schema.Window) {
	t.Helper()
	for line := range strings.Lines(string(comment)) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "window: ")
		if !ok {
			continue
		}
		from, to, _ := strings.Cut(rest, " ")
		for _, bound := range []struct {
			text string
			into *time.Time
		}{{from, &w.From}, {to, &w.To}} {
			if bound.text == "-" {
				continue
			}
			when, err := time.Parse(time.RFC3339, bound.text)
			if err != nil {
				t.Fatal(err)
			}
			*bound.into = when
		}
	}
	return w
}

// Calls reads lines of calls and enriches them.
func Calls(t testing.TB, cat *catalog.Catalog, lines []byte) []schema.Call {
	t.Helper()
	var calls []schema.Call
	scanner := bufio.NewScanner(bytes.NewReader(lines))
	for n := 1; scanner.Scan(); n++ {
		text := strings.TrimSpace(scanner.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		var l Line
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			t.Fatalf("calls.jsonl:%d: %v", n, err)
		}
		calls = append(calls, l.calls(t, cat, n)...)
	}
	return calls
}

func (l *Line) calls(t testing.TB, cat *catalog.Catalog, n int) []schema.Call {
	t.Helper()
	every, err := time.ParseDuration(orElse(l.Every, "0s"))
	if err != nil {
		t.Fatalf("calls.jsonl:%d: %v", n, err)
	}
	var out []schema.Call
	for i := range max(l.Times, 1) {
		c := l.numbered(l.N + i).call(t)
		c.Time = l.At.Add(time.Duration(i) * every).UTC()
		id := sha256.Sum256(fmt.Appendf(nil, "%d/%d", n, i))
		copy(c.ID[:], id[:])
		number := strconv.Itoa(i)
		c.TraceID, c.RequestID = strings.ReplaceAll(l.Trace, "%d", number), strings.ReplaceAll(l.Request, "%d", number)
		c.Mints, c.Credential.Instance = strings.ReplaceAll(l.Mints, "%d", number), strings.ReplaceAll(l.Instance, "%d", number)
		Enrich(cat, &c)
		out = append(out, c)
	}
	return out
}

// numbered writes the count of a repetition into the line.
func (l *Line) numbered(n int) *Line {
	one := *l
	sum := sha256.Sum256(fmt.Appendf(nil, "object %d", n))
	r := strings.NewReplacer("{n}", fmt.Sprint(n), "{h}", fmt.Sprintf("%x", sum[:4]))
	one.Do, one.Resource = r.Replace(l.Do), r.Replace(l.Resource)
	return &one
}

func (l *Line) call(t testing.TB) schema.Call {
	t.Helper()
	kind, id, _ := strings.Cut(l.As, "/")
	c := schema.Call{
		Source: schema.Source{Type: orElse(l.Log, "test"), Name: "calls.jsonl"},
		Credential: schema.Credential{ID: id, Issuer: l.Issuer, Subject: l.Subject, Client: l.Client, Session: l.Session,
			Groups: l.Groups, Verified: true},
		Scopes: l.Scopes, Host: l.Host, Tenant: l.Tenant, Resource: l.Resource, Workload: l.Workload,
		UserAgent: l.Agent, ActorChain: l.Actors, QueryKeys: l.Query,
	}
	if l.Took != "" {
		took, err := time.ParseDuration(l.Took)
		if err != nil {
			t.Fatal(err)
		}
		c.DurationUS = uint64(took / time.Microsecond)
	}
	for _, word := range []struct {
		text string
		into interface{ UnmarshalText([]byte) error }
	}{
		{kind, &c.Credential.Kind}, {orElse(l.Got, "allowed"), &c.Decision},
		{orElse(l.Reporter, "gateway"), &c.Reporter}, {orElse(l.Quality, "complete"), &c.Quality},
	} {
		if err := word.into.UnmarshalText([]byte(word.text)); err != nil {
			t.Fatal(err)
		}
	}
	if l.From != "" {
		c.ClientAddress = netip.MustParseAddr(l.From)
	}
	method, rest, ok := strings.Cut(l.Do, " ")
	if host, path, slash := strings.Cut(rest, "/"); ok && slash && host != "" && strings.ToUpper(method) == method {
		c.Method, c.Host, c.Path = method, host, "/"+path
		return c
	}
	c.Operation, c.RouteSource = l.Do, schema.RouteFromSource
	return c
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Enrich gives a call its service, operation and tenant from the catalogue.
func Enrich(cat *catalog.Catalog, c *schema.Call) {
	if c.RouteSource == schema.RouteFromSource {
		if s := cat.ServiceForHost(c.Host, c.Path); s != nil {
			c.Service, c.Environment = s.Name, s.Environment
		} else {
			c.Service = c.Host
		}
		return
	}
	c.Service, c.Operation, c.RouteSource = c.Host, c.Method+" "+c.Path, schema.RouteLearned
	route, ok := cat.Route(c.Host, c.Method, c.Path)
	if !ok {
		return
	}
	c.Service, c.Environment = route.Service.Name, route.Service.Environment
	if c.Tenant == "" {
		c.Tenant = route.Tenant
	}
	if route.Operation != nil {
		c.Operation, c.RouteSource = route.Operation.Name, route.Operation.RouteSource
	}
}

// Output is what a detector said.
type Output struct {
	Findings []schema.Finding
	Notes    []string
	Summary  detector.Summary
}

// Finding keeps a finding.
func (o *Output) Finding(f schema.Finding) error {
	o.Findings = append(o.Findings, f)
	return nil
}

// Note keeps a note.
func (o *Output) Note(s string) { o.Notes = append(o.Notes, s) }

// Run runs a detector and keeps all it says.
func Run(t testing.TB, cfg detector.Config) *Output {
	t.Helper()
	var o Output
	summary, err := detector.New(cfg).Run(context.Background(), &o)
	if err != nil {
		t.Fatal(err)
	}
	o.Summary = summary
	return &o
}

// JSON writes what was said, so that it can be compared byte by byte.
func (o *Output) JSON(t testing.TB) []byte {
	t.Helper()
	text, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return text
}
