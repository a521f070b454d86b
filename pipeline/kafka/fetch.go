package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"

	"github.com/klauspost/compress/zstd"
	kafka "github.com/segmentio/kafka-go"
)

// Fetching is ours and not kafka-go's, which reads a message byte by byte through
// layers of buffers, hands on the markers of transactions as messages, and does
// not tell where a batch ends whose last messages are gone. Here an answer is read
// whole and a batch is unpacked whole; values are parts of that.

const (
	fetchKey     = 1
	fetchVersion = 10 // the first with zstd; brokers from 2.1 to 4.x know it

	// mostAnswer bounds an answer: a batch of a producer comes whole, whatever was
	// asked for.
	mostAnswer = 128 << 20
	// mostBatch bounds a batch when it is unpacked.
	mostBatch = 64 << 20

	flagCodec   = 0x07
	flagControl = 0x20
)

var (
	errDamaged   = errors.New("the answer is damaged")
	errOldFormat = errors.New("a batch has the format of Kafka before 0.11, which is not read")
)

// partitionConn is a connection to a partition's leader that only fetches.
type partitionConn struct {
	conn        net.Conn
	client      string
	correlation int32
	request     []byte
	answer      []byte
}

// dialPartition connects to a partition's leader. kafka-go proves the user, then
// the connection is used without it.
func (l *link) dialPartition(ctx context.Context, p kafka.Partition) (*partitionConn, error) {
	var raw net.Conn
	dialer := *l.dialer
	dialer.DialFunc = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		raw, err = l.dial(ctx, network, address)
		return raw, err
	}
	if _, err := dialer.DialPartition(ctx, "tcp", "", p); err != nil {
		return nil, err
	}
	return &partitionConn{conn: raw, client: l.clientID}, nil
}

// fetched is a broker's answer to a fetch. records is valid until the next one.
type fetched struct {
	highWatermark int64
	records       []byte
}

// fetch asks for a partition's batches from an offset on.
func (c *partitionConn) fetch(topic string, partition int, from int64, mostBytes int, wait time.Duration) (fetched, error) {
	if err := c.conn.SetDeadline(time.Now().Add(wait + replyTime)); err != nil {
		return fetched{}, err
	}
	c.correlation++
	b := append(c.request[:0], 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, fetchKey)
	b = binary.BigEndian.AppendUint16(b, fetchVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(c.correlation))
	b = appendShort(b, c.client)
	b = binary.BigEndian.AppendUint32(b, 0xffffffff) // no replica
	b = binary.BigEndian.AppendUint32(b, uint32(wait.Milliseconds()))
	b = binary.BigEndian.AppendUint32(b, 1)                 // byte at least
	b = binary.BigEndian.AppendUint32(b, uint32(mostBytes)) // in all
	b = append(b, 0)                                        // uncommitted, too: nobody writes transactions here
	b = binary.BigEndian.AppendUint32(b, 0)                 // no session
	b = binary.BigEndian.AppendUint32(b, 0xffffffff)
	b = binary.BigEndian.AppendUint32(b, 1) // topic
	b = appendShort(b, topic)
	b = binary.BigEndian.AppendUint32(b, 1) // partition
	b = binary.BigEndian.AppendUint32(b, uint32(partition))
	b = binary.BigEndian.AppendUint32(b, 0xffffffff) // leader's epoch not known
	b = binary.BigEndian.AppendUint64(b, uint64(from))
	b = binary.BigEndian.AppendUint64(b, 0xffffffffffffffff)
	b = binary.BigEndian.AppendUint32(b, uint32(mostBytes))
	b = binary.BigEndian.AppendUint32(b, 0) // nothing forgotten
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	c.request = b
	if _, err := c.conn.Write(b); err != nil {
		return fetched{}, err
	}
	var head [4]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return fetched{}, err
	}
	size := int(binary.BigEndian.Uint32(head[:]))
	if size > mostAnswer {
		return fetched{}, fmt.Errorf("%w: it claims %d bytes", errDamaged, size)
	}
	if cap(c.answer) < size {
		c.answer = make([]byte, size+size/8)
	}
	c.answer = c.answer[:size]
	if _, err := io.ReadFull(c.conn, c.answer); err != nil {
		return fetched{}, err
	}
	return readFetched(c.answer, c.correlation)
}

