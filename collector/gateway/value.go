package gateway

import (
	"bytes"
	"math"
	"net/netip"
	"time"
	"unicode/utf8"
	"unsafe"
)

// parseTime reads a time as logs write it: RFC 3339 and its relatives (a space
// for the T, a comma before the fraction, no zone: then UTC), the common log
// format's 10/Oct/2000:13:55:36 -0700, or a number whose unit the preset says.
// The result is microseconds since 1970.
func parseTime(b []byte, unit int64) (int64, bool) {
	switch {
	case len(b) >= 19 && b[4] == '-' && b[7] == '-':
		return parseISO(b)
	case len(b) >= 20 && b[2] == '/' && b[6] == '/':
		return parseCLF(b)
	case unit != 0:
		ns, ok := parseDecimal(b, unit)
		return ns / 1000, ok && ns != 0
	}
	return 0, false
}

// parseISO reads 2006-01-02T15:04:05[.fraction][Z|±07:00].
func parseISO(b []byte) (int64, bool) {
	year, ok1 := digits(b[0:4])
	month, ok2 := digits(b[5:7])
	day, ok3 := digits(b[8:10])
	clock, ok4 := clockSeconds(b[11:19])
	if !ok1 || !ok2 || !ok3 || !ok4 || b[10] != 'T' && b[10] != 't' && b[10] != ' ' {
		return 0, false
	}
	rest := b[19:]
	micros := 0
	if len(rest) > 0 && (rest[0] == '.' || rest[0] == ',') {
		n, scale := 1, 100_000
		for n < len(rest) && rest[n]-'0' <= 9 {
			micros += int(rest[n]-'0') * scale
			scale /= 10
			n++
		}
		rest = rest[n:]
	}
	zone, ok := zoneSeconds(bytes.TrimLeft(rest, " "))
	seconds, ok5 := civilSeconds(year, month, day)
	return (seconds+int64(clock)-int64(zone))*1e6 + int64(micros), ok && ok5
}

// parseCLF reads 10/Oct/2000:13:55:36 -0700.
func parseCLF(b []byte) (int64, bool) {
	day, ok1 := digits(b[0:2])
	month := monthOf(b[3:6])
	year, ok2 := digits(b[7:11])
	clock, ok3 := clockSeconds(b[12:20])
	zone, ok4 := zoneSeconds(bytes.TrimLeft(b[20:], " "))
	seconds, ok5 := civilSeconds(year, month, day)
	return (seconds + int64(clock) - int64(zone)) * 1e6, ok1 && ok2 && ok3 && ok4 && ok5 && b[11] == ':'
}

// clockSeconds reads 15:04:05; a leap second is the second before it.
func clockSeconds(b []byte) (int, bool) {
	h, ok1 := digits(b[0:2])
	m, ok2 := digits(b[3:5])
	s, ok3 := digits(b[6:8])
	return h*3600 + m*60 + min(s, 59), ok1 && ok2 && ok3 && b[2] == ':' && b[5] == ':' && h < 24 && m < 60 && s < 61
}

// zoneSeconds reads Z, nothing, ±07:00 or ±0700.
func zoneSeconds(b []byte) (int, bool) {
	switch {
	case len(b) == 0, len(b) == 1 && b[0]|0x20 == 'z', string(b) == "UTC":
		return 0, true
	case len(b) == 6 && b[3] == ':':
		return zoneOf(b[0], b[1:3], b[4:6])
	case len(b) == 5:
		return zoneOf(b[0], b[1:3], b[3:5])
	case len(b) == 3:
		return zoneOf(b[0], b[1:3], []byte("00"))
	}
	return 0, false
}

func zoneOf(sign byte, hours, minutes []byte) (int, bool) {
	h, ok1 := digits(hours)
	m, ok2 := digits(minutes)
	if !ok1 || !ok2 || h > 18 || m > 59 {
		return 0, false
	}
	switch sign {
	case '+':
		return h*3600 + m*60, true
	case '-':
		return -h*3600 - m*60, true
	}
	return 0, false
}

// digits reads decimal digits and nothing else.
func digits(b []byte) (int, bool) {
	n := 0
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(b) > 0
}

// monthOf reads Jan to Dec, 0 for anything else.
func monthOf(b []byte) int {
	for i := 0; i < 36; i += 3 {
		if string(b) == "JanFebMarAprMayJunJulAugSepOctNovDec"[i:i+3] {
			return i/3 + 1
		}
	}
	return 0
}

// civilSeconds returns the Unix seconds of a day's begin.
func civilSeconds(year, month, day int) (int64, bool) {
	if month < 1 || month > 12 || day < 1 || day > 31 || year < 1970 || year > 2200 {
		return 0, false
	}
	y, m := int64(year), int64(month)
	if m <= 2 {
		y, m = y-1, m+12
	}
	days := 365*y + y/4 - y/100 + y/400 + (153*(m-3)+2)/5 + int64(day) - 1 - 719468
	return days * 86400, true
}

