package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/schema"
)

// auditEvent is one stage of one call to a cluster.
func auditEvent(id int, stage, verb, resource string, code int) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%08d-aaaa-4bbb-8ccc-0123456789ab","stage":"%s",`+
		`"requestURI":"/api/v1/%s","verb":"%s","user":{"username":"u"},"sourceIPs":["10.0.0.1"],"objectRef":{"resource":"%s","apiVersion":"v1"},`+
		`"responseStatus":{"code":%d},"requestReceivedTimestamp":"2026-03-01T10:00:00.%06dZ","stageTimestamp":"2026-03-01T10:00:01.%06dZ"}`,
		id, stage, resource, verb, resource, code, id, id)
}

// The stage that counts does not depend on the order in which stages stand.
func TestStagesInAnyOrder(t *testing.T) {
	var events []string
	want := map[string]string{} // operation: status
	for id := range 200 {
		switch id % 4 {
		case 0: // an ordinary call
			events = append(events, auditEvent(id, "RequestReceived", "get", fmt.Sprintf("r%d", id), 0), auditEvent(id, "ResponseComplete", "get", fmt.Sprintf("r%d", id), 200))
			want[fmt.Sprintf("get r%d", id)] = "200"
		case 1: // a watch that ended, and ended badly
			events = append(events, auditEvent(id, "ResponseStarted", "watch", fmt.Sprintf("r%d", id), 200), auditEvent(id, "ResponseComplete", "watch", fmt.Sprintf("r%d", id), 504))
			want[fmt.Sprintf("watch r%d", id)] = "504"
		case 2: // a watch that goes on
			events = append(events, auditEvent(id, "ResponseStarted", "watch", fmt.Sprintf("r%d", id), 200))
			want[fmt.Sprintf("watch r%d", id)] = "200"
		case 3: // a stream that broke
			events = append(events, auditEvent(id, "ResponseStarted", "create", fmt.Sprintf("r%d", id), 101), auditEvent(id, "Panic", "create", fmt.Sprintf("r%d", id), 500))
			want[fmt.Sprintf("create r%d", id)] = "500"
		}
	}
	var first map[string]schema.CallID
	for seed := range uint64(20) {
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		m, r, err := readText(t, Config{BatchSize: 1 + int(seed)*17}, strings.Join(events, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		got, ids := map[string]string{}, map[string]schema.CallID{}
		for i := range m.calls {
			got[m.calls[i].Operation] = fmt.Sprint(m.calls[i].Status)
			ids[m.calls[i].Operation] = m.calls[i].ID
		}
		if !maps.Equal(got, want) || len(m.calls) != len(want) {
			t.Fatalf("seed %d: %d calls, want %d", seed, len(m.calls), len(want))
		}
		if no := r.Inputs[0].NotACall; no["not_a_call:request_received"] != 50 || no[reasonStage] != 100 {
			t.Errorf("seed %d: no calls %v", seed, no)
		}
		if first == nil {
			first = ids
		} else if !maps.Equal(first, ids) {
			t.Error("ids depend on the order")
		}
	}
}

// More streams than can wait at once still count, once each.
func TestStagesOverflow(t *testing.T) {
	var text strings.Builder
	for id := range maxHeld + 500 {
		text.WriteString(auditEvent(id, "ResponseStarted", "watch", "pods", 200) + "\n")
	}
	m, _, err := readText(t, Config{}, text.String())
	if err != nil || len(m.calls) != maxHeld+500 {
		t.Fatalf("%v, %d calls", err, len(m.calls))
	}
}

func TestRecent(t *testing.T) {
	var r recent
	counts := map[uint64]uint32{}
	rng := rand.New(rand.NewPCG(3, 3))
	for range 200_000 {
		h := uint64(rng.IntN(50_000))*0x9e3779b97f4a7c15 | 1
		if got := r.seen(h); got != counts[h] {
			t.Fatalf("%x was seen %d times, want %d", h, got, counts[h])
		}
		counts[h]++
	}
	// Exact within a generation, whatever comes between.
	r = recent{}
	r.seen(7)
	r.seen(7)
	for i := range uint64(recentSize - 10) {
		r.seen(i*0x9e3779b97f4a7c15 | 1)
	}
	if got := r.seen(7); got != 2 {
		t.Errorf("after %d others: %d", recentSize-10, got)
	}
	// Bounded, however many come.
	for i := range uint64(3 * recentSize) {
		r.seen((i+1e9)*0x9e3779b97f4a7c15 | 1)
	}
	if len(r.now.slots)+len(r.before.slots) > 2<<20 {
		t.Errorf("%d and %d slots", len(r.now.slots), len(r.before.slots))
	}
}

// The ids of equal lines differ, those of the same ordinal do not.
func TestOrdinals(t *testing.T) {
	one := line("/same") + "\n"
	m, _, err := readText(t, Config{}, strings.Repeat(one, 1000))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[schema.CallID]bool{}
	for i := range m.calls {
		ids[m.calls[i].ID] = true
	}
	if len(ids) != 1000 {
		t.Errorf("%d ids of 1000 equal lines", len(ids))
	}
	half, _, _ := readText(t, Config{}, strings.Repeat(one, 400))
	for i := range half.calls {
		if half.calls[i].ID != m.calls[i].ID {
			t.Fatal("ordinals depend on what follows")
		}
	}
	other, _, _ := readText(t, Config{}, strings.Repeat(one, 1))
	if other.calls[0].ID == (schema.CallID{}) || binary.LittleEndian.Uint64(other.calls[0].ID[:]) == 0 {
		t.Error("an empty id")
	}
}

func TestReport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.log")
	writeFile(t, file, line("/1")+"\n"+strings.TrimSuffix(line("/2"), "}")+`,"x_tenant":"acme","jwt":{"iss":"i","azp":"c","scope":"a b"},"downstream_remote_address":"192.0.2.1:5"}`+"\n")
	g := testGateway(t, Config{})
	r, err := g.Run(context.Background(), []string{file}, discard{})
	if err != nil {
		t.Fatal(err)
	}
	in := r.Inputs[0]
	s := in.Shows
	if s.Time != 2 || s.Operation != 2 || s.Decision != 2 || s.Scopes != 1 || s.Tenant != 1 || s.Client != 1 ||
		s.Credential["oauth_client"] != 1 || s.Credential["unknown"] != 1 {
		t.Errorf("shows %+v", s)
	}
	seen := map[string]bool{}
	hints := map[string]string{}
	for _, f := range in.Fields {
		seen[f.Field], hints[f.Field] = f.Seen, f.Hint
	}
	if !seen["jwt_issuer"] || !seen["tenant"] || seen["xfcc"] || seen["user_agent"] {
		t.Errorf("seen %v", seen)
	}
	if !strings.Contains(hints["xfcc"], "X-FORWARDED-CLIENT-CERT") {
		t.Errorf("hint %q", hints["xfcc"])
	}
	if recipe := g.Recipes(&r)["envoy"]; !strings.Contains(recipe, "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:jwt)%") {
		t.Errorf("recipe %q", recipe)
	}
}

// TestFlaws: calls whose evidence of identity is no good are counted by reason.
func TestFlaws(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.log")
	odd := func(field string) string { return strings.TrimSuffix(line("/1"), "}") + "," + field + "}\n" }
	writeFile(t, file, line("/1")+"\n"+odd(`"x_forwarded_client_cert":"By=;;\"broken"`)+
		odd(`"api_client":"ghp_0123456789abcdefghijABCDEFGHIJ012345"`)+odd(`"api_client":"ghp_0123456789abcdefghijABCDEFGHIJ012345"`))
	r, err := testGateway(t, Config{}).Run(context.Background(), []string{file}, discard{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Flaws["malformed_xfcc"] != 1 || r.Flaws["secret_in_name"] != 2 || len(r.Flaws) != 2 {
		t.Errorf("flaws %v", r.Flaws)
	}
}

// --tenant, --host: where a tenant stands that redaction would remove, and what
// a log without hosts is about.
func TestTenantAndHost(t *testing.T) {
	text := strings.TrimSuffix(line("/1?org=a%20b&x=1"), "}") + `,"x_org":"field","request_X-Org":"header"}` + "\n"
	for rule, want := range map[string]string{"query:org": "a b", "field:x_org": "field", "header:X-Org": "field"} {
		m, _, err := readText(t, Config{Tenant: rule}, text)
		if err != nil || m.calls[0].Tenant != want {
			t.Errorf("%s: %v, %q, want %q", rule, err, m.calls[0].Tenant, want)
		}
	}
	m, _, err := readText(t, Config{Host: "prod.cluster"}, text+auditEvent(1, "ResponseComplete", "get", "pods", 200)+"\n"+
		`192.0.2.1 - - [01/Mar/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 5`+"\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := []string{m.calls[0].Host, m.calls[1].Host, m.calls[2].Host}; strings.Join(got, " ") != "o.example.internal prod.cluster prod.cluster" {
		t.Errorf("hosts %q", got)
	}
}

// refusing is a sink that breaks.
type refusing struct{ after int }

func (r *refusing) Put(context.Context, *collector.Batch) error {
	if r.after--; r.after < 0 {
		return errors.New("the store is gone")
	}
	return nil
}

func TestRunStops(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.log")
	writeFile(t, file, strings.Repeat(line("/1")+"\n", 1000))
	r, err := testGateway(t, Config{BatchSize: 100}).Run(context.Background(), []string{file}, &refusing{3})
	if err == nil || !strings.Contains(err.Error(), "the store is gone") || r.Calls() != 400 {
		t.Errorf("%v after %d calls", err, r.Calls())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = testGateway(t, Config{}).Run(ctx, []string{file}, discard{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCaptureIsHandedOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.log")
	writeFile(t, file, "\xd4\xc3\xb2\xa1rest")
	if _, err := testGateway(t, Config{}).Run(context.Background(), []string{file}, discard{}); err == nil || !strings.Contains(err.Error(), "packet capture") {
		t.Error(err)
	}
	var got []byte
	cfg := Config{Captures: func(_ context.Context, r io.Reader, in collector.Input, _ collector.Sink) (err error) {
		got, err = io.ReadAll(r)
		return err
	}}
	r, err := testGateway(t, cfg).Run(context.Background(), []string{file}, discard{})
	if err != nil || string(got) != "\xd4\xc3\xb2\xa1rest" || !r.Inputs[0].Capture {
		t.Error(err, got)
	}
}

// numbered makes n lines that differ in one number, as they are read.
type numbered struct {
	rest    []byte
	next, n int
}

func (r *numbered) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.next == r.n {
			return 0, io.EOF
		}
		r.rest = fmt.Appendf(r.rest[:0], "%s\n", strings.TrimSuffix(line(fmt.Sprintf("/orders/%d", r.next)), "}")+
			fmt.Sprintf(`,"jwt":{"iss":"i","azp":"c%d","jti":"%d"},"user_agent":"agent %d","x_tenant":"t%d"}`, r.next%97, r.next, r.next%1009, r.next%13))
		r.next++
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Of a large capture it is told how far it is read, as of a log.
func TestCaptureTellsProgress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.pcap")
	const size = 5 << 20
	if err := os.WriteFile(file, append([]byte{0xd4, 0xc3, 0xb2, 0xa1}, make([]byte, size-4)...), 0o600); err != nil {
		t.Fatal(err)
	}
	var told []int64
	var last uint64
	cfg := Config{
		Captures: func(ctx context.Context, r io.Reader, in collector.Input, sink collector.Sink) error {
			if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 4096)); err != nil {
				return err
			}
			return sink.Put(ctx, &collector.Batch{Input: in, Calls: make([]schema.Call, 3)})
		},
		Progress: func(_ string, done, total int64, calls uint64) {
			if total != size {
				t.Errorf("%d of %d", done, total)
			}
			told, last = append(told, done), calls
		},
	}
	report, err := testGateway(t, cfg).Run(context.Background(), []string{file}, discard{})
	if err != nil || report.Calls() != 3 {
		t.Fatalf("%d calls, %v", report.Calls(), err)
	}
	if len(told) < 5 || !slices.IsSorted(told) || told[len(told)-1] != size || last != 3 {
		t.Errorf("told %v, and %d calls at last", told, last)
	}
}

// Memory does not grow with the input: what is alive after many lines that
// all differ is what is alive after a part of them.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 300,000 lines")
	}
	var most, calls uint64
	cfg := Config{Stdin: &numbered{n: 300_000}, Progress: func(_ string, _, _ int64, now uint64) {
		if now-calls < 50_000 {
			return
		}
		calls = now
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		most = max(most, s.HeapAlloc)
	}}
	r, err := testGateway(t, cfg).Run(context.Background(), []string{"-"}, discard{})
	if err != nil || r.Calls() != 300_000 {
		t.Fatal(err, r.Calls())
	}
	t.Logf("300,000 lines, at most %d MiB alive", most>>20)
	if most > 32<<20 {
		t.Errorf("%d MiB alive, want at most 32, so that the heap stays below 64", most>>20)
	}
}

func FuzzRun(f *testing.F) {
	f.Add([]byte(line("/1") + "\n[" + line("/2") + "]\n"))
	f.Add([]byte(`{"Records":[` + line("/1") + `],"x":1}` + "\n"))
	f.Add([]byte("2026-03-01T10:00:00.1Z stdout P " + line("/1")[:50] + "\n2026-03-01T10:00:00.1Z stdout F " + line("/1")[50:] + "\n"))
	f.Add([]byte(`{"log":"` + strings.ReplaceAll(line("/1"), `"`, `\"`) + `\n","stream":"stdout","time":"2026-03-01T09:00:00.1Z"}` + "\n"))
	f.Add([]byte(`<190>1 2026-03-01T09:00:01.000Z web-1 nginx 77 - [meta x="a ] b"] 192.0.2.1 - - [01/Mar/2026:09:00:01 +0000] "GET /5424 HTTP/1.1" 200 5 "-" "curl"`))
	f.Add([]byte(`[2026-03-01T10:00:03.000Z] "GET /a HTTP/1.1" 200 - 0 1 2 1 "192.0.2.99,[2001:db8::9]:55" "curl/8" "7b0e8f0e" "o.example.internal" "10.0.0.9:80"`))
	f.Add([]byte(auditEvent(1, "ResponseStarted", "watch", "pods", 200) + auditEvent(1, "ResponseComplete", "watch", "pods", 200)))
	f.Add([]byte(`{"messageType":"D","logEvents":[{"message":"{\"eventVersion\":\"1\",\"eventSource\":\"s\"}"}]}`))
	f.Add([]byte("\xef\xbb\xbf\x00\x00\n\r\n{\"a\":\n[{"))
	set, err := Presets()
	if err != nil {
		f.Fatal(err)
	}
	g, err := New(Config{Key: testKey(), Presets: set, BatchSize: 2})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// Whole and in small pieces: the same calls, the same account.
		var first string
		for _, r := range []io.Reader{strings.NewReader(string(data)), &small{data}} {
			m := newMemory(t)
			g.cfg.Stdin = r
			report, err := g.Run(context.Background(), []string{"-"}, m)
			var mostly *UnreadableError
			if err != nil && !errors.As(err, &mostly) {
				t.Fatal(err)
			}
			in := report.Inputs[0]
			if in.Units != in.Calls+total(in.NotACall)+in.BadTotal() || in.Calls != uint64(len(m.calls)) {
				t.Fatalf("%d units, %d calls, %v, %v", in.Units, in.Calls, in.NotACall, in.Bad)
			}
			text := fmt.Sprint(in.NotACall, in.Bad)
			for i := range m.calls {
				text += jsonOf(t, &m.calls[i])
			}
			if first != "" && text != first && in.Cut == "" {
				t.Fatalf("in pieces:\n%s\nwhole:\n%s", text, first)
			}
			first = text
		}
	})
}