func appendShort(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// readFetched reads an answer of fetchVersion for one partition.
func readFetched(data []byte, correlation int32) (fetched, error) {
	r := cursor{data: data}
	if r.int32() != correlation {
		return fetched{}, fmt.Errorf("%w: it belongs to another request", errDamaged)
	}
	r.int32() // throttle: the broker has waited already
	if code := r.int16(); code != 0 {
		return fetched{}, kafka.Error(code)
	}
	r.int32() // session
	if r.int32() != 1 {
		return fetched{}, errDamaged
	}
	r.take(int(r.int16())) // topic
	if r.int32() != 1 {
		return fetched{}, errDamaged
	}
	r.int32() // partition
	code := r.int16()
	f := fetched{highWatermark: r.int64()}
	r.int64() // last stable offset
	r.int64() // log's start
	r.take(16 * max(int(r.int32()), 0))
	f.records = r.take(max(int(r.int32()), 0))
	switch {
	case code != 0:
		return fetched{}, kafka.Error(code)
	case r.short:
		return fetched{}, errDamaged
	}
	return f, nil
}

// cursor reads Kafka's fields. After short data everything is zero.
type cursor struct {
	data  []byte
	short bool
}

func (r *cursor) take(n int) []byte {
	if n < 0 || n > len(r.data) {
		r.short, r.data = true, nil
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *cursor) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *cursor) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *cursor) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *cursor) varint() int64 {
	v, n := binary.Varint(r.data)
	if n <= 0 {
		r.short, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

// unpacker unpacks batches, with memory that it uses again.
type unpacker struct {
	plain []byte
}

// zstdDecoder is shared: its DecodeAll may be called from all lanes.
var zstdDecoder = newZstdDecoder()

func newZstdDecoder() *zstd.Decoder {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(mostBatch), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic("kafka: " + err.Error()) // the options are constant
	}
	return decoder
}

// records gives the messages of batches to each, those from an offset on and
// before a limit, and returns where to go on. A batch that is cut off at the end is
// left for the next fetch.
func (u *unpacker) records(data []byte, from, limit int64, each func(int64, []byte) error) (next int64, messages, bytes uint64, err error) {
	next = from
	for len(data) >= headSize && next < limit {
		length := int(int32(binary.BigEndian.Uint32(data[headLength:]))) + headLength + 4
		if length < headSize {
			return next, messages, bytes, errDamaged
		}
		if length > len(data) {
			break
		}
		batch := data[:length]
		data = data[length:]
		if batch[headMagic] != 2 {
			return next, messages, bytes, errOldFormat
		}
		if binary.BigEndian.Uint32(batch[headChecksum:]) != crc32.Checksum(batch[headFlags:], castagnoli) {
			return next, messages, bytes, fmt.Errorf("%w: a checksum is wrong", errDamaged)
		}
		base := int64(binary.BigEndian.Uint64(batch))
		end := base + int64(int32(binary.BigEndian.Uint32(batch[23:]))) + 1
		if end <= next {
			continue
		}
		if binary.BigEndian.Uint16(batch[headFlags:])&flagControl == 0 {
			n, size, at, err := u.batch(batch, base, next, limit, each)
			messages, bytes, next = messages+n, bytes+size, at
			if err != nil {
				return next, messages, bytes, err
			}
		}
		// Also past offsets at the end that no message has any more.
		next = min(max(next, end), limit)
	}
	return next, messages, bytes, nil
}

// batch gives the messages of one batch to each.
func (u *unpacker) batch(batch []byte, base, from, limit int64, each func(int64, []byte) error) (messages, bytes uint64, next int64, err error) {
	next = from
	plain, err := u.unpack(int(binary.BigEndian.Uint16(batch[headFlags:])&flagCodec), batch[headSize:])
	if err != nil {
		return 0, 0, next, err
	}
	r := cursor{data: plain}
	for range int32(binary.BigEndian.Uint32(batch[57:])) {
		record := cursor{data: r.take(int(r.varint()))}
		record.take(1)  // attributes
		record.varint() // time
		offset := base + record.varint()
		record.take(max(int(record.varint()), 0)) // key
		value := record.take(max(int(record.varint()), 0))
		if r.short || record.short {
			return messages, bytes, next, fmt.Errorf("%w: a message is cut off", errDamaged)
		}
		if offset < next {
			continue
		}
		if offset >= limit {
			return messages, bytes, limit, nil
		}
		stop := each(offset, value)
		if stop != nil && !errors.Is(stop, ErrStop) {
			return messages, bytes, offset, &stopError{stop}
		}
		messages, bytes, next = messages+1, bytes+uint64(len(value)), offset+1
		if stop != nil {
			return messages, bytes, next, &stopError{stop}
		}
	}
	return messages, bytes, next, nil
}

// stopError is what each returned, told apart from what reading did.
type stopError struct{ error }

// unpack decompresses a batch's records. The result is valid until the next call.
func (u *unpacker) unpack(codec int, data []byte) ([]byte, error) {
	switch codec {
	case 0:
		return data, nil
	case int(kafka.Zstd):
		plain, err := zstdDecoder.DecodeAll(data, u.plain[:0])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		u.plain = plain
		return plain, nil
	case int(kafka.Gzip), int(kafka.Snappy), int(kafka.Lz4):
		reader := kafka.Compression(codec).Codec().NewReader(bytes.NewReader(data))
		defer reader.Close()
		buffer := bytes.NewBuffer(u.plain[:0])
		n, err := buffer.ReadFrom(io.LimitReader(reader, mostBatch+1))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		if n > mostBatch {
			return nil, fmt.Errorf("%w: a batch unpacks to more than %d bytes", errDamaged, mostBatch)
		}
		u.plain = buffer.Bytes()
		return u.plain, nil
	}
	return nil, fmt.Errorf("%w: compression %d is not known", errDamaged, codec)
}
