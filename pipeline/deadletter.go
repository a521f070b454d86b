package pipeline

import (
	"context"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/kafka"
)

// DeadLetters takes what is said of messages that cannot be read. Put returns
// when the letters are kept; it may be called for a letter again, and from
// several goroutines.
type DeadLetters interface {
	Put(ctx context.Context, letters ...kafka.DeadLetter) error
}

// ReasonTime is the reason of a call whose time the store cannot hold: before
// 1970, or 2106 and later.
const ReasonTime = "impossible_time"

// mostLetters bounds the letters of one batch: a flood of them makes more
// batches, not larger ones.
const mostLetters = 4096

// bury says of a message what may be said of it. Its bytes were never redacted
// for certain, so they go nowhere.
func (l *lane) bury(offset int64, value []byte, reason string, now time.Time) {
	l.batch.dead[reason]++
	letter := kafka.DeadLetter{
		Topic: l.topic, Partition: l.partition, Offset: offset,
		Length: len(value), Reason: reason, Shape: shape(value), Time: now.UTC(),
	}
	if l.in.cfg.Digest != nil {
		sum := l.in.cfg.Digest(value)
		letter.Digest = hex.EncodeToString(sum[:])
	}
	l.batch.letters = append(l.batch.letters, letter)
}

// shapeBytes is how much of a message its shape tells of.
const shapeBytes = 96

// shape writes the kinds of the first bytes, each with the length of its run: a
// letters, d digits, s spaces, p other printable ASCII, c control bytes, x the
// rest. So "token=abc1" is a5p1a3d1.
func shape(value []byte) string {
	value = value[:min(len(value), shapeBytes)]
	var out []byte
	for i := 0; i < len(value); {
		kind, j := kindOf(value[i]), i+1
		for j < len(value) && kindOf(value[j]) == kind {
			j++
		}
		out = strconv.AppendInt(append(out, kind), int64(j-i), 10)
		i = j
	}
	return string(out)
}

func kindOf(b byte) byte {
	switch {
	case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z':
		return 'a'
	case b >= '0' && b <= '9':
		return 'd'
	case b == ' ', b == '\t', b == '\n', b == '\r':
		return 's'
	case b < ' ', b == 0x7f:
		return 'c'
	case b < 0x80:
		return 'p'
	}
	return 'x'
}
