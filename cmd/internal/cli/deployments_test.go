package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/compose-spec/compose-go/v2/loader"
	compose "github.com/compose-spec/compose-go/v2/types"
	"github.com/goccy/go-yaml"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/collector/gateway"
	"github.com/scopedrift/scopedrift/pipeline"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/direct"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
)

var deployments = filepath.Join("..", "..", "..", "deployments")

func readDeployment(t *testing.T, name ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{deployments}, name...)...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// stack loads the compose file with the reference implementation, which holds it
// to the schema of the specification.
func stack(t *testing.T) *compose.Project {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(deployments, "compose"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := loader.LoadWithContext(context.Background(), compose.ConfigDetails{
		WorkingDir: dir, Environment: compose.Mapping{},
		ConfigFiles: []compose.ConfigFile{{Filename: filepath.Join(dir, "compose.yaml"), Content: readDeployment(t, "compose", "compose.yaml")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// TestComposeCommands holds every command of the stack to the commands and flags
// that there are, and the stack to itself: what is waited for, mounted or scraped
// exists.
func TestComposeCommands(t *testing.T) {
	project := stack(t)
	ours := 0
	for name, service := range project.Services {
		for _, mount := range service.Volumes {
			if mount.Type == compose.VolumeTypeBind && !strings.HasSuffix(mount.Source, "/logs") {
				if _, err := os.Stat(mount.Source); err != nil {
					t.Errorf("%s mounts what is not there: %v", name, err)
				}
			}
		}
		if service.Image != "scopedrift:local" {
			if !strings.Contains(service.Image, ":") || strings.HasSuffix(service.Image, ":latest") {
				t.Errorf("%s has no pinned image: %s", name, service.Image)
			}
			continue
		}
		ours++
		root := testRoot(t)
		command, rest, err := root.Find(service.Command)
		if err != nil || command == root || command.HasSubCommands() {
			t.Errorf("%s runs %v: there is no such command", name, service.Command)
			continue
		}
		if err := command.ParseFlags(rest); err != nil {
			t.Errorf("%s runs %v: %v", name, service.Command, err)
		}
		if err := command.ValidateArgs(command.Flags().Args()); err != nil {
			t.Errorf("%s runs %v: %v", name, service.Command, err)
		}
		if service.StopGracePeriod == nil || time.Duration(*service.StopGracePeriod) <= operate.DrainTime {
			t.Errorf("%s is killed before it has drained", name)
		}
	}
	if ours < 4 {
		t.Errorf("only %d services are scopedrift", ours)
	}
	var scrape struct {
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(readDeployment(t, "compose", "prometheus.yaml"), &scrape); err != nil {
		t.Fatal(err)
	}
	scraped := 0
	for _, config := range scrape.ScrapeConfigs {
		for _, static := range config.StaticConfigs {
			for _, target := range static.Targets {
				scraped++
				host, port, _ := strings.Cut(target, ":")
				service, ok := project.Services[host]
				if !ok || !slices.Contains(service.Command, "0.0.0.0:"+port) {
					t.Errorf("nothing serves metrics on %s", target)
				}
			}
		}
	}
	if scraped < 2 {
		t.Errorf("only %d parts are scraped", scraped)
	}
	if problems := checkCatalogue(t, filepath.Join(deployments, "compose", "catalogue")); problems != "" {
		t.Errorf("the example catalogue: %s", problems)
	}
}

func checkCatalogue(t *testing.T, path string) string {
	t.Helper()
	env := testEnv(t)
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	env.Args = []string{"check", "catalog", full}
	var told bytes.Buffer
	env.Stderr, env.Stdout = &told, io.Discard
	if Main(env) != codeDone {
		return told.String()
	}
	return ""
}

// TestComposeRuns starts the commands of the stack, with their own flags, against
// a real broker and a real engine: a log that is written reaches the store, and
// what is found there is what a scan finds. What the parts then serve is all that
// the dashboard asks for.
func TestComposeRuns(t *testing.T) {
	environment := needEngine(t)
	broker := kafkatest.Start(t, kafkatest.Options{})
	server := enginetest.Start(t, engine.Config{Listen: "127.0.0.1:0"})
	dir := t.TempDir()
	if err := fixture(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"logs", "state"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("not asked for\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := "http://" + server.Address() + "/default"
	there := strings.NewReplacer("kafka:9092", broker.Brokers()[0], "clickhouse://scopedrift@clickhouse:9000/scopedrift", url,
		"/run/secrets/clickhouse_password", password, "/var/lib/scopedrift", filepath.Join(dir, "state"), "/catalogue", filepath.Join(dir, "catalogue"))
	project := stack(t)
	command := func(service string) (args []string) {
		for _, word := range project.Services[service].Command {
			if word == "/logs" {
				word = filepath.Join(dir, "logs")
			}
			args = append(args, there.Replace(word))
		}
		if at := slices.Index(args, "--metrics-listen"); at >= 0 {
			args = slices.Delete(args, at, at+2) // startDaemon has its own
		}
		// The server has one user, without a password.
		if at := slices.Index(args, "--clickhouse-password-file"); at >= 0 {
			args = slices.Delete(args, at, at+2)
		}
		return args
	}
	// The fixture's calls are older than what the stack keeps.
	keep := []string{"schema", "migrate", "--clickhouse", url, "--retain-calls", "all", "--retain-hours", "all", "--retain-days", "all"}
	for _, args := range [][]string{command("topics"), command("tables"), keep} {
		run := exec.Command(program, args...)
		run.Env = environment
		if out, err := run.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
	}
	parts := map[string]*daemon{}
	for _, service := range project.ServiceNames() {
		if s := project.Services[service]; s.Image == "scopedrift:local" && s.Restart == "unless-stopped" {
			parts[service] = startDaemon(t, environment, command(service)...)
		}
	}
	appendTo(t, filepath.Join(dir, "logs", "edge.log"), []byte(edgeLog()))
	ingest := parts["ingest"]
	ingest.until(t, "all calls are stored", func() bool { return ingest.metric("scopedrift_calls_stored_total") == 241 })
	for name, part := range parts {
		if code, text := part.get("/readyz"); code != 200 {
			t.Errorf("%s is not ready: %s", name, text)
		}
	}
	served := ""
	for _, part := range parts {
		_, text := part.get("/metrics")
		served += text
	}
	for _, name := range metricName.FindAllString(string(readDeployment(t, "grafana", "scopedrift.json")), -1) {
		if !strings.Contains(served, "# TYPE "+strings.TrimSuffix(name, "_bucket")+" ") && !slices.Contains(quietMetrics, name) {
			t.Errorf("the dashboard asks for %s, which no part of the stack serves", name)
		}
	}
	for _, part := range parts {
		part.terminate(t)
		jsonOnly(t, part.stderr.String())
	}
	list := func(args ...string) string {
		t.Helper()
		run := exec.Command(program, args...)
		run.Env = environment
		out, err := run.Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return sortedFindings(t, out)
	}
	want := list("scan", "--catalog", filepath.Join(dir, "catalogue"), "--key", filepath.Join(dir, "state", "key"), "-o", "jsonl", filepath.Join(dir, "edge.log"))
	nothing := filepath.Join(dir, "empty.log")
	if err := os.WriteFile(nothing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := list("scan", "--catalog", filepath.Join(dir, "catalogue"), "--key", filepath.Join(dir, "state", "key"), "--clickhouse", url, "-o", "jsonl", nothing)
	if got != want {
		t.Errorf("what came by Kafka is judged otherwise:\n%s", firstDifference(want, got))
	}
	if strings.Count(want, "\n") < 2 {
		t.Errorf("only these findings: %s", want)
	}
}

// quietMetrics appear once there is something to count, or in another part.
var quietMetrics = []string{"scopedrift_ingest_dead_total", "scopedrift_ingest_lag", "scopedrift_units_skipped_total"}

// dashboard is what is looked at of Grafana's.
type dashboard struct {
	Panels []struct {
		Title      string
		Datasource struct{ UID string }
		Targets    []struct{ Expr, RawSQL string }
	}
}

// metricNames are those of all parts, by the very code that adds them.
func metricNames(t *testing.T) []string {
	t.Helper()
	quiet := operate.NewLog(io.Discard, "test", true)
	names := map[string]bool{}
	add := func(observe func(*operate.Server)) {
		s := operate.New(operate.Config{Part: "test", Log: quiet})
		observe(s)
		for _, name := range s.Names() {
			names[name] = true
		}
	}
	add(func(s *operate.Server) {
		observePipeline(s, func() direct.Stats { return direct.Stats{} })
		observeFollower(s, func() gateway.FollowStats { return gateway.FollowStats{} })
		(&judge{}).observe(s)
		operate.NewCatalogue("", nil, quiet, nil).Observe(s)
	})
	add(func(s *operate.Server) {
		group, err := kafka.NewGroup(kafka.GroupConfig{Config: kafka.Config{Brokers: []string{"127.0.0.1:1"}}, Group: "g", Topic: "t"})
		if err != nil {
			t.Fatal(err)
		}
		letters, err := kafka.NewDeadLetters(kafka.Config{Brokers: []string{"127.0.0.1:1"}}, "d", nil)
		if err != nil {
			t.Fatal(err)
		}
		observeIngester(s, pipeline.New(pipeline.Config{}), group, letters)
		s.Durations("scopedrift_store_seconds", "As ingest adds it.")
	})
	return slices.Sorted(maps.Keys(names))
}

var metricName = regexp.MustCompile(`\bscopedrift_[a-z_]+\b`)

// TestDashboard holds every metric that the dashboard asks for to those that
// there are, and runs every question to ClickHouse.
func TestDashboard(t *testing.T) {
	var board dashboard
	if err := json.Unmarshal(readDeployment(t, "grafana", "scopedrift.json"), &board); err != nil {
		t.Fatal(err)
	}
	sources := string(readDeployment(t, "compose", "grafana-sources.yaml"))
	names := metricNames(t)
	conn := enginetest.Open(t)
	if _, err := clickhouse.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(t.Context(), "INSERT INTO calls (time, id, credential, credential_id, service, operation, decision) SELECT now64(6) - number, toFixedString(leftPad(toString(number), 16, '0'), 16),"+
		" toFixedString('cccccccccccccccc', 16), 'ci', 'orders', 'GET /x', 3 FROM numbers(100)"); err != nil {
		t.Fatal(err)
	}
	questions, answers := 0, map[string]int{}
	for _, panel := range board.Panels {
		if !strings.Contains(sources, panel.Datasource.UID) || len(panel.Targets) == 0 {
			t.Errorf("panel %s asks nobody", panel.Title)
		}
		for _, target := range panel.Targets {
			questions++
			if target.RawSQL != "" {
				answers[panel.Title] = ask(t, conn, target.RawSQL)
				continue
			}
			asked := metricName.FindAllString(target.Expr, -1)
			if len(asked) == 0 || strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") {
				t.Errorf("panel %s asks %q", panel.Title, target.Expr)
			}
			for _, name := range asked {
				plain := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
				if !slices.Contains(names, plain) && !slices.Contains(names, name) && !strings.HasPrefix(name, "scopedrift_produce") && name != "scopedrift_follow_skipped_total" {
					t.Errorf("panel %s asks for %s, which nothing serves", panel.Title, name)
				}
			}
		}
	}
	if questions < 15 || answers["Calls by service"] == 0 || answers["Denied calls by credential"] == 0 {
		t.Errorf("%d questions, answers %v", questions, answers)
	}
}

var timeFilter = regexp.MustCompile(`\$__timeFilter\((\w+)\)`)

// ask runs a panel's question as Grafana's plug-in would, and counts the rows.
func ask(t *testing.T, conn driver.Conn, sql string) int {
	t.Helper()
	sql = timeFilter.ReplaceAllString(sql, "$1 >= toDateTime(now() - 86400) AND $1 <= toDateTime(now() + 60)")
	if strings.Contains(sql, "$__") {
		t.Errorf("unknown macro in %s", sql)
	}
	var n uint64
	if err := conn.QueryRow(t.Context(), fmt.Sprintf("SELECT count() FROM (%s)", sql)).Scan(&n); err != nil {
		t.Errorf("%s: %v", sql, err)
	}
	return int(n)
}
