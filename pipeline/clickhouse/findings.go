package clickhouse

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// SaveFindings makes the given findings those that the store holds: what an
// earlier run found and this one did not is gone. written is the time of the
// run.
//
// New findings are inserted before old ones are deleted, so that a run that
// dies in between leaves too many rather than too few.
func SaveFindings(ctx context.Context, conn driver.Conn, findings []schema.Finding, written time.Time) error {
	if err := InsertFindings(ctx, conn, findings, written); err != nil {
		return err
	}
	// A parameter of the statement would be compared as text: the time is
	// written the way the column is.
	err := conn.Exec(ctx, "DELETE FROM "+table.Findings+" WHERE written < toDateTime64(?, 6, 'UTC')",
		written.UTC().Format("2006-01-02 15:04:05.000000"))
	if err != nil {
		return fmt.Errorf("remove the findings of earlier runs: %w", Explain(err))
	}
	return nil
}

// InsertFindings writes findings over what the store holds under their ids. Of two
// writings of a finding the one with the later time counts.
func InsertFindings(ctx context.Context, conn driver.Conn, findings []schema.Finding, written time.Time) error {
	if len(findings) == 0 {
		return nil
	}
	if err := insertFindings(ctx, conn, findings, written); err != nil {
		return fmt.Errorf("save findings: %w", Explain(err))
	}
	return nil
}

func insertFindings(ctx context.Context, conn driver.Conn, findings []schema.Finding, written time.Time) error {
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO "+table.Findings+" (id, code, severity, status, credential, first, last, body, written)")
	if err != nil {
		return err
	}
	defer func() { _ = batch.Abort() }() // no-op once it was sent
	for i := range findings {
		f := &findings[i]
		body, err := json.Marshal(f)
		if err != nil {
			return err
		}
		if err := batch.Append(string(f.ID), f.Code, uint8(f.Severity), uint8(f.Status), f.Credential.ID,
			notBefore1970(f.First), notBefore1970(f.Last), string(body), written.UTC()); err != nil {
			return err
		}
	}
	return batch.Send()
}

// notBefore1970 replaces the zero time, which the column cannot hold.
func notBefore1970(t time.Time) time.Time {
	if t.Unix() < 0 {
		return time.Unix(0, 0).UTC()
	}
	return t.UTC()
}

// Findings returns the findings that the store holds, the most severe first,
// then by code, credential and id.
func Findings(ctx context.Context, conn driver.Conn) ([]schema.Finding, error) {
	rows, err := conn.Query(ctx, "SELECT body FROM "+table.Findings+" FINAL ORDER BY severity DESC, code, credential, id")
	if err != nil {
		return nil, fmt.Errorf("read findings: %w", Explain(err))
	}
	defer func() { _ = rows.Close() }()
	var findings []schema.Finding
	for rows.Next() {
		var body string
		if err := rows.Scan(&body); err != nil {
			return nil, fmt.Errorf("read findings: %w", Explain(err))
		}
		var f schema.Finding
		if err := json.Unmarshal([]byte(body), &f); err != nil {
			return nil, fmt.Errorf("read a stored finding: %w", err)
		}
		findings = append(findings, f)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read findings: %w", Explain(err))
	}
	return findings, nil
}
