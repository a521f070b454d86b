package pcap

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// What nobody well-behaved sends. Each capture is a few packets; what is wanted of
// each is that nothing certain is wrong, and that what was lost is counted.

// tcp is one segment of a connection between the same two, with its numbers in full.
type tcp struct {
	from     byte // 'c' or 's'
	seq, ack uint32
	flags    uint8
	text     string
	// urgent is what the urgent pointer says, after is added to the clock.
	urgent uint16
	after  time.Duration
}

func wired(segments []tcp) []byte {
	var frames []frame
	nanos := int64(1_700_000_000e9)
	for _, s := range segments {
		nanos += 1e6 + int64(s.after)
		spec := segmentSpec{addr4(1, 40000), addr4(2, 80), s.from == 'c', s.seq, s.ack, s.flags, []byte(s.text)}
		b := spec.ethernet()
		if s.urgent > 0 {
			at := transport(b)
			b[at+13] |= 0x20
			binary.BigEndian.PutUint16(b[at+18:], s.urgent)
		}
		frames = append(frames, frame{nanos, b})
	}
	return writePcap(linkEthernet, frames)
}

const (
	syn    = flagSYN
	synAck = flagSYN | flagACK
	finAck = flagFIN | flagACK
	ack    = flagACK
)

// opened is a handshake, with the first number of each side behind it.
func opened(client, server uint32) []tcp {
	return []tcp{{from: 'c', seq: client - 1, flags: syn}, {from: 's', seq: server - 1, ack: client, flags: synAck}, {from: 'c', seq: client, ack: server, flags: ack}}
}

// turnAt is a request and its answer at these numbers.
func turnAt(client, server uint32, q, a string) []tcp {
	return []tcp{{from: 'c', seq: client, ack: server, flags: ack, text: q}, {from: 's', seq: server, ack: client + uint32(len(q)), flags: ack, text: a}}
}

