package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Records are framed here and not by kafka-go's Writer, so that a message is
// copied once, compressed once for all attempts, and has the partition and place
// that its sequence number says.

// header is a record's header, such as content-type.
type header struct{ key, value string }

// appendTail appends what of a record does not depend on its place in a batch.
func appendTail(dst, key, value []byte, headers []header) []byte {
	dst = appendBlob(dst, key)
	dst = appendBlob(dst, value)
	dst = binary.AppendVarint(dst, int64(len(headers)))
	for _, h := range headers {
		dst = binary.AppendVarint(dst, int64(len(h.key)))
		dst = append(dst, h.key...)
		dst = binary.AppendVarint(dst, int64(len(h.value)))
		dst = append(dst, h.value...)
	}
	return dst
}

// appendBlob appends bytes with their length, which is -1 for nil.
func appendBlob(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(b)))
	return append(dst, b...)
}

// The parts of a record batch's head, in bytes from its beginning.
const (
	headLength   = 8  // of what follows
	headMagic    = 16 // after the leader's epoch
	headChecksum = 17
	headFlags    = 21
	headSize     = 61

	flagZstd = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// framer makes record batches, with memory that it uses again.
type framer struct {
	encoder *zstd.Encoder
	records []byte
	batch   []byte
}

func newFramer() (*framer, error) {
	// Kafka's chunks are small, so the encoder needs no large window.
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(512<<10), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	return &framer{encoder: encoder}, err
}

// frame returns the record set of a chunk, behind its length, as a produce request
// holds it. It is valid until the next call.
//
// The time of a record is that of sending and not that of the call: a topic's
// retention goes by it, and the calls of an old log must not be old when they
// come in.
func (f *framer) frame(c *chunk, now time.Time) []byte {
	f.records = f.records[:0]
	start := 0
	for i, item := range c.items {
		tail := c.tails[start:item.end]
		start = item.end
		var place [binary.MaxVarintLen64 + 2]byte
		// No attributes, no difference of time, then the place in the batch.
		n := 2 + binary.PutVarint(place[2:], int64(i))
		f.records = binary.AppendVarint(f.records, int64(n+len(tail)))
		f.records = append(f.records, place[:n]...)
		f.records = append(f.records, tail...)
	}
	b := append(f.batch[:0], make([]byte, 4+headSize)...)
	b = f.encoder.EncodeAll(f.records, b)
	f.batch = b
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	h := b[4:]
	binary.BigEndian.PutUint32(h[headLength:], uint32(len(h)-headLength-4))
	binary.BigEndian.PutUint32(h[12:], 0xffffffff) // the leader's epoch is the broker's to fill in
	h[headMagic] = 2
	binary.BigEndian.PutUint16(h[headFlags:], flagZstd)
	binary.BigEndian.PutUint32(h[23:], uint32(len(c.items)-1))
	binary.BigEndian.PutUint64(h[27:], uint64(now.UnixMilli()))
	binary.BigEndian.PutUint64(h[35:], uint64(now.UnixMilli()))
	for i := 43; i < 57; i++ {
		h[i] = 0xff // no producer id, epoch and sequence of Kafka's own
	}
	binary.BigEndian.PutUint32(h[57:], uint32(len(c.items)))
	binary.BigEndian.PutUint32(h[headChecksum:], crc32.Checksum(h[headFlags:], castagnoli))
	return b
}

// PartitionOf chooses a key's partition as the Java client does, so that Flink and
// others can join by the same key.
func PartitionOf(key []byte, partitions int) int {
	return int(murmur2(key)&0x7fffffff) % partitions
}

// murmur2 is the hash of the Java client.
func murmur2(data []byte) uint32 {
	const m, r = 0x5bd1e995, 24
	h := 0x9747b28c ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data) * m
		h = h*m ^ (k^k>>r)*m
	}
	for i := len(data) - 1; i >= 0; i-- {
		h ^= uint32(data[i]) << (8 * i)
		if i == 0 {
			h *= m
		}
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
