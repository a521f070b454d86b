package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// batchOfOthers is a record batch as kafka-go's own writer makes it.
func batchOfOthers(t testing.TB, codec kafka.Compression, base int64, values ...string) []byte {
	t.Helper()
	var records []protocol.Record
	for i, value := range values {
		records = append(records, protocol.Record{
			Offset: int64(i), Time: time.UnixMilli(1_700_000_000_000 + int64(i)),
			Key: protocol.NewBytes([]byte("key")), Value: protocol.NewBytes([]byte(value)),
			Headers: []protocol.Header{{Key: "h", Value: []byte("v")}},
		})
	}
	set := protocol.RecordSet{Version: 2, Attributes: protocol.Attributes(codec), Records: protocol.NewRecordReader(records...)}
	var out bytes.Buffer
	if _, err := set.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	b := out.Bytes()[4:]
	binary.BigEndian.PutUint64(b, uint64(base))
	return b
}

// reseal makes a batch's checksum right after a change.
func reseal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[headChecksum:], crc32.Checksum(b[headFlags:], castagnoli))
	return b
}

// TestUnpack reads batches of another implementation, by every codec, with holes,
// markers of transactions and a cut end.
func TestUnpack(t *testing.T) {
	var u unpacker
	for _, codec := range []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
		data := batchOfOthers(t, codec, 100, "a", "b", "c")
		data = append(data, batchOfOthers(t, codec, 103, "d", "", "f")...)
		marker := batchOfOthers(t, 0, 106, "marker")
		binary.BigEndian.PutUint16(marker[headFlags:], flagControl)
		data = append(data, reseal(marker)...)
		data = append(data, batchOfOthers(t, codec, 110, "g")...)
		compacted := batchOfOthers(t, codec, 111, "h")
		binary.BigEndian.PutUint32(compacted[23:], 8) // its last messages are gone
		data = append(data, reseal(compacted)...)
		cut := batchOfOthers(t, codec, 120, "i")
		data = append(data, cut[:len(cut)-1]...)
		for _, c := range []struct {
			from, limit int64
			want        string
			next        int64
		}{
			{100, math.MaxInt64, "100a 101b 102c 103d 104 105f 110g 111h ", 120},
			{102, 105, "102c 103d 104 ", 105},
			{105, 110, "105f ", 110},
			{106, 107, "", 107},
			{107, math.MaxInt64, "110g 111h ", 120},
			{112, math.MaxInt64, "", 120},
			{119, 120, "", 120},
			{120, 130, "", 120},
			{115, 117, "", 117},
		} {
			var got string
			next, messages, _, err := u.records(data, c.from, c.limit, func(offset int64, value []byte) error {
				got += fmt.Sprintf("%d%s ", offset, value)
				return nil
			})
			if err != nil || got != c.want || next != c.next {
				t.Errorf("codec %d, %d to %d: %q, next %d of %d messages, %v; want %q, next %d", codec, c.from, c.limit, got, next, messages, err, c.want, c.next)
			}
		}
		data[len(data)-len(cut)-3] ^= 1
		if next, _, _, err := u.records(data, 100, math.MaxInt64, func(int64, []byte) error { return nil }); !errors.Is(err, errDamaged) || next > 111 {
			t.Errorf("codec %d: a damaged batch is read to %d with %v", codec, next, err)
		}
	}
}

// FuzzRecords: whatever a broker sends, reading ends, goes forward only, and gives
// out nothing that was not asked for.
func FuzzRecords(f *testing.F) {
	for _, codec := range []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
		f.Add(batchOfOthers(f, codec, 10, "call", "", "account"), int64(11), int64(13))
	}
	f.Fuzz(func(t *testing.T, data []byte, from, limit int64) {
		if len(data) >= headSize {
			data = reseal(bytes.Clone(data)) // else a checksum would guard all that follows
		}
		var u unpacker
		last := from - 1
		next, _, _, err := u.records(data, from, limit, func(offset int64, _ []byte) error {
			if offset <= last || offset < from || offset >= limit {
				t.Fatalf("offset %d of %d to %d, after %d", offset, from, limit, last)
			}
			last = offset
			return nil
		})
		if next < from || next > max(from, limit) || next <= last && from != math.MinInt64 {
			t.Fatalf("from %d to %d goes on at %d after %d, %v", from, limit, next, last, err)
		}
	})
}

// FuzzAnswer: any answer is read or refused.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 1, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		if answer, err := readFetched(data, 7); err == nil && len(answer.records) > len(data) {
			t.Fatal("more records than data")
		}
	})
}
