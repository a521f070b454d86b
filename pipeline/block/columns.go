// Package block builds blocks of calls as ClickHouse takes them, and inserts them.
//
// The one function to want is [NewSet]: a set gathers calls column by column and
// is sent as one insert with a deduplication token. It promises that a block
// stands in memory once, and that an insert can be repeated. It cannot see
// whether calls repeat each other: that is package ids.
package block

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema"
)

// callColumn says how one column of the calls table is filled.
type callColumn struct {
	name string
	// kind is the column's type, as the table has it.
	kind string
	// low says that the values are of low cardinality: a dictionary gathers them.
	low bool
	// add appends the calls' values to the i-th column of the set.
	add func(s *Set, i int, calls []schema.Call)
}

// Set is the rows of a block in the making, column by column, each as
// ClickHouse's Native format has it. So a block stands in memory once, its memory
// serves the next one, and it is sent as it stands.
type Set struct {
	// Rows is how many calls it has.
	Rows int
	// Bytes is about how many bytes the texts of the rows take.
	Bytes int
	// plain are the columns that are not of low cardinality, dictionaries the
	// others, each at its place.
	plain        [][]byte
	dictionaries []*dictionary
	keys         *Keys
}

// NewSet returns an empty set. Sets that one goroutine fills may share keys.
func NewSet(keys *Keys) *Set {
	s := &Set{keys: keys, plain: make([][]byte, len(callColumns)), dictionaries: make([]*dictionary, len(callColumns))}
	for i, c := range callColumns {
		if c.low {
			s.dictionaries[i] = new(dictionary)
			s.dictionaries[i].reset()
		}
	}
	return s
}

// stretch is how many calls are gathered at a time: they stay in the cache while
// one column after the other passes over them.
const stretch = 128

// Add appends calls.
func (s *Set) Add(calls []schema.Call) {
	for some := range slices.Chunk(calls, stretch) {
		for i := range callColumns {
			callColumns[i].add(s, i, some)
		}
	}
	s.Rows += len(calls)
}

// Reset forgets all rows and keeps the memory.
func (s *Set) Reset() {
	s.Rows, s.Bytes = 0, 0
	for i := range callColumns {
		s.plain[i] = s.plain[i][:0]
		if d := s.dictionaries[i]; d != nil {
			d.reset()
		}
	}
}

// lowCardinality is the version of the serialisation of low cardinality, which
// stands before such a column.
var lowCardinality = binary.LittleEndian.AppendUint64(nil, 1)

// values is a column's values without its name, type and version.
func (s *Set) values(i int) []byte {
	if d := s.dictionaries[i]; d != nil {
		return d.encode()
	}
	return s.plain[i]
}

// native returns the set as one block in the Native format. It must be read
// before Reset.
func (s *Set) native() io.Reader {
	parts := []io.Reader{bytes.NewReader(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(len(callColumns))), uint64(s.Rows)))}
	for i, c := range callColumns {
		head := append(binary.AppendUvarint(nil, uint64(len(c.name))), c.name...)
		head = append(binary.AppendUvarint(head, uint64(len(c.kind))), c.kind...)
		if c.low {
			head = append(head, lowCardinality...)
		}
		parts = append(parts, bytes.NewReader(head), bytes.NewReader(s.values(i)))
	}
	return io.MultiReader(parts...)
}

// fill puts the set into a batch of the driver, whose columns read the same form.
func (s *Set) fill(batch driver.Batch) error {
	columns := batch.Columns()
	if len(columns) != len(callColumns) {
		return fmt.Errorf("the table takes %d columns, and %d are given", len(columns), len(callColumns))
	}
	parts := make([]io.Reader, len(columns))
	for i, c := range columns {
		if c.Type() != column.Type(callColumns[i].kind) {
			return fmt.Errorf("the table's column %s is %s, and %s is given", callColumns[i].name, c.Type(), callColumns[i].kind)
		}
		parts[i] = bytes.NewReader(s.values(i))
	}
	r := proto.NewReader(io.MultiReader(parts...))
	for i, c := range columns {
		if err := c.Decode(r, s.Rows); err != nil {
			return fmt.Errorf("column %s (number %d): %w", callColumns[i].name, i, err)
		}
	}
	return nil
}

