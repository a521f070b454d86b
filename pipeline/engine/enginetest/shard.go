package enginetest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema/table"
)

var (
	onCluster   = regexp.MustCompile(` ON CLUSTER '[^']*'`)
	replicated  = regexp.MustCompile(`ENGINE = Replicated(\w+)\('[^']*', '[^']*'(?:, )?`)
	distributed = regexp.MustCompile(`ENGINE = Distributed\('[^']*', '([^']*)', (\w+)[^\n]*\)$`)
)

// alone makes of a cluster's statement what one server without a keeper can run:
// the same tables, views and names, with a Merge table for the whole.
func alone(statement string) string {
	statement = onCluster.ReplaceAllString(statement, "")
	statement = replicated.ReplaceAllString(statement, "ENGINE = $1(")
	statement = distributed.ReplaceAllString(statement, "ENGINE = Merge('$1', '^$2$$')")
	return strings.ReplaceAll(statement, "replicated_deduplication_window = 20000, replicated_deduplication_window_seconds = 604800", "non_replicated_deduplication_window = 20000")
}

// AsShard makes on an empty engine the tables and views that each server of a
// cluster has, so far as one without a keeper can have them.
func AsShard(t testing.TB, conn driver.Conn) {
	t.Helper()
	steps, err := table.Steps()
	if err == nil {
		steps, err = table.Cluster{Name: "c", Database: "default"}.Render(steps)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		for _, statement := range step.Statements {
			if err := conn.Exec(t.Context(), alone(statement)); err != nil {
				t.Fatalf("%s: %v\n%s", step.Name, err, alone(statement))
			}
		}
	}
}
