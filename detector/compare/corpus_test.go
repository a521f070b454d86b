package compare

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/schema"
)

// TestEffectiveActions holds the iam dialect to an expansion made by somebody
// else: every pattern covers each of the actions it was expanded to, and none of
// the other actions of its service.
func TestEffectiveActions(t *testing.T) {
	data := corpus.Read(t, corpus.Path(t, "iam/aws-effective-actions.tsv.gz"))
	lines := bufio.NewScanner(bytes.NewReader(data))
	rows := 0
	expanded, services := map[string]map[string]bool{}, map[string]map[string]bool{}
	add := func(sets map[string]map[string]bool, key, action string) {
		if sets[key] == nil {
			sets[key] = map[string]bool{}
		}
		sets[key][action] = true
	}
	serviceOf := func(action string) string {
		service, _, _ := strings.Cut(action, ":")
		return strings.ToLower(service)
	}
	for lines.Scan() {
		f := strings.Split(lines.Text(), "\t")
		if rows++; rows == 1 {
			continue
		}
		if !Covers(schema.DialectIAM, f[1], f[2]) {
			t.Errorf("%q does not cover %q", f[1], f[2])
		}
		action := strings.ToLower(f[2])
		add(expanded, f[1], action)
		add(services, serviceOf(action), action)
	}
	if rows-1 != 14641 {
		t.Errorf("%d rows, want 14641", rows-1)
	}
	pairs := 0
	for pattern, actions := range expanded {
		for action := range services[serviceOf(pattern)] {
			pairs++
			if Covers(schema.DialectIAM, pattern, action) != actions[action] {
				t.Errorf("%q covers %q: they say %v", pattern, action, actions[action])
			}
		}
	}
	if pairs < 200_000 {
		t.Errorf("only %d pairs of pattern and action compared", pairs)
	}
}

// TestKnownActionsExist checks our list of actions against that expansion:
// where a policy gives all actions of a service, none of ours may be missing.
func TestKnownActionsExist(t *testing.T) {
	data := corpus.Read(t, corpus.Path(t, "iam/aws-effective-actions.tsv.gz"))
	whole := map[string]bool{}
	exist := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(line, "\t")
		exist[f[2]] = true
		if prefix, ok := strings.CutSuffix(f[1], ":*"); ok {
			whole[prefix] = true
		}
	}
	f := awsFacts()
	checked := 0
	for action := range f.actions {
		if prefix, _, _ := strings.Cut(action, ":"); whole[prefix] {
			checked++
			if !exist[action] {
				t.Errorf("%s is no action", action)
			}
		}
	}
	for event, fact := range f.events {
		for _, action := range append(fact.actions, fact.or...) {
			if prefix, _, _ := strings.Cut(action, ":"); whole[prefix] {
				checked++
				if !exist[action] {
					t.Errorf("%s needs %s, which is no action", event, action)
				}
			}
		}
	}
	t.Logf("%d actions known, %d rows of events, %d checked", len(f.actions), len(f.events), checked)
}

// cloudtrailEvents counts the events of a file by "service:EventName".
func cloudtrailEvents(t testing.TB, path string) map[string]int {
	counts := map[string]int{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if inner, ok := v["CloudTrailEvent"].(string); ok {
				var e any
				if err := json.Unmarshal([]byte(inner), &e); err != nil {
					t.Fatal(err)
				}
				walk(e)
				return
			}
			if all, ok := v["Records"]; ok {
				walk(all)
				return
			}
			name, _ := v["eventName"].(string)
			source, _ := v["eventSource"].(string)
			if name == "" || source == "" || v["eventType"] == "AwsServiceEvent" {
				return
			}
			counts[strings.TrimSuffix(source, ".amazonaws.com")+":"+name]++
		}
	}
	d := json.NewDecoder(bytes.NewReader(corpus.Read(t, path)))
	for {
		var v any
		if err := d.Decode(&v); err == io.EOF {
			return counts
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		walk(v)
	}
}

// awsName writes an event with the prefix of its source's actions.
func awsName(event string) string {
	source, name, _ := strings.Cut(event, ":")
	if p, ok := awsFacts().prefixes[source]; ok {
		source = p
	}
	return source + ":" + name
}

// TestEventsAgainstTrailDiscover compares the table with a catalogue of events
// that links each to the action which somebody else thinks it needs. Where the
// two differ, the reason stands here.
func TestEventsAgainstTrailDiscover(t *testing.T) {
	var list []struct{ EventName, EventSource, Permissions string }
	if err := json.Unmarshal(corpus.Read(t, corpus.Path(t, "cloudtrail/traildiscover-events.json.gz")), &list); err != nil {
		t.Fatal(err)
	}
	differ := map[string]string{
		"sts:AssumeRoleWithSAML":                     "only the trust policy decides",
		"sts:AssumeRoleWithWebIdentity":              "only the trust policy decides",
		"sts:GetCallerIdentity":                      "allowed even to whom it is denied",
		"sts:GetSessionToken":                        "no policy can refuse it",
		"cognito-identity:GetCredentialsForIdentity": "no AWS credential signs it",
		"cognito-identity:GetId":                     "no AWS credential signs it",
		"monitoring:DescribeAlarmsForMetric":         "they take the source for the prefix",
		"ec2:CreateSnapshot":                         "they link to a follow-up",
		"ses:PutAccountDetails":                      "they link to another call",
	}
	agree := 0
	for _, e := range list {
		event := strings.TrimSuffix(e.EventSource, ".amazonaws.com") + ":" + e.EventName
		_, anchor, ok := strings.Cut(e.Permissions, "#")
		demand := EventDemand(event)
		if !ok || demand.State == schema.DemandUnmapped || differ[event] != "" {
			continue
		}
		agree++
		if demand.State != schema.DemandKnown || !strings.EqualFold(strings.ReplaceAll(demand.Alternatives[0].Scopes[0], ":", "-"), anchor) {
			t.Errorf("%s: %v, they say %s", event, demand.Alternatives, anchor)
		}
	}
	t.Logf("%d of %d agree", agree, len(list))
	if agree < 340 {
		t.Errorf("only %d events compared", agree)
	}
}

// TestCloudTrailCoverage reports what share of real events the table maps, and
// checks that it maps none of them to an action that does not exist.
func TestCloudTrailCoverage(t *testing.T) {
	exist := map[string]bool{}
	for line := range strings.Lines(string(corpus.Read(t, corpus.Path(t, "iam/aws-effective-actions.tsv.gz")))) {
		exist[strings.ToLower(strings.Split(line, "\t")[2])] = true
	}
	total, mapped, renamed := 0, 0, 0
	var unmapped []string
	err := filepath.WalkDir(corpus.Path(t, "cloudtrail"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".tsv") {
			return err
		}
		for event, n := range cloudtrailEvents(t, path) {
			demand := EventDemand(event)
			if strings.Contains(path, "traildiscover") {
				n = 0
			}
			total += n
			if demand.State == schema.DemandUnmapped {
				unmapped = append(unmapped, event)
				continue
			}
			mapped += n
			if demand.State == schema.DemandKnown && strings.Contains(path, "opensearch") &&
				!strings.EqualFold(strings.Join(demand.Alternatives[0].Scopes, " "), awsName(event)) {
				renamed += n
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(unmapped)
	t.Logf("%d of %d events mapped; unmapped: %q", mapped, total, slices.Compact(unmapped))
	if renamed != 132 {
		t.Errorf("%d of the 840 events of the real trail are named unlike their action, want 132", renamed)
	}
	if mapped*100 < total*98 {
		t.Errorf("only %d of %d real events are mapped", mapped, total)
	}
}