func text(name string, get func(*schema.Call) string) callColumn {
	return callColumn{name, "String", false, func(s *Set, i int, calls []schema.Call) {
		to := s.plain[i]
		before := len(to)
		for k := range calls {
			value := get(&calls[k])
			to = append(binary.AppendUvarint(to, uint64(len(value))), value...)
		}
		s.plain[i], s.Bytes = to, s.Bytes+len(to)-before
	}}
}

// low is a text of low cardinality.
func low(name string, get func(*schema.Call) string) callColumn {
	return callColumn{name, "LowCardinality(String)", true, func(s *Set, i int, calls []schema.Call) {
		s.dictionaries[i].texts(calls, get)
	}}
}

func list(name string, get func(*schema.Call) []string) callColumn {
	return callColumn{name, "Array(LowCardinality(String))", true, func(s *Set, i int, calls []schema.Call) {
		s.dictionaries[i].names(calls, get)
	}}
}

// fixed is a column of values of a fixed size, which put appends.
func fixed(name, kind string, put func(s *Set, to []byte, c *schema.Call) []byte) callColumn {
	return callColumn{name, kind, false, func(s *Set, i int, calls []schema.Call) {
		to := s.plain[i]
		for k := range calls {
			to = put(s, to, &calls[k])
		}
		s.plain[i] = to
	}}
}

func small(name string, get func(*schema.Call) uint8) callColumn {
	return fixed(name, "UInt8", func(_ *Set, to []byte, c *schema.Call) []byte { return append(to, get(c)) })
}

func long(name string, get func(*schema.Call) uint64) callColumn {
	return fixed(name, "UInt64", func(_ *Set, to []byte, c *schema.Call) []byte {
		return binary.LittleEndian.AppendUint64(to, get(c))
	})
}

func address(name string, get func(*schema.Call) netip.Addr) callColumn {
	return fixed(name, "IPv6", func(_ *Set, to []byte, c *schema.Call) []byte {
		var value [16]byte
		if addr := get(c); addr.IsValid() {
			value = addr.As16()
		}
		return append(to, value[:]...)
	})
}

// callColumns are the columns in the order of table.CallColumns; a test holds
// them to it.
var callColumns = []callColumn{
	fixed("time", "DateTime64(6, 'UTC')", func(_ *Set, to []byte, c *schema.Call) []byte {
		return binary.LittleEndian.AppendUint64(to, uint64(Storable(c.Time).UnixMicro()))
	}),
	fixed("id", "FixedString(16)", func(_ *Set, to []byte, c *schema.Call) []byte { return append(to, c.ID[:]...) }),
	low("source_type", func(c *schema.Call) string { return c.Source.Type }),
	low("source_name", func(c *schema.Call) string { return c.Source.Name }),
	small("reporter", func(c *schema.Call) uint8 { return uint8(c.Reporter) }),
	fixed("credential", "FixedString(16)", func(s *Set, to []byte, c *schema.Call) []byte {
		hash := s.keys.Principal(&c.Credential)
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
	small("verified", func(c *schema.Call) uint8 { return Bit(c.Credential.Verified) }),
	fixed("presented", "FixedString(8)", func(s *Set, to []byte, c *schema.Call) []byte {
		hash := s.keys.presented(c)
		return append(to, hash[:]...)
	}),
	list("scopes", func(c *schema.Call) []string { return c.Scopes }),
	small("scopes_known", func(c *schema.Call) uint8 { return Bit(c.Scopes != nil) }),
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
	fixed("status", "UInt16", func(_ *Set, to []byte, c *schema.Call) []byte {
		return binary.LittleEndian.AppendUint16(to, c.Status)
	}),
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

// insertColumns is what follows the table's name in an insert.
var insertColumns = func() string {
	q := " ("
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