func join(parts ...[]tcp) (all []tcp) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func TestHostileSegments(t *testing.T) {
	n, m := uint32(ql), uint32(al)
	closed := func(c, s uint32) []tcp {
		return []tcp{{from: 'c', seq: c, ack: s, flags: finAck}, {from: 's', seq: s, ack: c + 1, flags: finAck}, {from: 'c', seq: c + 1, ack: s + 1, flags: ack}}
	}
	both := "GET a/1 201 0/4 complete\nGET a/2 202 0/4 complete"
	for _, c := range []struct {
		name     string
		segments []tcp
		want     string
		check    func(Stats) bool
	}{
		{"port used again, lower number, after the end",
			join(opened(9000, 500), turnAt(9000, 500, q1, a1), closed(9000+n, 500+m), opened(70, 30), turnAt(70, 30, q2, a2)), both,
			func(s Stats) bool { return s.Connections == 2 }},
		{"port used again, higher number, without an end",
			join(opened(70, 30), turnAt(70, 30, q1, a1), opened(9000, 500), turnAt(9000, 500, q2, a2)), both,
			func(s Stats) bool { return s.Connections == 2 }},
		{"port used again, lower number, while a request waits",
			join(opened(9000, 500), []tcp{{from: 'c', seq: 9000, ack: 500, flags: ack, text: q1}}, opened(70, 30), turnAt(70, 30, q2, a2)),
			"GET a/1 0 0/0 unanswered\nGET a/2 202 0/4 complete", nil},
		{"port used again, same number, after a reset",
			join(opened(70, 30), turnAt(70, 30, q1, a1), []tcp{{from: 'c', seq: 70 + n, ack: 30 + m, flags: flagRST}}, opened(70, 30), turnAt(70, 30, q2, a2)), both, nil},
		{"port used again by the other side",
			join(opened(70, 30), turnAt(70, 30, q1, a1), closed(70+n, 30+m),
				[]tcp{{from: 's', seq: 499, flags: syn}, {from: 'c', seq: 899, ack: 500, flags: synAck}, {from: 's', seq: 500, ack: 900, flags: ack}},
				[]tcp{{from: 's', seq: 500, ack: 900, flags: ack, text: q2}, {from: 'c', seq: 900, ack: 500 + n, flags: ack, text: a2}}), both, nil},
		{"port used again, the handshake was lost",
			join(opened(70, 30), []tcp{{from: 'c', seq: 70, ack: 30, flags: ack, text: q1}}, closed(70+n, 30),
				turnAt(5000, 7000, q2, a2), turnAt(5000+n, 7000+m, q3, a3)),
			"GET a/1 0 0/0 unanswered\n 10.0.0.2:80 202 0/0 orphan\nGET a/3 203 0/4 midstream", func(s Stats) bool { return s.Dropped[dropLate] == 1 }},
		{"opened by both at once", join([]tcp{{from: 's', seq: 29, flags: syn}, {from: 'c', seq: 69, flags: syn},
			{from: 's', seq: 29, ack: 70, flags: synAck}, {from: 'c', seq: 69, ack: 30, flags: synAck}}, turnAt(70, 30, q1, a1)),
			"GET a/1 201 0/4 complete", nil},
		{"data in the first segment", join([]tcp{{from: 'c', seq: 69, flags: syn, text: q1}, {from: 's', seq: 29, ack: 70 + n, flags: synAck},
			{from: 's', seq: 30, ack: 70 + n, flags: ack, text: a1}}, turnAt(70+n, 30+m, q2, a2)), both, nil},
		{"data in the first segment, refused and sent again", join([]tcp{{from: 'c', seq: 69, flags: syn, text: q1}, {from: 's', seq: 29, ack: 70, flags: synAck}},
			turnAt(70, 30, q1, a1)), "GET a/1 201 0/4 complete", nil},
		{"data in both first segments", []tcp{{from: 'c', seq: 69, flags: syn, text: q1}, {from: 's', seq: 29, ack: 70 + n, flags: synAck, text: a1}},
			"GET a/1 201 0/4 complete", nil},
		{"keep-alives with a byte that means nothing", join(opened(70, 30), turnAt(70, 30, q1, a1),
			[]tcp{{from: 'c', seq: 69 + n, ack: 30 + m, flags: ack, text: "\x00", after: time.Minute}, {from: 's', seq: 30 + m, ack: 70 + n, flags: ack},
				{from: 's', seq: 29 + m, ack: 70 + n, flags: ack, text: "x"}}, turnAt(70+n, 30+m, q2, a2)), both, nil},
		{"a probe of a closed window", join(opened(70, 30), []tcp{{from: 'c', seq: 70, ack: 30, flags: ack, text: q1[:9]}, {from: 'c', seq: 79, ack: 30, flags: ack, text: q1[9:10]},
			{from: 's', seq: 30, ack: 79, flags: ack}, {from: 'c', seq: 79, ack: 30, flags: ack, text: q1[9:10]}, {from: 'c', seq: 79, ack: 30, flags: ack, text: q1[9:]}},
			[]tcp{{from: 's', seq: 30, ack: 70 + n, flags: ack, text: a1}}), "GET a/1 201 0/4 complete", nil},
		{"an urgent byte, which many readers leave out", join(opened(70, 30),
			[]tcp{{from: 'c', seq: 70, ack: 30, flags: ack, text: "GET /secXret HTTP/1.1\r\nHost: a\r\n\r\n", urgent: 9}},
			[]tcp{{from: 's', seq: 30, ack: 70 + 34, flags: ack, text: a1}}, turnAt(70+34, 30+m, q2, a2)),
			"GET a/secret 201 0/4 gap\nGET a/2 202 0/4 gap", func(s Stats) bool { return s.Urgent == 1 }},
		{"reset in the middle, and a late segment", join(opened(70, 30), []tcp{{from: 'c', seq: 70, ack: 30, flags: ack, text: q1[:12]},
			{from: 's', seq: 30, ack: 82, flags: flagRST | ack}, {from: 'c', seq: 82, ack: 30, flags: ack, text: q1[12:]}, {from: 's', seq: 30, ack: 70 + n, flags: ack, text: a1}}),
			" 10.0.0.2:80 201 0/0 orphan", func(s Stats) bool { return s.Dropped[dropLate] == 1 && s.Dropped[dropTruncated] == 1 }},
		{"the end with data, then again without", join(opened(70, 30), []tcp{{from: 'c', seq: 70, ack: 30, flags: finAck, text: q1}, {from: 'c', seq: 70, ack: 30, flags: ack, text: q1},
			{from: 'c', seq: 70 + n, ack: 30, flags: finAck}, {from: 's', seq: 30, ack: 71 + n, flags: finAck, text: a1}}), "GET a/1 201 0/4 complete", nil},
		{"data behind the end", join(opened(70, 30), []tcp{{from: 'c', seq: 70, ack: 30, flags: finAck, text: q1}, {from: 'c', seq: 71 + n, ack: 30, flags: ack, text: q2},
			{from: 's', seq: 30, ack: 71 + n, flags: finAck, text: a1}}), "GET a/1 201 0/4 complete", func(s Stats) bool { return s.Dropped[dropLate] == 1 }},
		{"an end that was forged, and the true request behind it", join(opened(70, 30), []tcp{{from: 'c', seq: 70, ack: 30, flags: finAck, text: q1}, {from: 'c', seq: 70, ack: 30, flags: ack, text: q2},
			{from: 's', seq: 30, ack: 70 + n, flags: finAck, text: a1}}), "GET a/1 201 0/4 gap", func(s Stats) bool { return s.Conflicting == 1 }},
		{"the last byte again, and another", join(opened(70, 30), []tcp{{from: 'c', seq: 70, ack: 30, flags: ack, text: q1[:6]}, {from: 'c', seq: 75, ack: 30, flags: ack, text: "7"}, {from: 'c', seq: 76, ack: 30, flags: ack, text: q1[6:]},
			{from: 's', seq: 30, ack: 70 + n, flags: ack, text: a1}}), "GET a/1 201 0/4 gap", func(s Stats) bool { return s.Conflicting == 1 }},
		{"numbers that wrap inside of a head", join(opened(0xfffffff5, 0xfffffffe), turnAt(0xfffffff5, 0xfffffffe, q1, a1), turnAt(0xfffffff5+n, 0xfffffffe+m, q2, a2)), both, nil},
		{"an acknowledgement of what was never sent", join(opened(70, 30), []tcp{{from: 'c', seq: 70, ack: 900_000, flags: ack, text: q1}, {from: 's', seq: 30, ack: 70 + n, flags: ack, text: a1}},
			turnAt(70+n, 30+m, q2, a2)), " 10.0.0.2:80 201 0/0 orphan\n 10.0.0.2:80 202 0/0 orphan\nGET a/1 0 0/0 gap\nGET a/2 0 0/0 gap", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink, stats := read(t, Config{}, bytes.NewReader(wired(c.segments)))
			if got := lines(sink.calls); got != c.want {
				t.Errorf("got\n%s\nwant\n%s\n%+v", got, c.want, stats)
			}
			if c.check != nil && !c.check(stats) {
				t.Errorf("stats: %+v", stats)
			}
		})
	}
}

