package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire"
)

// A frame is one batch on the disk: magic, length and CRC-32C of the body, the
// body. The body is messages of the wire, each after its length: an account that
// says what the batch says, then its calls.
const headerBytes = 4 + 4 + 4

// maxFrame bounds the body of a frame that is believed.
const maxFrame = 256 << 20

var magic = [4]byte{0xd1, 'S', 'P', '1'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxMessage is the most that a call may take; a longer one is lost with
// [LostTooLarge].
const maxMessage = wire.MaxMessage

// LostTooLarge is the reason of calls that are too large for a message.
const LostTooLarge = schema.Lost + "too_large"

// appendFrame writes an account and the calls of a batch as a frame. It returns
// how many calls were too large, which the account then says.
func appendFrame(dst []byte, a *schema.Account, calls []schema.Call) ([]byte, uint64) {
	lost := uint64(0)
	var scratch []byte
	if len(calls) > 0 {
		scratch = make([]byte, 0, 1<<10)
	}
	start := len(dst)
	dst = append(dst, make([]byte, headerBytes)...)
	var body []byte
	for i := range calls {
		scratch = wire.AppendCall(scratch[:0], wire.Envelope{}, &calls[i])
		if len(scratch) > maxMessage {
			lost++
			continue
		}
		body = binary.AppendUvarint(body, uint64(len(scratch)))
		body = append(body, scratch...)
	}
	if lost > 0 {
		skipped := map[string]uint64{LostTooLarge: lost}
		for reason, n := range a.Skipped {
			skipped[reason] += n
		}
		own := *a
		own.Calls, own.Skipped = a.Calls-lost, skipped
		a = &own
	}
	scratch = wire.AppendAccount(scratch[:0], wire.Envelope{}, a)
	dst = binary.AppendUvarint(dst, uint64(len(scratch)))
	dst = append(append(dst, scratch...), body...)
	copy(dst[start:], magic[:])
	sealed := dst[start+headerBytes:]
	binary.LittleEndian.PutUint32(dst[start+4:], uint32(len(sealed)))
	binary.LittleEndian.PutUint32(dst[start+8:], crc32.Checksum(sealed, castagnoli))
	return dst, lost
}

// readFrame reads the first whole frame at or behind an offset into buf. Next is
// the offset behind it, 0 if no whole frame follows; damaged is how many bytes
// were passed over before it.
func readFrame(r io.ReaderAt, at, size int64, buf []byte) (body []byte, next, damaged int64, err error) {
	start := at
	for at+headerBytes <= size {
		var header [headerBytes]byte
		if _, err := r.ReadAt(header[:], at); err != nil && !errors.Is(err, io.EOF) {
			return buf, 0, 0, err
		}
		length := int64(binary.LittleEndian.Uint32(header[4:]))
		if [4]byte(header[:4]) == magic && length <= maxFrame && at+headerBytes+length <= size {
			if int64(cap(buf)) < length {
				buf = make([]byte, length)
			}
			buf = buf[:length]
			if _, err := r.ReadAt(buf, at+headerBytes); err != nil && !errors.Is(err, io.EOF) {
				return buf, 0, 0, err
			}
			if crc32.Checksum(buf, castagnoli) == binary.LittleEndian.Uint32(header[8:]) {
				return buf, at + headerBytes + length, at - start, nil
			}
		}
		if at, err = findMagic(r, at+1, size); err != nil || at < 0 {
			return buf, 0, 0, err
		}
	}
	return buf, 0, 0, nil
}

// findMagic returns the offset of the next frame's beginning, -1 if there is none.
func findMagic(r io.ReaderAt, at, size int64) (int64, error) {
	chunk := make([]byte, 64<<10)
	for at < size {
		n, err := r.ReadAt(chunk[:min(int64(len(chunk)), size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return -1, err
		}
		if i := bytes.Index(chunk[:n], magic[:]); i >= 0 {
			return at + int64(i), nil
		}
		if n < len(magic) {
			break
		}
		at += int64(n - len(magic) + 1)
	}
	return -1, nil
}

// errBody says that a frame's body is not what was written, though its checksum
// is right: another release wrote it.
var errBody = errors.New("a batch in the spool cannot be read by this release: use the one that wrote it until the spool is empty")

// decodeFrame makes a batch of a frame's body. It may be that the account holds
// fewer calls than the batch: those of an account alone were lost.
func decodeFrame(d *wire.Decoder, body []byte) (*schema.Batch, *schema.Account, error) {
	message, body, ok := cutMessage(body)
	if !ok {
		return nil, nil, errBody
	}
	_, a, err := d.Account(message)
	if err != nil {
		return nil, nil, errors.Join(errBody, err)
	}
	b := &schema.Batch{
		Input: a.Input, FirstUnit: a.FirstUnit, NextUnit: a.NextUnit, Skipped: a.Skipped, Done: a.Done,
		Calls: make([]schema.Call, 0, min(a.Calls, 1<<16)),
	}
	for len(body) > 0 {
		if message, body, ok = cutMessage(body); !ok {
			return nil, nil, errBody
		}
		b.Calls = append(b.Calls, schema.Call{})
		_, kind, err := d.Call(message, &b.Calls[len(b.Calls)-1])
		if err != nil || kind != wire.KindCall {
			return nil, nil, errors.Join(errBody, err)
		}
	}
	return b, a, nil
}

func cutMessage(body []byte) (message, rest []byte, ok bool) {
	length, n := binary.Uvarint(body)
	if n <= 0 || length > uint64(len(body)-n) {
		return nil, nil, false
	}
	return body[n : n+int(length)], body[n+int(length):], true
}
