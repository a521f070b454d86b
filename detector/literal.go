package detector

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Statements are written with their values as literals: lists of some hundred
// keys are not what bound parameters are made for. Every observed string goes
// through literal, every other value is a number or a time.

// literal quotes a string for SQL, whatever bytes it holds: everything but
// letters, digits and harmless marks is written as \xHH.
func literal(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('\'')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte(" /:._-@|", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02X`, c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

const hexDigits = "0123456789ABCDEF"

// bytesLiteral writes bytes as a string literal.
func bytesLiteral(p []byte) string {
	out := make([]byte, 0, 4*len(p)+2)
	out = append(out, '\'')
	for _, c := range p {
		out = append(out, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
	}
	return string(append(out, '\''))
}

// hashList writes a list for IN; an empty one matches nothing.
func hashList(hashes []schema.PrincipalHash) string {
	if len(hashes) == 0 {
		return "('')"
	}
	parts := make([]string, len(hashes))
	for i := range hashes {
		parts[i] = bytesLiteral(hashes[i][:])
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// instant writes a time to the microsecond.
func instant(t time.Time) string {
	return fmt.Sprintf("fromUnixTimestamp64Micro(toInt64(%d), 'UTC')", t.UnixMicro())
}

// moment writes a time to the second.
func moment(t time.Time) string { return fmt.Sprintf("toDateTime(%d, 'UTC')", t.Unix()) }

func date(t time.Time) string { return "toDate('" + t.UTC().Format(time.DateOnly) + "')" }

func dateList(days []time.Time) string { return joined(days, date) }

func momentList(times []time.Time) string { return joined(times, moment) }

func joined(times []time.Time, write func(time.Time) string) string {
	parts := make([]string, len(times))
	for i, t := range times {
		parts[i] = write(t)
	}
	return strings.Join(parts, ", ")
}

// not writes that a column is in none of a list, nothing for an empty list.
func not(column, list string) string {
	if list == "" {
		return ""
	}
	return " AND " + column + " NOT IN (" + list + ")"
}

// within writes that a call's time lies in a window.
func within(w schema.Window) string {
	return " AND time >= " + instant(w.From) + " AND time < " + instant(w.To)
}

// address undoes how the store keeps an address: as IPv6, the unspecified one
// for none.
func address(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a == netip.IPv6Unspecified() {
		return netip.Addr{}
	}
	return a
}

// addressLiteral writes an address as the store keeps it; it undoes address.
func addressLiteral(a netip.Addr) string {
	stored := netip.IPv6Unspecified()
	if a.IsValid() {
		stored = netip.AddrFrom16(a.As16())
	}
	return "toIPv6(" + literal(stored.String()) + ")"
}

// packed writes that the values of the rows of a group, numbers of a fixed size, are
// handed over as one text, each row's after the other's and in no order: unpacking
// that takes a twentieth of the time that the driver takes for arrays.
func packed(columns ...string) string {
	for i := range columns {
		columns[i] = "reinterpretAsFixedString(" + columns[i] + ")"
	}
	return "arrayStringConcat(groupArray(concat(" + strings.Join(columns, ", ") + ")))"
}

// packedSet is packed for the different values of one column.
func packedSet(column string) string {
	return "arrayStringConcat(arrayMap(v -> reinterpretAsFixedString(v), groupUniqArray(" + column + ")))"
}
