package direct

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// callColumn says how one column of the calls table is filled.
type callColumn struct {
	name string
	// kind is the column's type, as the table has it.
	kind string
	// gather makes what gathers the values, where the driver's column does not.
	gather func() gatherer
	add    func(s *columnSet, i int, calls []schema.Call) error
}

// gatherer gathers the values of a column, and writes them as ClickHouse's
// Native format has them.
type gatherer interface {
	encode(to []byte) []byte
	reset()
}

// columnSet is the rows of a block in the making, column by column.
type columnSet struct {
	rows int
	// bytes is about how many bytes of text the rows hold.
	bytes   int
	columns []column.Interface
	// gathered are the values of columns that have a gatherer of their own,
	// nil at the places of others.
	gathered []gatherer
	keys     *keyCache
	encoded  []byte
	// scratch are the buffers in which a column's values are gathered.
	scratch struct {
		strings []string
		bytes   []uint8
		shorts  []uint16
		longs   []uint64
		times   []time.Time
		addrs   []proto.IPv6
	}
}

func newColumnSet(keys *keyCache) (*columnSet, error) {
	s := &columnSet{keys: keys, gathered: make([]gatherer, len(callColumns))}
	for i, c := range callColumns {
		one, err := column.Type(c.kind).Column(c.name, &column.ServerContext{Timezone: time.UTC})
		if err != nil {
			return nil, fmt.Errorf("make column %s: %w", c.name, err)
		}
		s.columns = append(s.columns, one)
		if c.gather != nil {
			s.gathered[i] = c.gather()
			s.gathered[i].reset()
		}
	}
	return s, nil
}

// stretch is how many calls are gathered at a time: they stay in the cache while
// one column after the other passes over them.
const stretch = 128

// add appends calls.
func (s *columnSet) add(calls []schema.Call) error {
	for some := range slices.Chunk(calls, stretch) {
		for i := range callColumns {
			if err := callColumns[i].add(s, i, some); err != nil {
				return fmt.Errorf("column %s (number %d): %w", callColumns[i].name, i, err)
			}
		}
	}
	s.rows += len(calls)
	return nil
}

// seal moves what was gathered beside the columns into them.
//
// The driver makes columns of low cardinality value by value, through maps of
// interfaces, and those of fixed size value by value, through strings. It also
// reads them as they stand in an answer, so they are given to it in that form.
func (s *columnSet) seal() error {
	s.encoded = s.encoded[:0]
	for _, g := range s.gathered {
		if g != nil {
			s.encoded = g.encode(s.encoded)
		}
	}
	r := proto.NewReader(bytes.NewReader(s.encoded))
	for i, g := range s.gathered {
		if g == nil {
			continue
		}
		if err := s.columns[i].Decode(r, s.rows); err != nil {
			return fmt.Errorf("column %s (number %d): %w", callColumns[i].name, i, err)
		}
	}
	return nil
}

// lend puts the columns into a batch, without a copy of what they hold. The
// batch must be sent before reset.
func (s *columnSet) lend(batch driver.Batch) error {
	columns := batch.Columns()
	if len(columns) != len(s.columns) {
		return fmt.Errorf("the table takes %d columns, and %d are given", len(columns), len(s.columns))
	}
	for i, from := range s.columns {
		to, from := reflect.ValueOf(columns[i]), reflect.ValueOf(from)
		if to.Type() != from.Type() || columns[i].Type() != s.columns[i].Type() {
			return fmt.Errorf("the table's column %s is %s, and %s is given", callColumns[i].name, columns[i].Type(), s.columns[i].Type())
		}
		to.Elem().Set(from.Elem())
	}
	return nil
}

// reset forgets all rows and keeps the memory.
func (s *columnSet) reset() {
	s.rows, s.bytes = 0, 0
	for i, c := range s.columns {
		c.Reset()
		if g := s.gathered[i]; g != nil {
			g.reset()
		}
	}
}

