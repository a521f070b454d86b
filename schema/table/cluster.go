package table

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// LocalSuffix ends the name of the part of a table that one shard of a cluster
// holds. The plain name is then that of the whole, so that the same SQL reads a
// server and a cluster; whoever knows the shard writes to the local part.
const LocalSuffix = "_local"

// ShardKey is the number by which calls are spread over the shards of a cluster:
// that of Kafka's own partitioner over the credential hash, which is the key of a
// call there. All that belongs to a credential is then on one shard, and where
// the number of shards divides that of partitions so is a whole partition:
// partition % shards.
const ShardKey = "bitAnd(kafkaMurmurHash(credential), 2147483647)"

// Cluster says for which cluster of servers steps are rendered.
//
// Tables that calls are inserted into or that views feed from there are cut into
// shards: a local replicated table, and a Distributed one under the plain name.
// All others are small and replicated to every server, so that each can be asked
// and written to.
type Cluster struct {
	// Name is the cluster's, as the servers' remote_servers have it. The servers
	// need the macros shard and replica.
	Name string
	// Database holds the tables; it has to be the same on all servers.
	Database string
}

var (
	clusterName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	createTable = regexp.MustCompile(`(?s)^CREATE TABLE IF NOT EXISTS ([a-z_]+) \((.*)\n\) ENGINE = ([A-Za-z]*MergeTree)(?:\(([^)]*)\))?\n(.*)$`)
	createView  = regexp.MustCompile(`(?s)^CREATE MATERIALIZED VIEW IF NOT EXISTS ([a-z_]+)` + FeedSuffix + ` TO ([a-z_]+)\s+AS\s+(.*)$`)
	alterTable  = regexp.MustCompile(`(?s)^ALTER TABLE ([a-z_]+)\s+(.*)$`)
	// alike are the changes that a Distributed table has to follow.
	alike = regexp.MustCompile(`^(ADD|DROP|RENAME|MODIFY) COLUMN `)
	// codec is what only a table that stores has.
	codec = regexp.MustCompile(` CODEC\((?:[^()]|\([^()]*\))*\)`)
)

// Render returns the steps as a cluster runs them. Every statement is safe to
// run again, so that a server that joins later is brought forward by running all
// of them. A statement whose form it does not know is an error: it would be
// wrong on a cluster in silence.
func (c Cluster) Render(steps []Step) ([]Step, error) {
	if !clusterName.MatchString(c.Name) || !clusterName.MatchString(c.Database) {
		return nil, fmt.Errorf("cluster %q, database %q: a name has letters, digits, dots, dashes and underscores only", c.Name, c.Database)
	}
	r := renderer{Cluster: c, sharded: Sharded(steps)}
	var out []Step
	for _, step := range steps {
		rendered := Step{Number: step.Number, Name: step.Name}
		for _, statement := range step.Statements {
			statements, err := r.statement(statement)
			if err != nil {
				return nil, fmt.Errorf("schema step %s: %w", step.Name, err)
			}
			rendered.Statements = append(rendered.Statements, statements...)
		}
		out = append(out, rendered)
	}
	return out, nil
}

// Global returns a statement that makes one table, as a cluster runs it where
// every server has all of the table.
func (c Cluster) Global(statement string) (string, error) {
	out, err := renderer{Cluster: c}.statement(statement)
	if err != nil {
		return "", err
	}
	return out[0], nil
}

// Sharded returns the names of the tables that a cluster cuts into shards,
// sorted: the calls, and what views feed from calls.
func Sharded(steps []Step) []string {
	names := []string{Calls}
	for _, step := range steps {
		for _, statement := range step.Statements {
			if m := createView.FindStringSubmatch(statement); m != nil && !slices.Contains(names, m[2]) {
				names = append(names, m[2])
			}
		}
	}
	slices.Sort(names)
	return names
}

type renderer struct {
	Cluster
	sharded []string
}

func (r renderer) statement(s string) ([]string, error) {
	if m := createTable.FindStringSubmatch(s); m != nil {
		return r.table(m[1], m[2], m[3], m[4], m[5]), nil
	}
	if m := createView.FindStringSubmatch(s); m != nil {
		return []string{fmt.Sprintf("CREATE MATERIALIZED VIEW IF NOT EXISTS %s%s%s ON CLUSTER '%s' TO %s%s AS\n%s",
			m[1], LocalSuffix, FeedSuffix, r.Name, m[2], LocalSuffix, r.local(m[3]))}, nil
	}
	if m := alterTable.FindStringSubmatch(s); m != nil {
		name, change := m[1], m[2]
		if !slices.Contains(r.sharded, name) {
			return []string{fmt.Sprintf("ALTER TABLE %s ON CLUSTER '%s' %s", name, r.Name, change)}, nil
		}
		out := []string{fmt.Sprintf("ALTER TABLE %s%s ON CLUSTER '%s' %s", name, LocalSuffix, r.Name, change)}
		if alike.MatchString(change) {
			out = append(out, fmt.Sprintf("ALTER TABLE %s ON CLUSTER '%s' %s", name, r.Name, codec.ReplaceAllString(change, "")))
		}
		return out, nil
	}
	first, _, _ := strings.Cut(s, "\n")
	return nil, fmt.Errorf("nobody said how a cluster runs %q", first)
}

// table makes the tables that one table becomes.
func (r renderer) table(name, columns, engine, args, rest string) []string {
	sharded := slices.Contains(r.sharded, name)
	path, replica, local := "{shard}", "{replica}", name+LocalSuffix
	if !sharded {
		// One path for all: every server is a replica of the same table.
		path, replica, local = "all", "{shard}-{replica}", name
	}
	if args != "" {
		args = ", " + args
	}
	rest = strings.NewReplacer("non_replicated_deduplication_window = 20000",
		"replicated_deduplication_window = 20000, replicated_deduplication_window_seconds = 604800").Replace(rest)
	// The path names database and table rather than the table's UUID: a server
	// that joins later makes the same path.
	out := []string{fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s ON CLUSTER '%s' (%s\n) ENGINE = Replicated%s('/clickhouse/tables/%s/%s/%s', '%s'%s)\n%s",
		local, r.Name, columns, engine, path, r.Database, local, replica, args, rest)}
	if !sharded {
		return out
	}
	key := ""
	if strings.Contains(columns, "\n    credential ") {
		key = ", " + ShardKey
	}
	return append(out, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s ON CLUSTER '%s' AS %s ENGINE = Distributed('%s', '%s', %s%s)",
		name, r.Name, local, r.Name, r.Database, local, key))
}

// local makes a view's select read the local parts.
func (r renderer) local(query string) string {
	for _, name := range r.sharded {
		query = regexp.MustCompile(`\b(FROM|JOIN) `+name+`\b`).ReplaceAllString(query, "$1 "+name+LocalSuffix)
	}
	return query
}
