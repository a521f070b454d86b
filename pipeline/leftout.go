package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// span is a half-open range of offsets.
type span struct{ first, next int64 }

// leftOut are the messages of a range whose calls were known already, ascending
// and apart from each other. They are a part of the plan: whoever repeats it
// knows other ids, and would fill the parts that are missing with other rows.
type leftOut []span

// mostSpans bounds what a plan names, so that it fits into the metadata of a
// commit: brokers take 4,096 bytes unless told otherwise, and a span is 19 at
// most.
const mostSpans = 200

// add notes an offset behind all others. It reports whether there was room: where
// there is none the copy has to be stored.
func (l *leftOut) add(offset int64) bool {
	if n := len(*l); n > 0 && (*l)[n-1].next == offset {
		(*l)[n-1].next++
		return true
	}
	if len(*l) == mostSpans {
		return false
	}
	*l = append(*l, span{offset, offset + 1})
	return true
}

// has reports whether an offset was left out.
func (l leftOut) has(offset int64) bool {
	i, found := slices.BinarySearchFunc(l, offset, func(s span, offset int64) int {
		switch {
		case s.next <= offset:
			return -1
		case s.first > offset:
			return 1
		}
		return 0
	})
	return found && i < len(l)
}

// text writes the spans as distances from the end of the one before, and lengths,
// in base 36.
func (l leftOut) text(first int64) string {
	var b strings.Builder
	for i, s := range l {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(s.first-first, 36) + "." + strconv.FormatInt(s.next-s.first, 36))
		first = s.next
	}
	return b.String()
}

// parseLeftOut reads what text wrote of the range.
func parseLeftOut(text string, first, next int64) (leftOut, error) {
	var l leftOut
	for part := range strings.SplitSeq(text, ",") {
		gap, length, _ := strings.Cut(part, ".")
		skip, err1 := strconv.ParseInt(gap, 36, 64)
		n, err2 := strconv.ParseInt(length, 36, 64)
		if err1 != nil || err2 != nil || skip < 0 || n < 1 || skip > next-first || n > next-first-skip || len(l) == mostSpans {
			return nil, fmt.Errorf("%w: it names messages outside its range", errPlan)
		}
		l = append(l, span{first + skip, first + skip + n})
		first += skip + n
	}
	return l, nil
}
