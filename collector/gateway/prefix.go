package gateway

import (
	"bytes"
	"time"
)

// prefix is what a container runtime, a syslog daemon or a tool wrote before the
// line itself.
type prefix struct {
	length int
	// micros is its time, 0 if it has none that can be used.
	micros int64
	// partial says that the line goes on in the next one (container runtimes cut
	// at 16 KiB); stream tells which of them.
	partial bool
	stream  byte
	cri     bool
	// syslog says that any program may have written the line.
	syslog bool
}

// linePrefix recognises what stands before a line's own text. modified is the
// input's last change, from which the year of a syslog time is taken.
func linePrefix(line []byte, modified time.Time) (prefix, bool) {
	if len(line) < 8 {
		return prefix{}, false
	}
	if p, ok := criPrefix(line); ok {
		return p, true
	}
	start := 0
	if line[0] == '<' {
		if close := bytes.IndexByte(line[:min(len(line), 6)], '>'); close > 1 {
			if _, ok := digits(line[1:close]); ok {
				start = close + 1
			}
		}
	}
	if p, ok := syslogPrefix(line[start:], modified, start > 0); ok {
		p.length += start
		return p, true
	}
	return composePrefix(line)
}

// criPrefix reads "2025-12-31T17:37:40.493035218+01:00 stdout F ".
func criPrefix(line []byte) (prefix, bool) {
	space := bytes.IndexByte(line[:min(len(line), 40)], ' ')
	if space < 20 || line[4] != '-' || line[10] != 'T' {
		return prefix{}, false
	}
	rest := line[space+1:]
	if len(rest) < 8 || !bytes.HasPrefix(rest, []byte("std")) || rest[6] != ' ' {
		return prefix{}, false
	}
	stream := rest[3] // of stdout and stderr
	tag, _, found := bytes.Cut(rest[7:], []byte(" "))
	if len(tag) == 0 || tag[0] != 'F' && tag[0] != 'P' {
		return prefix{}, false
	}
	micros, ok := parseISO(line[:space])
	if !ok {
		return prefix{}, false
	}
	length := space + 8 + len(tag)
	if found {
		length++
	}
	return prefix{length: length, micros: micros, partial: tag[0] == 'P', stream: stream, cri: true}, true
}

// syslogPrefix reads RFC 5424 and RFC 3164 headers, and rsyslog's form of the
// latter with a long time. marked says that a priority stood before it.
func syslogPrefix(line []byte, modified time.Time, marked bool) (prefix, bool) {
	if marked && bytes.HasPrefix(line, []byte("1 ")) {
		return syslog5424(line)
	}
	if len(line) > 16 && line[3] == ' ' && line[6] == ' ' && line[9] == ':' && line[12] == ':' {
		month := monthOf(line[:3])
		day, ok1 := digits(bytes.TrimLeft(line[4:6], " "))
		clock, ok2 := clockSeconds(line[7:15])
		if month == 0 || !ok1 || !ok2 || line[15] != ' ' {
			return prefix{}, false
		}
		// Without host and tag it is the daemon's own ("last message repeated").
		end, _ := hostAndTag(line[16:])
		return prefix{length: 16 + end, micros: yearlessMicros(month, day, clock, modified), syslog: true}, true
	}
	space := bytes.IndexByte(line[:min(len(line), 40)], ' ')
	if space < 19 {
		return prefix{}, false
	}
	if len(line) < 19 || line[4] != '-' || line[10] != 'T' {
		return prefix{}, false
	}
	micros, ok := parseISO(line[:space])
	if !ok {
		return prefix{}, false
	}
	rest := line[space+1:]
	if len(rest) > 0 && (rest[0] == '{' || rest[0] == '[') { // a tool's --timestamps
		return prefix{length: space + 1, micros: micros}, true
	}
	end, ok := hostAndTag(rest)
	return prefix{length: space + 1 + end, micros: micros, syslog: true}, ok
}

// syslog5424 reads "1 TIME HOST APP PID MSGID SD MSG".
func syslog5424(line []byte) (prefix, bool) {
	pos, micros := 2, int64(0)
	for word := range 5 {
		space := bytes.IndexByte(line[pos:], ' ')
		if space < 0 {
			return prefix{}, false
		}
		if word == 0 {
			if space >= 19 {
				micros, _ = parseISO(line[pos : pos+space])
			}
		}
		pos += space + 1
	}
	if pos < len(line) && line[pos] == '[' {
		quoted := false
		for ; pos < len(line); pos++ {
			switch c := line[pos]; {
			case c == '\\' && quoted:
				pos++
			case c == '"':
				quoted = !quoted
			case c == ']' && !quoted && (pos+1 == len(line) || line[pos+1] == ' '):
				return prefix{length: min(pos+2, len(line)), micros: micros, syslog: true}, true
			}
		}
		return prefix{}, false
	}
	if pos < len(line) && line[pos] == '-' {
		return prefix{length: min(pos+2, len(line)), micros: micros, syslog: true}, true
	}
	return prefix{}, false
}

// hostAndTag reads "host tag[pid]: " and returns its length.
func hostAndTag(b []byte) (int, bool) {
	host := bytes.IndexByte(b[:min(len(b), 256)], ' ')
	if host <= 0 {
		return 0, false
	}
	rest := b[host+1:]
	colon := bytes.IndexByte(rest[:min(len(rest), 80)], ':')
	if colon <= 0 || bytes.ContainsAny(rest[:colon], ` "{}`) {
		return 0, false
	}
	end := host + 1 + colon + 1
	if end < len(b) && b[end] != ' ' {
		return 0, false
	}
	return min(end+1, len(b)), true
}

// yearlessMicros gives a syslog time the latest year that does not put it more
// than a day behind the input's last change.
func yearlessMicros(month, day, clock int, modified time.Time) int64 {
	if modified.IsZero() {
		return 0
	}
	limit := modified.Add(24 * time.Hour).UnixMicro()
	for year := modified.UTC().Year() + 1; year > modified.UTC().Year()-2; year-- {
		seconds, ok := civilSeconds(year, month, day)
		if micros := (seconds + int64(clock)) * 1e6; ok && micros <= limit {
			return micros
		}
	}
	return 0
}

// composePrefix reads "gateway-1  | ", as container tools print it.
func composePrefix(line []byte) (prefix, bool) {
	bar := bytes.Index(line[:min(len(line), 80)], []byte(" | "))
	if bar <= 0 || bytes.ContainsAny(bytes.TrimRight(line[:bar], " "), ` "[]{}:`) {
		return prefix{}, false
	}
	return prefix{length: bar + 3}, true
}