// parseDecimal reads a decimal number and multiplies it by unit. Where several
// stand in a list ("0.012, 0.013"), the first counts.
func parseDecimal(b []byte, unit int64) (int64, bool) {
	whole, i := int64(0), 0
	for i < len(b) && b[i]-'0' <= 9 {
		if whole > (math.MaxInt64-9)/10 {
			return 0, false
		}
		whole = whole*10 + int64(b[i]-'0')
		i++
	}
	if i == 0 || whole > math.MaxInt64/unit {
		return 0, false
	}
	result := whole * unit
	if i < len(b) && b[i] == '.' {
		scale := unit
		for i++; i < len(b) && b[i]-'0' <= 9; i++ {
			scale /= 10
			result += int64(b[i]-'0') * scale
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		return parseExponent(b, unit)
	}
	return result, result >= 0 && (i == len(b) || b[i] == ',' || b[i] == ' ')
}

// parseExponent reads a number in scientific notation, such as 1.6e+12.
func parseExponent(b []byte, unit int64) (int64, bool) {
	mantissa, digitsAfter, i := 0.0, 0, 0
	point := false
	for ; i < len(b) && (b[i]-'0' <= 9 || b[i] == '.' && !point); i++ {
		if b[i] == '.' {
			point = true
			continue
		}
		mantissa = mantissa*10 + float64(b[i]-'0')
		if point {
			digitsAfter++
		}
	}
	if i >= len(b) || b[i]|0x20 != 'e' {
		return 0, false
	}
	exponent := bytes.TrimPrefix(b[i+1:], []byte("+"))
	negative := len(exponent) > 0 && exponent[0] == '-'
	if negative {
		exponent = exponent[1:]
	}
	e, ok := digits(exponent)
	if !ok || len(exponent) > 3 {
		return 0, false
	}
	if negative {
		e = -e
	}
	f := mantissa * math.Pow10(e-digitsAfter) * float64(unit)
	if f < 0 || f >= math.MaxInt64 || math.IsNaN(f) {
		return 0, false
	}
	return int64(f), true
}

// parseCount reads a whole number; a fraction is cut off.
func parseCount(b []byte) (uint64, bool) {
	n, ok := parseDecimal(b, 1)
	return uint64(n), ok
}

// parseAddress reads an IP address, with or without port and brackets. Anything
// else (a socket's path, a host name) gives the zero address.
func parseAddress(b []byte) netip.Addr {
	if len(b) == 0 || len(b) > 64 {
		return netip.Addr{}
	}
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return netip.Addr{}
		}
		b = b[1:end]
	} else if colon := bytes.IndexByte(b, ':'); colon > 0 && bytes.IndexByte(b[colon+1:], ':') < 0 {
		b = b[:colon]
	}
	if a, ok := parseIPv4(b); ok {
		return a
	}
	// ParseAddr does not keep its argument, except as an IPv6 zone.
	if bytes.IndexByte(b, '%') >= 0 {
		b = b[:bytes.IndexByte(b, '%')]
	}
	if bytes.IndexByte(b, ':') < 0 {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(b), len(b)))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

// parseIPv4 reads a dotted quad.
func parseIPv4(b []byte) (netip.Addr, bool) {
	var quad [4]byte
	part, n, dots := 0, 0, 0
	for _, c := range b {
		switch {
		case c-'0' <= 9:
			part = part*10 + int(c-'0')
			if n++; n > 3 || part > 255 {
				return netip.Addr{}, false
			}
		case c == '.' && n > 0 && dots < 3:
			quad[dots] = byte(part)
			dots++
			part, n = 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	if dots != 3 || n == 0 {
		return netip.Addr{}, false
	}
	quad[3] = byte(part)
	return netip.AddrFrom4(quad), true
}

// forwardedClient finds the client in an x-forwarded-for list: from the right,
// skipping as many proxies as are trusted. peer is who sent the request to the
// proxy that logged it, and stands behind the list unless it is its last entry.
func forwardedClient(list []byte, peer netip.Addr, trusted int) netip.Addr {
	client, skipped := peer, 0
	if !peer.IsValid() {
		skipped = -1
	}
	last := true
	for len(list) > 0 && (skipped < trusted || !client.IsValid()) {
		var entry []byte
		if comma := bytes.LastIndexByte(list, ','); comma >= 0 {
			entry, list = list[comma+1:], list[:comma]
		} else {
			entry, list = list, nil
		}
		a := parseAddress(bytes.TrimSpace(entry))
		if !a.IsValid() {
			// "unknown" and worse: what stands further left was written by
			// whoever wrote this.
			break
		}
		if last && a == peer {
			last = false
			continue
		}
		last = false
		client = a
		skipped++
	}
	return client
}

// parseRequestLine splits METHOD target [protocol]; false where it is none. The
// target may contain spaces, as hostile requests have them.
func parseRequestLine(b []byte) (method, target []byte, ok bool) {
	space := bytes.IndexByte(b, ' ')
	if space < 0 || !validMethod(b[:space]) {
		return nil, nil, false
	}
	method, target = b[:space], b[space+1:]
	if last := bytes.LastIndexByte(target, ' '); last >= 0 && bytes.HasPrefix(target[last+1:], []byte("HTTP/")) {
		target = target[:last]
	}
	return method, target, validTarget(method, target)
}

// validMethod reports whether b can be an HTTP method as clients write it.
func validMethod(b []byte) bool {
	if len(b) < 3 || len(b) > 24 || b[0] < 'A' || b[0] > 'Z' {
		return false
	}
	for _, c := range b {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// validTarget reports whether b can be a request target (RFC 9112 §3.2).
func validTarget(method, b []byte) bool {
	switch {
	case len(b) == 0:
		return false
	case b[0] == '/', b[0] == '*' && len(b) == 1:
		return true
	case bytes.Contains(b, []byte("://")):
		return true
	case string(method) == "CONNECT":
		return true
	}
	return false
}

// validText returns text as valid UTF-8, allocating only where it is not.
func validText(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return bytes.ToValidUTF8(b, []byte("\uFFFD"))
}

// unixMicro is the time of microseconds since 1970, in UTC.
func unixMicro(us int64) time.Time { return time.UnixMicro(us).UTC() }
