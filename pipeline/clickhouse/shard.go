package clickhouse

import (
	"context"
	"fmt"
	"regexp"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema/table"
)

var clusterOf = regexp.MustCompile(`^Distributed\('?([^',)]+)`)

// OpenShards opens a server of each of a cluster's shards, in the order of the
// cluster, for writing to their local tables. It refuses a server without those,
// and, as far as the servers know the cluster, too few of them and a wrong order:
// calls would be stored where nobody looks for their credential. The caller closes
// the connections.
func OpenShards(ctx context.Context, targets []Target) (all []driver.Conn, err error) {
	defer func() {
		if err != nil {
			for _, conn := range all {
				_ = conn.Close()
			}
			all = nil
		}
	}()
	for i, target := range targets {
		conn, err := Open(ctx, target)
		if err != nil {
			return all, fmt.Errorf("shard %d: %w", i+1, err)
		}
		all = append(all, conn)
		number, of, err := Shard(ctx, conn)
		if err != nil {
			return all, fmt.Errorf("shard %d: %w", i+1, err)
		}
		if of != 0 && of != len(targets) || number != 0 && number != i+1 {
			return all, &Error{Kind: WrongTarget, Text: fmt.Sprintf("%s is shard %d of %d, and is named as shard %d of %d", target, number, of, i+1, len(targets)),
				Remedy: "name one server of every shard, in the order of the cluster"}
		}
	}
	return all, nil
}

// Shard returns which shard of its cluster a server belongs to, counted from 1,
// and how many there are; both are 0 where the server does not know. A server
// without the tables of a shard is an error.
func Shard(ctx context.Context, conn driver.Conn) (number, of int, err error) {
	var local uint64
	var engine string
	err = conn.QueryRow(ctx, "SELECT countIf(name = ? AND engine LIKE '%MergeTree'), anyIf(engine_full, name = ? AND engine = 'Distributed')"+
		" FROM system.tables WHERE database = currentDatabase()", table.Calls+table.LocalSuffix, table.Calls).Scan(&local, &engine)
	if err != nil {
		return 0, 0, fmt.Errorf("look at the tables: %w", err)
	}
	if local == 0 {
		return 0, 0, &Error{Kind: WrongTarget, Text: "the server has no tables of a shard", Remedy: "scopedrift schema migrate --cluster NAME --clickhouse URL makes them on all servers"}
	}
	m := clusterOf.FindStringSubmatch(engine)
	if m == nil {
		return 0, 0, nil
	}
	var n, most uint32
	err = conn.QueryRow(ctx, "SELECT maxIf(shard_num, is_local), max(shard_num) FROM system.clusters WHERE cluster = ?", m[1]).Scan(&n, &most)
	if err != nil {
		return 0, 0, fmt.Errorf("look at the cluster: %w", err)
	}
	return int(n), int(most), nil
}
