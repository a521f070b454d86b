package cli

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/scopedrift/scopedrift/deployments/scenario"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema/table"
)

// BenchmarkStored measures what a call takes in a store that stays, on the
// scenario's logs: the columns of the calls, apart from four that are different
// in every call (id, request_id, trace_id and path) and shown beside them, and
// the rollups. The parts are merged into one of the form that large parts have:
// what a small part takes is mostly its own frame.
func BenchmarkStored(b *testing.B) {
	environment := needEngine(b)
	dir := b.TempDir()
	if _, err := scenario.Write(dir); err != nil {
		b.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	cmd := exec.Command(program, "scan", "-o", "json", "--catalog", filepath.Join(dir, "catalogue"), "--data", data, filepath.Join(dir, "logs"))
	cmd.Env = environment
	if _, err := cmd.Output(); err != nil {
		b.Fatal(err)
	}
	conn := enginetest.Connect(b, enginetest.Start(b, engine.Config{Dir: filepath.Join(data, "store")}))
	ctx := context.Background()
	const whole = "whole_calls"
	for b.Loop() {
		for _, statement := range []string{
			"DROP TABLE IF EXISTS " + whole,
			"CREATE TABLE " + whole + " AS " + table.Calls + " ENGINE = MergeTree ORDER BY (credential, time, id) SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0",
			"INSERT INTO " + whole + " SELECT * FROM " + table.Calls,
			"OPTIMIZE TABLE " + whole + " FINAL",
			"OPTIMIZE TABLE " + table.UseHour + " FINAL",
			"OPTIMIZE TABLE " + table.UseDay + " FINAL",
			"OPTIMIZE TABLE " + table.UseLife + " FINAL",
			"OPTIMIZE TABLE " + table.Pace + " FINAL",
			"OPTIMIZE TABLE " + table.Places + " FINAL",
			"OPTIMIZE TABLE " + table.Parameters + " FINAL",
			"OPTIMIZE TABLE " + table.Instances + " FINAL",
			"OPTIMIZE TABLE " + table.Issues + " FINAL",
		} {
			if err := conn.Exec(ctx, statement); err != nil {
				b.Fatal(err)
			}
		}
	}
	var calls, facts, unlike, rollups uint64
	const four = "name IN ('id', 'request_id', 'trace_id', 'path')"
	if err := conn.QueryRow(ctx, "SELECT (SELECT count() FROM "+whole+"), sumIf(data_compressed_bytes, NOT "+four+"), sumIf(data_compressed_bytes, "+four+
		") FROM system.columns WHERE database = currentDatabase() AND table = '"+whole+"'").Scan(&calls, &facts, &unlike); err != nil {
		b.Fatal(err)
	}
	if err := conn.QueryRow(ctx, "SELECT sum(data_compressed_bytes) FROM system.parts WHERE active AND database = currentDatabase() AND table NOT IN ('"+
		whole+"', '"+table.Calls+"', '"+table.Findings+"', '"+table.Ledger+"')").Scan(&rollups); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(calls), "calls")
	b.ReportMetric(float64(facts)/float64(calls), "bytes/call")
	b.ReportMetric(float64(unlike)/float64(calls), "ids-and-path-bytes/call")
	b.ReportMetric(float64(rollups)/float64(calls), "rollup-bytes/call")
}
