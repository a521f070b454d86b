package reenrich

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// staged ends the name of the table in which the new content of one is prepared;
// names holds what is called otherwise.
const (
	staged = "_swap"
	names  = "names" + staged
)

// key is the digest of all that enrichment looks at and fills in.
const key = "sipHash128(host, method, path, status, service, operation, route_source, tenant, environment, decision)"

// renamed are the columns that enrichment fills in.
var renamed = []string{"service", "operation", "route_source", "tenant", "environment", "decision"}

// monthly are the rollups that are cut into months, with their column of time;
// whole are those that are not cut.
var (
	monthly = map[string]string{table.UseHour: "hour", table.Pace: "hour", table.UseDay: "day",
		table.Places: "day", table.Parameters: "day", table.Instances: "day", table.Issues: "time"}
	whole = []string{table.UseLife, table.SourceDay}
)

// swappable are all tables whose content is swapped, the calls first.
var swappable = []string{table.Calls, table.UseHour, table.Pace, table.UseDay, table.Places, table.Parameters, table.Instances, table.Issues, table.UseLife, table.SourceDay}

// exec runs statements one by one.
func (j *Job) exec(ctx context.Context, what string, statements ...string) error {
	for _, s := range statements {
		if err := j.cfg.Conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// prepare makes the empty tables in which new content is prepared.
func (j *Job) prepare(ctx context.Context) error {
	if err := j.drop(ctx); err != nil {
		return err
	}
	statements := []string{"CREATE TABLE " + names + " (key FixedString(16), new_service String, new_operation String, new_route_source UInt8," +
		" new_tenant String, new_environment String, new_decision UInt8, found UInt8 DEFAULT 1) ENGINE = MergeTree ORDER BY key"}
	for _, name := range swappable {
		statements = append(statements, "CREATE TABLE "+name+staged+" AS "+name)
	}
	return j.exec(ctx, "prepare the swap", statements...)
}

// drop takes the prepared tables away.
func (j *Job) drop(ctx context.Context) error {
	statements := []string{"DROP TABLE IF EXISTS " + names}
	for _, name := range swappable {
		statements = append(statements, "DROP TABLE IF EXISTS "+name+staged)
	}
	return j.exec(ctx, "take away what was prepared", statements...)
}

// names finds out what is called otherwise under the new catalogue, once for all
// calls of a day that are alike, and returns how many kinds of call that are.
func (j *Job) names(ctx context.Context, day time.Time) (uint64, error) {
	if err := j.exec(ctx, "prepare the swap", "TRUNCATE TABLE "+names); err != nil {
		return 0, err
	}
	batch, err := j.cfg.Conn.PrepareBatch(ctx, "INSERT INTO "+names+" (key, new_service, new_operation, new_route_source, new_tenant, new_environment, new_decision)")
	if err != nil {
		return 0, fmt.Errorf("prepare the swap: %w", err)
	}
	defer func() { _ = batch.Close() }()
	var n uint64
	err = j.each(ctx, "SELECT "+key+" AS key, any(host), any(method), any(path), any(status), any(service), any(operation), any(route_source), any(tenant), any(environment), any(decision)"+
		" FROM "+table.Calls+" WHERE toDate(time) = '"+date(day)+"' GROUP BY key", func(rows driver.Rows) error {
		var (
			c               schema.Call
			digest          string
			route, decision uint8
		)
		if err := rows.Scan(&digest, &c.Host, &c.Method, &c.Path, &c.Status, &c.Service, &c.Operation, &route, &c.Tenant, &c.Environment, &decision); err != nil {
			return err
		}
		c.RouteSource, c.Decision = schema.RouteSource(route), schema.Decision(decision)
		before := [6]any{c.Service, c.Operation, c.RouteSource, c.Tenant, c.Environment, c.Decision}
		j.enrich.Again(&c)
		if before == [6]any{c.Service, c.Operation, c.RouteSource, c.Tenant, c.Environment, c.Decision} {
			return nil
		}
		n++
		return batch.Append(digest, c.Service, c.Operation, uint8(c.RouteSource), c.Tenant, c.Environment, uint8(c.Decision))
	})
	if err != nil {
		return 0, err
	}
	if err := batch.Send(); err != nil {
		return 0, fmt.Errorf("prepare the swap: %w", err)
	}
	return n, nil
}

// stage writes a day's calls under their new names beside the calls, and returns
// how many there are and how many of them are called otherwise.
func (j *Job) stage(ctx context.Context, day time.Time) (all, changed uint64, err error) {
	columns := make([]string, len(j.columns))
	for i, name := range j.columns {
		columns[i] = "c." + name
		for _, one := range renamed {
			if name == one {
				columns[i] = "if(found = 1, new_" + name + ", toString(c." + name + "))"
				if one == "route_source" || one == "decision" {
					columns[i] = "if(found = 1, new_" + name + ", c." + name + ")"
				}
			}
		}
	}
	from := " FROM (SELECT *, " + key + " AS key FROM " + table.Calls + " WHERE toDate(time) = '" + date(day) + "') AS c ANY LEFT JOIN " + names + " AS n ON c.key = n.key"
	if err := j.cfg.Conn.QueryRow(ctx, "SELECT count(), countIf(found = 1)"+from).Scan(&all, &changed); err != nil {
		return 0, 0, fmt.Errorf("prepare %s: %w", date(day), err)
	}
	err = j.exec(ctx, "prepare "+date(day), "INSERT INTO "+table.Calls+staged+" ("+strings.Join(j.columns, ", ")+") SELECT "+strings.Join(columns, ", ")+from)
	return all, changed, err
}

var fromCalls = regexp.MustCompile(`\bFROM (?:[a-zA-Z0-9_]+\.)?` + table.Calls + `\b`)

// fold prepares the rollups of the month of the days: of other days as they are,
// of these days folded anew, by the select of the very view that feeds each.
func (j *Job) fold(ctx context.Context, days []time.Time) error {
	month := days[0].Format("200601")
	var statements []string
	for name, column := range monthly {
		statements = append(statements, "INSERT INTO "+name+staged+" SELECT * FROM "+name+" WHERE toYYYYMM("+column+") = "+month+" AND toDate("+column+") NOT IN ("+dates(days)+")")
	}
	statements = append(statements, "INSERT INTO "+table.SourceDay+staged+" SELECT * FROM "+table.SourceDay+" WHERE day NOT IN ("+dates(days)+")")
	for _, f := range j.feeds {
		if _, ok := monthly[f.Table]; ok || f.Table == table.SourceDay {
			statements = append(statements, "INSERT INTO "+f.Table+staged+" "+fromCalls.ReplaceAllString(f.Query, "FROM "+table.Calls+staged))
		}
	}
	// Lifetime use comes last: it is folded from the days.
	return j.exec(ctx, "fold "+month+" anew", append(statements, lifetime(month))...)
}

// tell lets the other views see the swapped calls, as if they had come in: they
// keep what does not depend on names, or tell what is to be judged anew.
func (j *Job) tell(ctx context.Context) error {
	var statements []string
	for _, f := range j.feeds {
		if !slices.Contains(swappable, f.Table) && f.Table != table.Principals && f.Table != table.Presented {
			statements = append(statements, "INSERT INTO "+f.Table+" "+fromCalls.ReplaceAllString(f.Query, "FROM "+table.Calls+staged))
		}
	}
	return j.exec(ctx, "tell of the swapped calls", statements...)
}

// lifetime folds use by day, of the month as it will be, to lifetime use. What a
// lifetime knows of days that use by day no longer holds stays.
func lifetime(month string) string {
	const keys = "credential, service, operation, tenant, decision, reporter, certain, route_source, presented"
	day := func(source int, from string) string {
		return fmt.Sprintf("SELECT %s, %d AS source, first AS f, last AS l, [toUInt16(day)] AS d, calls AS c FROM %s", keys, source, from)
	}
	rows := "SELECT " + keys + ", 0 AS source, first AS f, last AS l, days AS d, calls AS c FROM " + table.UseLife +
		" UNION ALL " + day(1, table.UseDay) +
		" UNION ALL " + day(2, table.UseDay+" WHERE toYYYYMM(day) != "+month) +
		" UNION ALL " + day(2, table.UseDay+staged)
	folded := "SELECT " + keys + ", minIf(f, source = 2) AS new_first, maxIf(l, source = 2) AS new_last, groupUniqArrayArrayIf(d, source = 2) AS new_days," +
		" sumIf(c, source = 2) AS new_calls, minIf(f, source = 0) AS old_first, maxIf(l, source = 0) AS old_last," +
		" arrayFilter(x -> x < (SELECT if(count() = 0, 65535, min(toUInt16(day))) FROM " + table.UseDay + "), groupUniqArrayArrayIf(d, source = 0)) AS gone," +
		" toInt64(sumIf(c, source = 0)) - toInt64(sumIf(c, source = 1)) AS gone_calls FROM (" + rows + ") GROUP BY " + keys
	return "INSERT INTO " + table.UseLife + staged + " (" + keys + ", first, last, days, calls) SELECT " + keys +
		", if(empty(gone), new_first, old_first)" +
		// The last call of days that are gone is known to the day only.
		", if(empty(new_days), least(old_last, toDateTime64(toDate(arrayMax(gone)) + 1, 6, 'UTC') - toIntervalMicrosecond(1)), new_last)" +
		", arrayDistinct(arrayConcat(gone, new_days)), new_calls + if(empty(gone), 0, toUInt64(greatest(gone_calls, 0)))" +
		" FROM (" + folded + ") WHERE notEmpty(gone) OR notEmpty(new_days)"
}

// swap puts what was prepared in its place. Each statement is atomic; all of them
// together are what the mark is for.
func (j *Job) swap(ctx context.Context, days []time.Time) error {
	var statements []string
	var err error
	replace := func(name, partition string) {
		// A partition of nothing is no partition, and cannot take the place of one.
		var rows uint64
		if err == nil {
			err = j.cfg.Conn.QueryRow(ctx, "SELECT count() FROM "+name+staged).Scan(&rows)
		}
		if rows == 0 {
			statements = append(statements, "ALTER TABLE "+name+" DROP PARTITION "+partition)
			return
		}
		statements = append(statements, "ALTER TABLE "+name+" REPLACE PARTITION "+partition+" FROM "+name+staged)
	}
	for _, name := range whole {
		replace(name, "tuple()")
	}
	for name := range monthly {
		replace(name, days[0].Format("200601"))
	}
	for _, day := range days {
		replace(table.Calls, day.Format("20060102"))
	}
	if err != nil {
		return fmt.Errorf("look at what was prepared: %w", err)
	}
	return j.exec(ctx, "swap "+date(days[0])+" to "+date(days[len(days)-1]), statements...)
}
