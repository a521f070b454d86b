package clickhouse

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema/table"
)

// ClusterStoreError says that a store is a cluster's and has to be brought
// forward as one.
type ClusterStoreError struct {
	// Store is the highest step recorded in the store, Known the highest this
	// program has.
	Store, Known int
}

func (e *ClusterStoreError) Error() string {
	return fmt.Sprintf("the store is a cluster's and has schema step %d, this scopedrift needs %d", e.Store, e.Known)
}

// Hint says what to do about it.
func (e *ClusterStoreError) Hint() string {
	return "scopedrift schema migrate --cluster NAME --clickhouse URL brings all its servers forward"
}

// ExitCode is that of a wrong configuration.
func (e *ClusterStoreError) ExitCode() int { return 2 }

// Clustered reports whether the store's calls are spread over a cluster.
func Clustered(ctx context.Context, conn driver.Conn) (bool, error) {
	var n uint64
	err := conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = ? AND engine = 'Distributed'", table.Calls).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look at the tables: %w", err)
	}
	return n > 0, nil
}

// MigrateCluster brings all servers of a cluster forward, through any one of
// them. It runs every step, since a server that joined may have none, and
// returns the steps that the store had not recorded. A store that is a single
// server's is refused: its calls would stay on that server, unseen.
func MigrateCluster(ctx context.Context, conn driver.Conn, name string) ([]table.Step, error) {
	cluster := table.Cluster{Name: name}
	if err := conn.QueryRow(ctx, "SELECT currentDatabase()").Scan(&cluster.Database); err != nil {
		return nil, fmt.Errorf("ask for the database: %w", err)
	}
	steps, err := table.Steps()
	if err != nil {
		return nil, err
	}
	rendered, err := cluster.Render(steps)
	if err != nil {
		return nil, err
	}
	version, err := cluster.Global(versionDDL)
	if err != nil {
		return nil, err
	}
	if err := refuseSingle(ctx, conn); err != nil {
		return nil, err
	}
	for _, statement := range []string{fmt.Sprintf("CREATE DATABASE IF NOT EXISTS `%s` ON CLUSTER '%s'", cluster.Database, name), version} {
		if err := conn.Exec(ctx, statement); err != nil {
			return nil, fmt.Errorf("prepare the cluster %s: %w", name, err)
		}
	}
	have, err := StoreVersion(ctx, conn)
	if err != nil {
		return nil, err
	}
	if have > len(steps) {
		return nil, &NewerStoreError{Store: have, Known: len(steps)}
	}
	for _, step := range rendered {
		for _, statement := range step.Statements {
			if err := conn.Exec(ctx, statement); err != nil {
				return nil, fmt.Errorf("schema step %s on cluster %s: %w", step.Name, name, err)
			}
		}
		if step.Number <= have {
			continue
		}
		if err := recordStep(ctx, conn, step); err != nil {
			return nil, err
		}
	}
	return steps[have:], nil
}

func recordStep(ctx context.Context, conn driver.Conn, step table.Step) error {
	if err := conn.Exec(ctx, "INSERT INTO "+table.Version+" (step, name) VALUES (?, ?)", uint32(step.Number), step.Name); err != nil {
		return fmt.Errorf("record schema step %s: %w", step.Name, err)
	}
	return nil
}

// SingleStoreError says that a database holds a single server's tables.
type SingleStoreError struct{}

func (*SingleStoreError) Error() string {
	return "the database holds the tables of a single server, which a cluster cannot take over"
}

// Hint says what to do about it.
func (*SingleStoreError) Hint() string {
	return "name a new database in --clickhouse URL, and scan or ingest the logs into it; the old database stays readable as it is"
}

// ExitCode is that of a wrong configuration.
func (*SingleStoreError) ExitCode() int { return 2 }

func refuseSingle(ctx context.Context, conn driver.Conn) error {
	var n uint64
	err := conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = ? AND engine NOT IN ('Distributed')", table.Calls).Scan(&n)
	if err != nil {
		return fmt.Errorf("look at the tables: %w", err)
	}
	if n > 0 {
		return &SingleStoreError{}
	}
	return nil
}

// Retain brings the tables' time limits to the retention and returns the tables
// it changed. cluster is empty for a single server. Data beyond a new limit goes
// away by and by, a day or month at a time.
func Retain(ctx context.Context, conn driver.Conn, r table.Retention, cluster string) ([]string, error) {
	limits, err := r.Limits()
	if err != nil {
		return nil, err
	}
	var changed []string
	for _, limit := range limits {
		name, statement := limit.Table, limit.Statement
		if cluster != "" {
			name += table.LocalSuffix
			statement = strings.Replace(statement, "ALTER TABLE "+limit.Table, fmt.Sprintf("ALTER TABLE %s ON CLUSTER '%s'", name, cluster), 1)
		}
		var engine string
		err := conn.QueryRow(ctx, "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = ?", name).Scan(&engine)
		if err != nil {
			return changed, fmt.Errorf("look at table %s: %w", name, err)
		}
		_, has, limited := strings.Cut(engine, " TTL ")
		has, _, _ = strings.Cut(has, " SETTINGS ")
		if limited == (limit.Expression != "") && has == limit.Expression {
			continue
		}
		if err := conn.Exec(ctx, statement); err != nil {
			return changed, fmt.Errorf("set how long %s are kept: %w", limit.Table, err)
		}
		changed = append(changed, limit.Table)
	}
	return changed, nil
}
