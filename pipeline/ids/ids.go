// Package ids remembers the ids of calls, so that a call that comes again is
// known.
//
// The one thing to want is [New]. The memory is bounded, exact up to its limit,
// and says when it forgot.
package ids

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// Memory remembers call ids. It is exact until limit ids are held; then it
// keeps the latest half-limit or more, and says that it forgot. It holds at most
// one and a half limits.
type Memory struct {
	limit     int
	now, past set
	forgot    bool
}

// New returns an empty memory of up to limit ids; use it from one goroutine.
func New(limit int) *Memory { return &Memory{limit: limit} }

// Held is how many ids are remembered.
func (m *Memory) Held() int { return m.now.size + m.past.size }

// Forgot says that ids were forgotten, so that a repeat may pass as new.
func (m *Memory) Forgot() bool { return m.forgot }

// Add remembers id and reports whether it was new.
func (m *Memory) Add(id schema.CallID) bool {
	if m.past.size > 0 && m.past.has(id) {
		return false
	}
	full := m.limit
	if m.past.size > 0 {
		full = (m.limit + 1) / 2
	}
	if m.now.size >= full {
		if m.now.has(id) {
			return false
		}
		// Two generations: dropping the older one costs nothing a call.
		m.forgot = m.forgot || m.past.size > 0
		// Its memory serves the next one.
		m.past, m.now = m.now, m.past
		m.now.clear()
	}
	return m.now.add(id)
}

// Load remembers the ids that the store holds, the latest first in line to
// stay.
func (m *Memory) Load(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.Query(ctx, fmt.Sprintf("SELECT id FROM (SELECT id, time FROM %s ORDER BY time DESC LIMIT %d) ORDER BY time", table.Calls, m.limit/2))
	if err != nil {
		return fmt.Errorf("read the ids of stored calls: %w", err)
	}
	defer rows.Close()
	var id string
	for rows.Next() {
		if err := rows.Scan(&id); err != nil {
			return fmt.Errorf("read the ids of stored calls: %w", err)
		}
		m.Add(schema.CallID([]byte(id)))
	}
	return rows.Err()
}

// set is a set of ids in about 22 bytes each: open addressing in shards, of
// which one grows at a time, by a half, so that growing needs hardly any room.
// The zero value is empty.
type set struct {
	size   int
	shards [shardCount]shard
	// zero says that the set has the id of zeros, which marks a free place.
	zero bool
}

const shardCount = 256

type shard struct {
	places []schema.CallID
	used   int
}

// hash spreads an id. Ids are hashes already, as a rule.
func hash(id *schema.CallID) uint64 {
	h, l := bits.Mul64(binary.LittleEndian.Uint64(id[:8])^0x9e3779b97f4a7c15, binary.LittleEndian.Uint64(id[8:])^0xbf58476d1ce4e5b9)
	return h ^ l
}

// place returns where an id stands in the shard, or the free place where it
// would. There is always one.
func (s *shard) place(id *schema.CallID, h uint64) (at int, found bool) {
	// The shard took the upper bits; these are the others.
	high, _ := bits.Mul64(h<<8, uint64(len(s.places)))
	for at = int(high); ; at++ {
		if at == len(s.places) {
			at = 0
		}
		switch s.places[at] {
		case *id:
			return at, true
		case schema.CallID{}:
			return at, false
		}
	}
}

func (s *set) has(id schema.CallID) bool {
	if id == (schema.CallID{}) {
		return s.zero
	}
	h := hash(&id)
	shard := &s.shards[h>>56]
	if shard.used == 0 {
		return false
	}
	_, found := shard.place(&id, h)
	return found
}

// add adds an id and reports whether it is new.
func (s *set) add(id schema.CallID) bool {
	if id == (schema.CallID{}) {
		fresh := !s.zero
		if fresh {
			s.zero = true
			s.size++
		}
		return fresh
	}
	h := hash(&id)
	shard := &s.shards[h>>56]
	if 8*shard.used >= 7*len(shard.places) {
		shard.grow()
	}
	at, found := shard.place(&id, h)
	if found {
		return false
	}
	shard.places[at] = id
	shard.used++
	s.size++
	return true
}

// clear forgets all ids and keeps the memory.
func (s *set) clear() {
	for i := range s.shards {
		clear(s.shards[i].places)
		s.shards[i].used = 0
	}
	s.size, s.zero = 0, false
}

func (s *shard) grow() {
	old := s.places
	s.places = make([]schema.CallID, 64+len(old)*3/2)
	for i := range old {
		if id := &old[i]; *id != (schema.CallID{}) {
			at, _ := s.place(id, hash(id))
			s.places[at] = *id
		}
	}
}