// TestOverlapsWithOtherBytes sends the same place twice with other bytes, in every
// way that segments may overlap: whichever the receiver took, no call that may be
// another is certain.
func TestOverlapsWithOtherBytes(t *testing.T) {
	const real, forged = "GET /1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer fake-one\r\n\r\n", "GET /9 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer fake-two\r\n\r\n"
	end := uint32(70 + len(real))
	part := func(text string, from, to int) tcp {
		return tcp{from: 'c', seq: 70 + uint32(from), ack: 30, flags: ack, text: text[from:to]}
	}
	all := len(real)
	for name, segments := range map[string][]tcp{
		"the whole, then the whole":        {part(real, 0, all), part(forged, 0, all)},
		"a part, then the whole":           {part(real, 0, 12), part(forged, 0, all)},
		"two parts, then the whole":        {part(real, 0, 30), part(real, 30, all), part(forged, 0, all)},
		"the whole, then its beginning":    {part(real, 0, all), part(forged, 0, 12)},
		"the whole, then its middle":       {part(real, 0, all), part(forged, 3, 40)},
		"the whole, then its end":          {part(real, 0, all), part(forged, 40, all)},
		"a part, then over its border":     {part(real, 0, 30), part(forged, 3, all)},
		"held, then the whole":             {part(real, 3, 30), part(forged, 0, all)},
		"held, then across its beginning":  {part(real, 20, all), part(forged, 0, 55)},
		"held, then around it":             {part(real, 45, 58), part(forged, 0, all)},
		"held, then inside it":             {part(real, 2, all), part(forged, 45, 60), part(real, 0, 2)},
		"the whole, then bytes one by one": ones(part(real, 0, all), forged, 70),
	} {
		t.Run(name, func(t *testing.T) {
			capture := join(opened(70, 30), segments, []tcp{{from: 's', seq: 30, ack: end, flags: ack, text: a1}})
			sink, stats := read(t, Config{}, bytes.NewReader(wired(capture)))
			if len(sink.calls) == 0 || stats.Conflicting == 0 {
				t.Errorf("%d calls; %+v", len(sink.calls), stats)
			}
			for i := range sink.calls {
				if c := &sink.calls[i]; c.Quality.Certain() {
					t.Errorf("%s is certain", line(c))
				}
			}
		})
	}
}

