package direct

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema"
)

// callColumn says how one column of the calls table is filled.
type callColumn struct {
	name string
	// wire is the type sent over HTTP; the server converts it to the table's.
	wire   string
	append func(w *writer, to driver.BatchColumn, b *block) error
}

// scratch are the buffers in which columns are gathered.
type scratch struct {
	strings []string
	bytes   []uint8
	shorts  []uint16
	longs   []uint64
	times   []time.Time
	addrs   []netip.Addr
}

// gather collects one value a call into buf and returns it.
func gather[T any](buf *[]T, b *block, get func(*schema.Call) T) []T {
	out := slices.Grow((*buf)[:0], b.rows)
	for _, calls := range b.calls {
		for i := range calls {
			out = append(out, get(&calls[i]))
		}
	}
	*buf = out
	return out
}

func text(name string, get func(*schema.Call) string) callColumn {
	return callColumn{name, "String", func(w *writer, to driver.BatchColumn, b *block) error {
		return to.Append(gather(&w.scratch.strings, b, get))
	}}
}

func small(name string, get func(*schema.Call) uint8) callColumn {
	return callColumn{name, "UInt8", func(w *writer, to driver.BatchColumn, b *block) error {
		return to.Append(gather(&w.scratch.bytes, b, get))
	}}
}

func long(name string, get func(*schema.Call) uint64) callColumn {
	return callColumn{name, "UInt64", func(w *writer, to driver.BatchColumn, b *block) error {
		return to.Append(gather(&w.scratch.longs, b, get))
	}}
}

func address(name string, get func(*schema.Call) netip.Addr) callColumn {
	return callColumn{name, "IPv6", func(w *writer, to driver.BatchColumn, b *block) error {
		return to.Append(gather(&w.scratch.addrs, b, func(c *schema.Call) netip.Addr {
			if addr := get(c); addr.IsValid() {
				return netip.AddrFrom16(addr.As16())
			}
			return netip.IPv6Unspecified()
		}))
	}}
}

func list(name string, get func(*schema.Call) []string) callColumn {
	return callColumn{name, "Array(String)", func(_ *writer, to driver.BatchColumn, b *block) error {
		var none any = []string{}
		for _, calls := range b.calls {
			for i := range calls {
				value := none
				if l := get(&calls[i]); len(l) > 0 {
					value = l
				}
				if err := to.AppendRow(value); err != nil {
					return err
				}
			}
		}
		return nil
	}}
}

// callColumns are the columns in the order of table.CallColumns; a test holds
// them to it.
var callColumns = []callColumn{
	{"time", "DateTime64(6, 'UTC')", func(w *writer, to driver.BatchColumn, b *block) error {
		return to.Append(gather(&w.scratch.times, b, func(c *schema.Call) time.Time { return c.Time }))
	}},
	{"id", "FixedString(16)", func(w *writer, to driver.BatchColumn, b *block) error {
		buf := make([]byte, 0, 16*b.rows)
		for _, calls := range b.calls {
			for i := range calls {
				buf = append(buf, calls[i].ID[:]...)
			}
		}
		return w.appendFixed(to, buf, 16)
	}},
	text("source_type", func(c *schema.Call) string { return c.Source.Type }),
	text("source_name", func(c *schema.Call) string { return c.Source.Name }),
	small("reporter", func(c *schema.Call) uint8 { return uint8(c.Reporter) }),
	{"credential", "FixedString(16)", func(w *writer, to driver.BatchColumn, _ *block) error {
		return w.appendFixed(to, w.keys.principals, 16)
	}},
	small("credential_kind", func(c *schema.Call) uint8 { return uint8(c.Credential.Kind) }),
	text("credential_id", func(c *schema.Call) string { return c.Credential.ID }),
	text("credential_issuer", func(c *schema.Call) string { return c.Credential.Issuer }),
	text("credential_subject", func(c *schema.Call) string { return c.Credential.Subject }),
	text("credential_client", func(c *schema.Call) string { return c.Credential.Client }),
	text("credential_instance", func(c *schema.Call) string { return c.Credential.Instance }),
	text("session", func(c *schema.Call) string { return c.Credential.Session }),
	list("groups", func(c *schema.Call) []string { return c.Credential.Groups }),
	small("verified", func(c *schema.Call) uint8 { return bit(c.Credential.Verified) }),
	{"presented", "FixedString(8)", func(w *writer, to driver.BatchColumn, _ *block) error {
		return w.appendFixed(to, w.keys.presented, 8)
	}},
	list("scopes", func(c *schema.Call) []string { return c.Scopes }),
	small("scopes_known", func(c *schema.Call) uint8 { return bit(c.Scopes != nil) }),
	list("permissions_used", func(c *schema.Call) []string { return c.PermissionsUsed }),
	small("decision", func(c *schema.Call) uint8 { return uint8(c.Decision) }),
	text("policy", func(c *schema.Call) string { return c.Policy }),
	text("service", func(c *schema.Call) string { return c.Service }),
	text("operation", func(c *schema.Call) string { return c.Operation }),
	small("route_source", func(c *schema.Call) uint8 { return uint8(c.RouteSource) }),
	text("method", func(c *schema.Call) string { return c.Method }),
	text("host", func(c *schema.Call) string { return c.Host }),
	text("path", func(c *schema.Call) string { return c.Path }),
	list("query_keys", func(c *schema.Call) []string { return c.QueryKeys }),
	text("resource", func(c *schema.Call) string { return c.Resource }),
	{"status", "UInt16", func(w *writer, to driver.BatchColumn, b *block) error {
		return to.Append(gather(&w.scratch.shorts, b, func(c *schema.Call) uint16 { return c.Status }))
	}},
	long("request_bytes", func(c *schema.Call) uint64 { return c.RequestBytes }),
	long("response_bytes", func(c *schema.Call) uint64 { return c.ResponseBytes }),
	long("duration_us", func(c *schema.Call) uint64 { return c.DurationUS }),
	address("client_address", func(c *schema.Call) netip.Addr { return c.ClientAddress }),
	address("peer_address", func(c *schema.Call) netip.Addr { return c.PeerAddress }),
	text("workload", func(c *schema.Call) string { return c.Workload }),
	text("user_agent", func(c *schema.Call) string { return c.UserAgent }),
	text("tenant", func(c *schema.Call) string { return c.Tenant }),
	text("environment", func(c *schema.Call) string { return c.Environment }),
	text("request_id", func(c *schema.Call) string { return c.RequestID }),
	text("trace_id", func(c *schema.Call) string { return c.TraceID }),
	list("actor_chain", func(c *schema.Call) []string { return c.ActorChain }),
	text("mints", func(c *schema.Call) string { return c.Mints }),
	small("quality", func(c *schema.Call) uint8 { return uint8(c.Quality) }),
}

