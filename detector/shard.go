package detector

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Shard is a share of all subjects, for detectors that divide the work. The zero
// value is all of them.
//
// A subject is in one shard by its name, as findings have it, and not by its
// principals: these may be many, and come and go, and what is said of a subject
// is said of all of them together.
type Shard struct {
	// Index counts from 1 to Count.
	Index, Count int
}

// maxShards bounds the number of shards: more are of no use, and most likely a
// mistake.
const maxShards = 1024

// ParseShard reads I/N.
func ParseShard(text string) (Shard, error) {
	first, second, _ := strings.Cut(text, "/")
	index, err1 := strconv.ParseUint(first, 10, 16)
	count, err2 := strconv.ParseUint(second, 10, 16)
	if err1 != nil || err2 != nil || index < 1 || index > count || count > maxShards {
		return Shard{}, fmt.Errorf("%q is no shard: write I/N, such as 1/2 and 2/2 for two detectors; I counts from 1, and N is at most %d", text, maxShards)
	}
	return Shard{int(index), int(count)}, nil
}

// Whole reports whether the shard is all there is.
func (s Shard) Whole() bool { return s.Count <= 1 }

// String is I/N, or "all".
func (s Shard) String() string {
	if s.Whole() {
		return "all"
	}
	return fmt.Sprintf("%d/%d", s.Index, s.Count)
}

// Owns reports whether the subject of that name is in the shard.
func (s Shard) Owns(name string) bool {
	return s.Whole() || int(crc32.ChecksumIEEE([]byte(name))%uint32(s.Count)) == s.Index-1
}

// Where is Owns as a condition on a column of names.
func (s Shard) Where(column string) string {
	if s.Whole() {
		return "1"
	}
	return fmt.Sprintf("CRC32(%s) %% %d = %d", column, s.Count, s.Index-1)
}
