package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/internal/spenttest"
	"github.com/scopedrift/scopedrift/pipeline/engine"
)

// mesh is a company in the large: what the demo tells in a few lines of log,
// told in millions. It is the same at every run.
type mesh struct {
	services, kinds, clients int
	span                     time.Duration
}

var bigMesh = mesh{services: 20, kinds: 10, clients: 200, span: 30 * 24 * time.Hour}

// verbs are the operations of each kind of object: 5 × kinds × services in all.
var verbs = []struct{ method, suffix, right string }{
	{"GET", "", "read"}, {"POST", "", "write"}, {"GET", "/{id}", "read"}, {"PUT", "/{id}", "write"}, {"DELETE", "/{id}", "admin"},
}

// catalogue writes the catalogue: 20 services of 50 operations, 200 clients
// that each hold some of them.
func (m mesh) catalogue(w io.Writer) error {
	var b strings.Builder
	b.WriteString("services:\n")
	for s := range m.services {
		fmt.Fprintf(&b, "  - name: service-%d\n    hosts: [service-%d.example.internal]\n    base_path: /v1\n    authority: idp\n    grant: declared\n    operations:\n", s, s)
		for k := range m.kinds {
			for _, v := range verbs {
				fmt.Fprintf(&b, "      - {operation: \"%s /kind-%d%s\", scopes: [[\"service-%d:%s\"]]}\n", v.method, k, v.suffix, s, v.right)
			}
		}
	}
	b.WriteString("credentials:\n")
	for c := range m.clients {
		fmt.Fprintf(&b, "  - id: client-%d\n    match: [{kind: oauth_client, client: client-%d}]\n    kind: service\n    owner: team-%d\n    workload: deploy/client-%d\n    purpose: serves\n"+
			"    grants:\n      - {authority: idp, scopes: [%s]}\n", c, c, c%9, c, strings.Join(m.held(c), ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// held are the scopes of a client: more than it uses, and now and then less.
func (m mesh) held(client int) (scopes []string) {
	for i := range 4 {
		service := (client + i*3) % m.services
		scopes = append(scopes, fmt.Sprintf(`"service-%d:read"`, service))
		if (client+i)%7 != 0 {
			scopes = append(scopes, fmt.Sprintf(`"service-%d:write"`, service))
		}
	}
	return scopes
}

// log writes the lines of the mesh that its part-th proxy of parts has seen, n
// over all parts, in the order of time. They are about 900 bytes long, as those
// of Istio with the documented identity fields are.
func (m mesh) log(w io.Writer, n, part, parts int) error {
	out := bufio.NewWriterSize(w, 1<<20)
	r := rand.New(rand.NewPCG(1, uint64(part)))
	start := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	step := m.span / time.Duration(n)
	var line []byte
	hex := func(digits int) {
		for range digits {
			line = append(line, "0123456789abcdef"[r.Uint32()&15])
		}
	}
	for i := part; i < n; i += parts {
		at := start.Add(time.Duration(i)*step + time.Duration(r.Int64N(int64(step)+1)))
		client := r.IntN(r.IntN(m.clients) + 1) // a few clients make most of the calls
		habit := r.IntN(12)                     // of this client: a dozen operations
		service := (client + habit%4*3) % m.services
		v, kind := verbs[(client+habit)%4], (client+habit*habit)%m.kinds
		status := 200
		switch r.IntN(200) {
		case 0: // off the beaten track
			v, kind, status = verbs[r.IntN(5)], r.IntN(m.kinds), 403
		case 1, 2, 3:
			status = 404
		case 4:
			status = 503
		}
		path := strings.Replace(v.suffix, "{id}", strconv.Itoa(r.IntN(50000)), 1)
		// A token lives for an hour.
		token := uint64(client)*0x9e3779b97f4a7c15 ^ uint64(at.Unix()/3600)*0xbf58476d1ce4e5b9
		line = fmt.Appendf(line[:0], `{"authority":"service-%d.example.internal:8080","bytes_received":%d,"bytes_sent":%d,`+
			`"downstream_peer_uri_san":"spiffe://cluster.local/ns/shop/sa/client-%d","downstream_remote_address":"10.2.%d.%d:%d",`+
			`"duration":%d,"jwt":{"azp":"client-%d","exp":%d,"iss":"https://idp.example.com","jti":"%016x%06x","scope":"service-%d:read service-%d:write","sub":"client-%d"},`+
			`"method":"%s","path":"/v1/kind-%d%s","request_id":"`,
			service, r.IntN(4000), r.IntN(40000), client, client, r.IntN(8), 1024+r.IntN(60000), r.IntN(300), client, at.Unix()/3600*3600+3600, token, client, service, service, client,
			v.method, kind, path)
		for k, digits := range []int{8, 4, 3, 3, 12} {
			line = append(line, []string{"", "-", "-4", "-a", "-"}[k]...)
			hex(digits)
		}
		line = fmt.Appendf(line, `","response_code":%d,"response_code_details":"via_upstream","response_flags":"-","route_name":"default","start_time":"%s","traceparent":"00-`,
			status, at.Format("2006-01-02T15:04:05.000Z"))
		hex(32)
		line = append(line, '-')
		hex(16)
		line = fmt.Appendf(line, `-01","upstream_cluster":"inbound|8080||","upstream_host":"10.1.%d.7:8080","upstream_service_time":"%d","user_agent":"client/%d.2 (linux; go1.26)","x_forwarded_for":null,"x_tenant":"tenant-%d"}`+"\n",
			service, r.IntN(200), client%7, (client+r.IntN(3))%12)
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return out.Flush()
}

// spent is what a process has used, by samples of /proc: the CPU time of its
// last sample and the peak of its memory.
type spent struct {
	cpu  time.Duration
	peak int
}

func (u *spent) sample(pid int) {
	if s, err := spenttest.Read(pid); err == nil {
		u.cpu, u.peak = max(u.cpu, s.CPU), max(u.peak, s.Peak)
	}
}

// watch samples a process and its engine until stop is closed.
func watch(pid int, engineName string, stop <-chan struct{}) (self, child spent) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	enginePID := 0
	for {
		if enginePID == 0 {
			enginePID = findChild(pid, engineName)
		}
		self.sample(pid)
		if enginePID != 0 {
			child.sample(enginePID)
		}
		select {
		case <-stop:
			return self, child
		case <-tick.C:
		}
	}
}

// findChild finds a child by its program's name, 0 for none.
func findChild(pid int, name string) int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		list, _ := os.ReadFile(task)
		for _, field := range strings.Fields(string(list)) {
			comm, _ := os.ReadFile("/proc/" + field + "/comm")
			// The kernel keeps 15 bytes of a name.
			if got := strings.TrimSpace(string(comm)); got != "" && strings.HasPrefix(name, got) {
				found, _ := strconv.Atoi(field)
				return found
			}
		}
	}
	return 0
}

// BenchmarkScan measures logs to findings, end to end, on the real binary with
// the embedded engine: calls a second, the CPU time a call of both processes,
// and the peak memory of both. SCOPEDRIFT_BENCH_CALLS sets the number of calls;
// more than two million are piped in, so that no disk has to hold them.
//
// The comparison is encoding/json decoding of the same lines and nothing else.
func BenchmarkScan(b *testing.B) {
	calls := 1_000_000
	if testing.Short() {
		calls = 100_000
	}
	if n, err := strconv.Atoi(os.Getenv("SCOPEDRIFT_BENCH_CALLS")); err == nil {
		calls = n
	}
	environment := needEngine(b)
	dir := b.TempDir()
	catalogue := filepath.Join(dir, "catalogue.yaml")
	create(b, catalogue, bigMesh.catalogue)
	if calls > 2_000_000 {
		b.Run("stream", func(b *testing.B) {
			benchScan(b, environment, calls, func(w io.Writer) error { return bigMesh.log(w, calls, 0, 1) }, "--catalog", catalogue, "-")
		})
		return
	}
	one := filepath.Join(dir, "one.log")
	create(b, one, func(w io.Writer) error { return bigMesh.log(w, calls, 0, 1) })
	b.Run("one-file", func(b *testing.B) { benchScan(b, environment, calls, nil, "--catalog", catalogue, one) })
	b.Run("encoding-json-only", func(b *testing.B) { benchDecoding(b, calls, one) })
	if err := os.Remove(one); err != nil {
		b.Fatal(err)
	}
	// As collected from many proxies: every file tells the whole month.
	many := filepath.Join(dir, "many")
	if err := os.Mkdir(many, 0o755); err != nil {
		b.Fatal(err)
	}
	for part := range 20 {
		create(b, filepath.Join(many, fmt.Sprintf("proxy-%02d.log", part)), func(w io.Writer) error { return bigMesh.log(w, calls, part, 20) })
	}
	b.Run("20-files", func(b *testing.B) { benchScan(b, environment, calls, nil, "--catalog", catalogue, many) })
}

func create(b *testing.B, name string, write func(io.Writer) error) {
	b.Helper()
	file, err := os.Create(name)
	if err == nil {
		err = write(file)
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
}

func benchScan(b *testing.B, environment []string, calls int, feed func(io.Writer) error, args ...string) {
	var self, child spent
	for b.Loop() {
		cmd := exec.Command(program, append([]string{"scan", "-o", "json"}, args...)...)
		cmd.Env = environment
		var out, talk bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &talk
		var fed sync.WaitGroup
		if feed != nil {
			in, err := cmd.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			fed.Go(func() {
				_ = feed(in) // the scan says what is missing
				_ = in.Close()
			})
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		stop := make(chan struct{})
		var watched sync.WaitGroup
		watched.Go(func() {
			one, engineUse := watch(cmd.Process.Pid, engine.ProgramName, stop)
			self.cpu += one.cpu
			self.peak = max(self.peak, one.peak)
			child.cpu += engineUse.cpu
			child.peak = max(child.peak, engineUse.peak)
		})
		err := cmd.Wait()
		close(stop)
		watched.Wait()
		fed.Wait()
		if err != nil {
			b.Fatalf("%v\n%s", err, talk.String())
		}
		var report struct {
			Summary struct {
				Calls uint64 `json:"calls"`
			} `json:"summary"`
			Findings []json.RawMessage `json:"findings"`
		}
		if err := json.Unmarshal(out.Bytes(), &report); err != nil || report.Summary.Calls != uint64(calls) || len(report.Findings) == 0 {
			b.Fatalf("%v: %d calls and %d findings\n%s", err, report.Summary.Calls, len(report.Findings), talk.String())
		}
	}
	all := float64(calls) * float64(b.N)
	b.ReportMetric(all/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric(float64(self.cpu.Nanoseconds())/all/1000, "cli-cpu-µs/call")
	b.ReportMetric(float64(child.cpu.Nanoseconds())/all/1000, "engine-cpu-µs/call")
	b.ReportMetric(float64(self.peak)/(1<<20), "cli-peak-MiB")
	b.ReportMetric(float64(child.peak)/(1<<20), "engine-peak-MiB")
}

func benchDecoding(b *testing.B, calls int, name string) {
	for b.Loop() {
		file, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var line struct {
				Authority string `json:"authority"`
				Received  uint64 `json:"bytes_received"`
				Sent      uint64 `json:"bytes_sent"`
				Peer      string `json:"downstream_peer_uri_san"`
				Remote    string `json:"downstream_remote_address"`
				Duration  uint64 `json:"duration"`
				JWT       struct {
					Issuer  string `json:"iss"`
					Party   string `json:"azp"`
					Subject string `json:"sub"`
					ID      string `json:"jti"`
					Scope   string `json:"scope"`
				} `json:"jwt"`
				Method    string `json:"method"`
				Path      string `json:"path"`
				Request   string `json:"request_id"`
				Code      uint16 `json:"response_code"`
				Start     string `json:"start_time"`
				Trace     string `json:"traceparent"`
				UserAgent string `json:"user_agent"`
				Tenant    string `json:"x_tenant"`
			}
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				b.Fatal(err)
			}
		}
		if err := lines.Err(); err != nil {
			b.Fatal(err)
		}
		_ = file.Close()
	}
	b.ReportMetric(float64(calls)*float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