// appendFixed appends concatenated values of size bytes each. The driver takes
// strings without copying them; these live as long as the append.
func (w *writer) appendFixed(to driver.BatchColumn, values []byte, size int) error {
	out := w.scratch.strings[:0]
	for i := 0; i < len(values); i += size {
		out = append(out, unsafe.String(&values[i], size))
	}
	w.scratch.strings = out
	return to.Append(out)
}

// keyCache computes the two hashes that use is folded by. Most calls repeat
// their predecessors' credential, so each distinct one is hashed once.
type keyCache struct {
	principals []byte
	presented  []byte

	byPrincipal map[schema.Principal]schema.PrincipalHash
	byLists     map[listKey]schema.PresentedHash
	// alive keeps the lists that byLists knows by address.
	alive []schema.Call
}

// listKey knows a pair of lists by where they lie in memory: collectors intern
// them.
type listKey struct {
	scopes, groups *string
	ns, ng         int
	known          bool
}

// maxKeys bounds both caches; at the bound they start anew.
const maxKeys = 1 << 16

// block computes the keys of all calls of a block.
func (k *keyCache) block(b *block) {
	if k.byPrincipal == nil || len(k.byPrincipal) > maxKeys || len(k.byLists) > maxKeys {
		k.byPrincipal = map[schema.Principal]schema.PrincipalHash{}
		k.byLists = map[listKey]schema.PresentedHash{}
		k.alive = nil
	}
	k.principals = slices.Grow(k.principals[:0], 16*b.rows)
	k.presented = slices.Grow(k.presented[:0], 8*b.rows)
	for _, calls := range b.calls {
		for i := range calls {
			c := &calls[i]
			p := c.Credential.Principal()
			hash, ok := k.byPrincipal[p]
			if !ok {
				hash = p.Hash()
				k.byPrincipal[p] = hash
			}
			k.principals = append(k.principals, hash[:]...)
			key := listKey{unsafe.SliceData(c.Scopes), unsafe.SliceData(c.Credential.Groups), len(c.Scopes), len(c.Credential.Groups), c.Scopes != nil}
			presented, ok := k.byLists[key]
			if !ok {
				presented = presentedHash(c.Scopes, c.Credential.Groups)
				k.byLists[key] = presented
				k.alive = append(k.alive, schema.Call{Scopes: c.Scopes, Credential: schema.Credential{Groups: c.Credential.Groups}})
			}
			k.presented = append(k.presented, presented[:]...)
		}
	}
}

// presentedHash identifies presented scopes and groups, whatever their order.
func presentedHash(scopes, groups []string) (hash schema.PresentedHash) {
	h := fnv.New128a()
	write := func(kind byte, names []string) {
		names = slices.Clone(names)
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			h.Write([]byte{kind})
			h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(name))))
			h.Write([]byte(name))
		}
	}
	if scopes != nil {
		h.Write([]byte{'p'})
	}
	write('s', scopes)
	write('g', groups)
	copy(hash[:], h.Sum(nil))
	return hash
}