// gather collects one value a call into buf and returns it.
func gather[T any](buf *[]T, calls []schema.Call, get func(*schema.Call) T) []T {
	out := slices.Grow((*buf)[:0], len(calls))
	for i := range calls {
		out = append(out, get(&calls[i]))
	}
	*buf = out
	return out
}

// put appends values to the column.
func (s *columnSet) put(i int, values any) error {
	_, err := s.columns[i].Append(values)
	return err
}

func text(name string, get func(*schema.Call) string) callColumn {
	return callColumn{name, "String", nil, func(s *columnSet, i int, calls []schema.Call) error {
		values := gather(&s.scratch.strings, calls, get)
		for _, value := range values {
			s.bytes += len(value)
		}
		return s.put(i, values)
	}}
}

// low is a text of low cardinality.
func low(name string, get func(*schema.Call) string) callColumn {
	return callColumn{name, "LowCardinality(String)", newDictionary, func(s *columnSet, i int, calls []schema.Call) error {
		s.gathered[i].(*dictionary).texts(calls, get)
		return nil
	}}
}

func list(name string, get func(*schema.Call) []string) callColumn {
	return callColumn{name, "Array(LowCardinality(String))", newDictionary, func(s *columnSet, i int, calls []schema.Call) error {
		s.gathered[i].(*dictionary).names(calls, get)
		return nil
	}}
}

func small(name string, get func(*schema.Call) uint8) callColumn {
	return callColumn{name, "UInt8", nil, func(s *columnSet, i int, calls []schema.Call) error {
		return s.put(i, gather(&s.scratch.bytes, calls, get))
	}}
}

func long(name string, get func(*schema.Call) uint64) callColumn {
	return callColumn{name, "UInt64", nil, func(s *columnSet, i int, calls []schema.Call) error {
		return s.put(i, gather(&s.scratch.longs, calls, get))
	}}
}

func address(name string, get func(*schema.Call) netip.Addr) callColumn {
	return callColumn{name, "IPv6", nil, func(s *columnSet, i int, calls []schema.Call) error {
		return s.put(i, gather(&s.scratch.addrs, calls, func(c *schema.Call) proto.IPv6 {
			if addr := get(c); addr.IsValid() {
				return proto.IPv6(addr.As16())
			}
			return proto.IPv6{}
		}))
	}}
}

// fixedBytes are values of a fixed size, one behind the other.
type fixedBytes []byte

func (f *fixedBytes) encode(to []byte) []byte { return append(to, *f...) }
func (f *fixedBytes) reset()                  { *f = (*f)[:0] }

// fixed is a column of values of size bytes, which get appends.
func fixed(name string, size int, get func(s *columnSet, to []byte, c *schema.Call) []byte) callColumn {
	return callColumn{name, fmt.Sprintf("FixedString(%d)", size), func() gatherer { return new(fixedBytes) }, func(s *columnSet, i int, calls []schema.Call) error {
		f := s.gathered[i].(*fixedBytes)
		for k := range calls {
			*f = get(s, *f, &calls[k])
		}
		return nil
	}}
}