// small hands out a few bytes at a time.
type small struct{ data []byte }

func (s *small) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 3)], s.data)
	s.data = s.data[n:]
	return n, nil
}

func FuzzLineForms(f *testing.F) {
	f.Add(`{a} - {b} [{t:clf}] "{r}" {s:status} {n:count}`, ` "{x}" "{y}"`, `h - u [01/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x y"`)
	f.Add(`{a:ip}|{b:word}|{*}|{c:id}`, ``, `1.2.3.4|x|y|z|12345678`)
	f.Fuzz(func(t *testing.T, form, then, text string) {
		slots := map[string]int{}
		parsed, err := parseLineForm(&lineSpec{Line: form, Then: then, Rest: "any"}, func(name string) int {
			if _, ok := slots[name]; !ok {
				slots[name] = len(slots)
			}
			return slots[name]
		})
		if err != nil {
			return
		}
		s := newScanner(newTrieBuilder().build(len(slots)))
		u := unit{s: s}
		if parsed.match([]byte(text), s) {
			for _, slot := range slots {
				if v := u.text(slot); len(v) > len(text) {
					t.Fatalf("%q of %q", v, text)
				}
			}
		}
	})
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-03-01T10:00:00.123456789+01:00", "01/Mar/2026:10:00:00 +0100", "1772359200.25", "1.7e9", "2026-03-01 10:00:00,5"} {
		f.Add(s, int64(1e9))
	}
	f.Fuzz(func(t *testing.T, text string, unit int64) {
		if unit <= 0 || unit > 1e9 {
			unit = 1e6
		}
		micros, ok := parseTime([]byte(text), unit)
		if ok && len(text) >= 19 && text[4] == '-' && (micros < 0 || micros > 7.3e15) {
			t.Fatalf("%q is %d", text, micros)
		}
		parseAddress([]byte(text))
		parseRequestLine([]byte(text))
		linePrefix([]byte(text), unixMicro(1772359200_000000))
		forwardedClient([]byte(text), parseAddress([]byte("10.0.0.1")), 2)
	})
}
