package table

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestRendered holds the statements of a server and of a cluster to files: what
// a release did to a store can be read there, and a change of it is seen.
func TestRendered(t *testing.T) {
	steps, err := Steps()
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := Cluster{Name: "calls", Database: "scopedrift"}.Render(steps)
	if err != nil {
		t.Fatal(err)
	}
	for name, steps := range map[string][]Step{"server.sql": steps, "cluster.sql": cluster} {
		got := Text(steps)
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs from what is rendered: go test ./schema/table -update, and look at the difference", name)
		}
	}
}

// TestClusterIsWhole: nothing of a single server is left in what a cluster runs,
// and every table of a server can be read there under its name.
func TestClusterIsWhole(t *testing.T) {
	steps, err := Steps()
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := Cluster{Name: "c-1", Database: "d"}.Render(steps)
	if err != nil {
		t.Fatal(err)
	}
	text := Text(cluster)
	for i, step := range cluster {
		if step.Number != i+1 || step.Name != steps[i].Name {
			t.Errorf("step %d is called %s", step.Number, step.Name)
		}
		for _, statement := range step.Statements {
			if !strings.Contains(statement, " ON CLUSTER 'c-1'") {
				t.Errorf("runs on one server only:\n%s", statement)
			}
			if strings.Contains(statement, "ENGINE = ") && !strings.Contains(statement, "ENGINE = Replicated") && !strings.Contains(statement, "ENGINE = Distributed") {
				t.Errorf("is not replicated:\n%s", statement)
			}
		}
	}
	if strings.Contains(text, "non_replicated") {
		t.Error("a setting of a single server is left")
	}
	for _, step := range steps {
		for _, statement := range step.Statements {
			if m := createTable.FindStringSubmatch(statement); m != nil && !strings.Contains(text, "CREATE TABLE IF NOT EXISTS "+m[1]+" ON CLUSTER") {
				t.Errorf("a cluster has no table %s", m[1])
			}
		}
	}
	for _, name := range Sharded(steps) {
		if !strings.Contains(text, "/tables/{shard}/d/"+name+"_local'") {
			t.Errorf("%s is not cut into shards", name)
		}
	}
}

func TestClusterRefuses(t *testing.T) {
	for _, c := range []struct {
		name, database, statement, says string
	}{
		{"c'; DROP", "d", "", "a name has letters"},
		{"c", "d`", "", "a name has letters"},
		{"", "d", "", "a name has letters"},
		{"c", "d", "INSERT INTO calls SELECT 1", "nobody said how"},
		{"c", "d", "CREATE TABLE x (a UInt8) ENGINE = Memory", "nobody said how"},
	} {
		_, err := Cluster{Name: c.name, Database: c.database}.Render([]Step{{Number: 1, Name: "0001", Statements: []string{c.statement}}})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v gives %v", c, err)
		}
	}
}

// TestClusterAlters: a new column is one of the whole as well, a time limit is not.
func TestClusterAlters(t *testing.T) {
	for statement, want := range map[string]string{
		"ALTER TABLE calls ADD COLUMN IF NOT EXISTS at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)) AFTER time": "ALTER TABLE calls_local ON CLUSTER 'c' ADD COLUMN IF NOT EXISTS at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)) AFTER time;\n" +
			"ALTER TABLE calls ON CLUSTER 'c' ADD COLUMN IF NOT EXISTS at DateTime64(6, 'UTC') AFTER time",
		"ALTER TABLE calls MODIFY TTL toDateTime(time) + toIntervalDay(3)": "ALTER TABLE calls_local ON CLUSTER 'c' MODIFY TTL toDateTime(time) + toIntervalDay(3)",
		"ALTER TABLE findings ADD COLUMN IF NOT EXISTS x UInt8":            "ALTER TABLE findings ON CLUSTER 'c' ADD COLUMN IF NOT EXISTS x UInt8",
	} {
		out, err := Cluster{Name: "c", Database: "d"}.Render([]Step{{Number: 1, Statements: []string{statement}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(out[0].Statements, ";\n"); got != want {
			t.Errorf("%s becomes\n%s\nwant\n%s", statement, got, want)
		}
	}
}

func TestRetention(t *testing.T) {
	for _, r := range []Retention{{Calls: -2}, {Calls: 30, Days: 7}, {Calls: Forever, Days: 7}} {
		if _, err := r.Limits(); err == nil {
			t.Errorf("%+v is accepted", r)
		}
	}
	limits, err := Retention{Calls: 30, Hours: Forever, Days: 800}.Limits()
	if err != nil || len(limits) != 8 || limits[0].Statement != "ALTER TABLE calls MODIFY TTL toDateTime(time) + toIntervalDay(30)" ||
		limits[1].Statement != "ALTER TABLE use_hour REMOVE TTL" {
		t.Errorf("%+v, %v", limits, err)
	}
}