// ones sends a text byte by byte behind a segment.
func ones(first tcp, text string, seq uint32) []tcp {
	all := []tcp{first}
	for i := range text {
		all = append(all, tcp{from: 'c', seq: seq + uint32(i), ack: 30, flags: ack, text: text[i : i+1]})
	}
	return all
}

// TestSentAgainOtherwiseCut repeats what was sent in segments of other sizes, as
// senders do that put lost segments together: the bytes are the same, and nothing is
// in doubt.
func TestSentAgainOtherwiseCut(t *testing.T) {
	part := func(from, to int) tcp {
		return tcp{from: 'c', seq: 70 + uint32(from), ack: 30, flags: ack, text: q1[from:to]}
	}
	for name, segments := range map[string][]tcp{
		"together":     {part(0, 10), part(10, ql), part(0, ql)},
		"the tail":     {part(0, ql), part(10, ql)},
		"the middle":   {part(0, ql), part(5, 10)},
		"over borders": {part(0, 10), part(10, 20), part(20, ql), part(5, 25)},
		"more":         {part(0, 10), part(5, ql)},
	} {
		capture := join(opened(70, 30), segments, []tcp{{from: 's', seq: 30, ack: 70 + uint32(ql), flags: ack, text: a1}})
		sink, stats := read(t, Config{}, bytes.NewReader(wired(capture)))
		if got := lines(sink.calls); got != "GET a/1 201 0/4 complete" || stats.Conflicting > 0 {
			t.Errorf("%s: got\n%s\n%+v", name, got, stats)
		}
	}
}

// TestCredentialsStayInTheirConnection mixes connections of the same ports in
// different tunnels, and of one client: none borrows another's credential.
func TestCredentialsStayInTheirConnection(t *testing.T) {
	var all [][]frame
	for i := range 12 {
		q := "GET /1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer fake-" + string(rune('a'+i)) + "\r\n\r\n"
		if i%3 == 0 {
			q = q1 // shows none
		}
		frames := script{q, a1, q, a2}.frames(40)
		for k := range frames {
			inner := append([]byte{8, 0, 0, 0, 0, 0, byte(i), 0}, frames[k].data...)
			frames[k].data = append(append(make([]byte, 12), 8, 0), udp(4789, inner)...)
		}
		all = append(all, frames)
	}
	var mixed []frame
	for k := range all[0] {
		for i := range all {
			if k < len(all[i]) {
				mixed = append(mixed, all[i][k])
			}
		}
	}
	for i := range all {
		if n := len(all[0]); len(all[i]) > n {
			mixed = append(mixed, all[i][n:]...)
		}
	}
	sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, mixed)))
	ids := map[string]int{}
	for i := range sink.calls {
		c := &sink.calls[i]
		if !c.Quality.Certain() {
			t.Errorf("%s", line(c))
		}
		if c.Credential.Kind == schema.KindAnonymous {
			ids["none"]++
			continue
		}
		ids[c.Credential.ID]++
	}
	if len(sink.calls) != 24 || len(ids) != 9 || ids["none"] != 8 || stats.Connections != 12 {
		t.Errorf("%d calls in %d connections by %v", len(sink.calls), stats.Connections, ids)
	}
	for id, n := range ids {
		if id != "none" && n != 2 {
			t.Errorf("%s has %d calls", strings.TrimSpace(id), n)
		}
	}
}