// callColumns are the columns in the order of table.CallColumns; a test holds
// them to it.
var callColumns = []callColumn{
	{"time", "DateTime64(6, 'UTC')", nil, func(s *columnSet, i int, calls []schema.Call) error {
		return s.put(i, gather(&s.scratch.times, calls, func(c *schema.Call) time.Time { return c.Time }))
	}},
	fixed("id", 16, func(_ *columnSet, to []byte, c *schema.Call) []byte { return append(to, c.ID[:]...) }),
	low("source_type", func(c *schema.Call) string { return c.Source.Type }),
	low("source_name", func(c *schema.Call) string { return c.Source.Name }),
	small("reporter", func(c *schema.Call) uint8 { return uint8(c.Reporter) }),
	fixed("credential", 16, func(s *columnSet, to []byte, c *schema.Call) []byte {
		hash := s.keys.principal(&c.Credential)
		return append(to, hash[:]...)
	}),
	small("credential_kind", func(c *schema.Call) uint8 { return uint8(c.Credential.Kind) }),
	text("credential_id", func(c *schema.Call) string { return c.Credential.ID }),
	low("credential_issuer", func(c *schema.Call) string { return c.Credential.Issuer }),
	text("credential_subject", func(c *schema.Call) string { return c.Credential.Subject }),
	low("credential_client", func(c *schema.Call) string { return c.Credential.Client }),
	text("credential_instance", func(c *schema.Call) string { return c.Credential.Instance }),
	text("session", func(c *schema.Call) string { return c.Credential.Session }),
	list("groups", func(c *schema.Call) []string { return c.Credential.Groups }),
	small("verified", func(c *schema.Call) uint8 { return bit(c.Credential.Verified) }),
	fixed("presented", 8, func(s *columnSet, to []byte, c *schema.Call) []byte {
		hash := s.keys.presented(c)
		return append(to, hash[:]...)
	}),
	list("scopes", func(c *schema.Call) []string { return c.Scopes }),
	small("scopes_known", func(c *schema.Call) uint8 { return bit(c.Scopes != nil) }),
	list("permissions_used", func(c *schema.Call) []string { return c.PermissionsUsed }),
	small("decision", func(c *schema.Call) uint8 { return uint8(c.Decision) }),
	low("policy", func(c *schema.Call) string { return c.Policy }),
	low("service", func(c *schema.Call) string { return c.Service }),
	low("operation", func(c *schema.Call) string { return c.Operation }),
	small("route_source", func(c *schema.Call) uint8 { return uint8(c.RouteSource) }),
	low("method", func(c *schema.Call) string { return c.Method }),
	low("host", func(c *schema.Call) string { return c.Host }),
	text("path", func(c *schema.Call) string { return c.Path }),
	list("query_keys", func(c *schema.Call) []string { return c.QueryKeys }),
	text("resource", func(c *schema.Call) string { return c.Resource }),
	{"status", "UInt16", nil, func(s *columnSet, i int, calls []schema.Call) error {
		return s.put(i, gather(&s.scratch.shorts, calls, func(c *schema.Call) uint16 { return c.Status }))
	}},
	long("request_bytes", func(c *schema.Call) uint64 { return c.RequestBytes }),
	long("response_bytes", func(c *schema.Call) uint64 { return c.ResponseBytes }),
	long("duration_us", func(c *schema.Call) uint64 { return c.DurationUS }),
	address("client_address", func(c *schema.Call) netip.Addr { return c.ClientAddress }),
	address("peer_address", func(c *schema.Call) netip.Addr { return c.PeerAddress }),
	low("workload", func(c *schema.Call) string { return c.Workload }),
	low("user_agent", func(c *schema.Call) string { return c.UserAgent }),
	low("tenant", func(c *schema.Call) string { return c.Tenant }),
	low("environment", func(c *schema.Call) string { return c.Environment }),
	text("request_id", func(c *schema.Call) string { return c.RequestID }),
	text("trace_id", func(c *schema.Call) string { return c.TraceID }),
	list("actor_chain", func(c *schema.Call) []string { return c.ActorChain }),
	text("mints", func(c *schema.Call) string { return c.Mints }),
	small("quality", func(c *schema.Call) uint8 { return uint8(c.Quality) }),
}

var insertCalls = func() string {
	q := "INSERT INTO " + table.Calls + " ("
	for i, c := range callColumns {
		if i > 0 {
			q += ", "
		}
		q += c.name
	}
	return q + ")"
}()

var callColumnTypes = func() []clickhouse.ColumnNameAndType {
	var types []clickhouse.ColumnNameAndType
	for _, c := range callColumns {
		types = append(types, clickhouse.ColumnNameAndType{Name: c.name, Type: c.kind})
	}
	return types
}()
