package pcap

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// extended puts extension headers between an IPv6 header and what it carries. Each is
// its number, and its bytes with a place for the next one's.
func extended(ip []byte, headers ...[]byte) []byte {
	out := bytes.Clone(ip[:40])
	next := &out[6]
	last := *next
	var rest []byte
	for _, h := range headers {
		*next = h[0]
		at := len(rest)
		rest = append(rest, h[1:]...)
		next = &rest[at]
	}
	*next = last
	rest = append(rest, ip[40:]...)
	binary.BigEndian.PutUint16(out[4:], uint16(len(rest)))
	return append(out, rest...)
}

func TestExtensionHeaders(t *testing.T) {
	hopByHop := []byte{0, 0, 0, 5, 2, 0, 0, 1, 0}                                                        // router alert
	routing := []byte{43, 0, 2, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16} // segments
	options := []byte{60, 0, 0, 1, 4, 0, 0, 0, 0}
	long := append([]byte{60, 0, 31, 1, 253}, make([]byte, 253-3)...)
	long = append(long, make([]byte, 257-len(long))...)
	for name, headers := range map[string][][]byte{
		"hop by hop": {hopByHop}, "routing": {routing}, "options": {options}, "all": {hopByHop, options, routing, options},
		"twenty": slices.Repeat([][]byte{options}, 20), "long": {long, long},
	} {
		for trailer := range 3 {
			ips := oneCall(true)
			for i := range ips {
				// Some taps put bytes of their own behind the packet.
				ips[i] = append(extended(ips[i], headers...), make([]byte, 4*trailer)...)
			}
			sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, wrap(ips, func(ip []byte) []byte { return append(make([]byte, 12), 0x86, 0xdd) }))))
			if got := lines(sink.calls); got != "GET a/1 201 0/4 complete" || stats.CutBytes > 0 || stats.Overlapping > 0 {
				t.Errorf("%s, trailer of %d: got %q, %+v", name, 4*trailer, got, stats)
			}
		}
	}
}

// TestHugePackets reads packets longer than their length field can say, as captures
// on a host hold them whose card cuts segments: jumbograms, and IPv4 without a length.
func TestHugePackets(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, size := range []int{100, 65_400, 70_000, 200_000} {
			client, server := addr4(1, 40000), addr4(2, 80)
			if v6 {
				if client, server = addr6(1, 40000), addr6(2, 80); size < 65_536 {
					continue // a jumbogram is longer than that
				}
			}
			answer := "HTTP/1.1 201 A\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n" + strings.Repeat("x", size)
			ips := oneCall(v6)[:3]
			last := segmentSpec{client, server, false, 91, 11 + uint32(ql), flagACK, []byte(answer)}
			ip := last.ip()
			if v6 {
				ip = extended(ip, []byte{0, 0, 0, 0xc2, 4, 0, 0, 0, 0})
				binary.BigEndian.PutUint32(ip[44:], uint32(len(ip)-40))
				binary.BigEndian.PutUint16(ip[4:], 0)
			} else {
				binary.BigEndian.PutUint16(ip[2:], 0)
			}
			ips = append(ips, ip)
			sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkRaw, wrap(ips, func([]byte) []byte { return nil }))))
			if got, want := lines(sink.calls), "GET a/1 201 0/"+strconv.Itoa(size)+" complete"; got != want || stats.Connections != 1 {
				t.Errorf("v6 %v, %d bytes: got %q, want %q; %+v", v6, size, got, want, stats)
			}
		}
	}
}

// TestTunnelsInTunnels reads a packet inside of up to 64 tunnels.
func TestTunnelsInTunnels(t *testing.T) {
	for _, depth := range []int{1, 3, 8, 30, 64} {
		frames := wrap(oneCall(false), func([]byte) []byte { return append(make([]byte, 12), 8, 0) })
		for i := range frames {
			for n := range depth {
				b := frames[i].data
				switch n % 4 {
				case 0:
					b = vxlanOf(b)
				case 1:
					b = geneveOf(b)
				case 2:
					b = greOf(b)
				case 3:
					b = vxlanOf(append(append(make([]byte, 12), 0x81, 0, 0, byte(n)), b[12:]...))
				}
				frames[i].data = append(append(make([]byte, 12), 8, 0), b...)
			}
		}
		sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
		if got := lines(sink.calls); got != "GET a/1 201 0/4 complete" {
			t.Errorf("%d tunnels: got %q, %+v", depth, got, stats)
		}
	}
}

// TestChecksumsAreNotBelieved reads packets with wrong ones: where the card makes them
// they are wrong in every capture on the host.
func TestChecksumsAreNotBelieved(t *testing.T) {
	ips := oneCall(false)
	for _, ip := range ips {
		ip[10], ip[11], ip[36], ip[37] = 0xde, 0xad, 0xbe, 0xef
	}
	sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkRaw, wrap(ips, func([]byte) []byte { return nil }))))
	if got := lines(sink.calls); got != "GET a/1 201 0/4 complete" {
		t.Errorf("got %q, %+v", got, stats)
	}
}

// TestFragmentsInConflict sends parts of a datagram that overlap, or that never make a
// whole: systems differ about which bytes they take (RFC 5722 has them take none).
func TestFragmentsInConflict(t *testing.T) {
	const real, forged = "GET /1 HTTP/1.1\r\nHost: a\r\nX: 0123456\r\n\r\n", "GET /9 HTTP/1.1\r\nHost: a\r\nX: 0123456\r\n\r\n"
	for _, v6 := range []bool{false, true} {
		client, server := addr4(1, 40000), addr4(2, 80)
		if v6 {
			client, server = addr6(1, 40000), addr6(2, 80)
		}
		segment := func(toServer bool, seq, ack uint32, flags uint8, text string) []byte {
			s := segmentSpec{client, server, toServer, seq, ack, flags, []byte(text)}
			return s.ip()
		}
		q, f := segment(true, 11, 91, flagACK, real), segment(true, 11, 91, flagACK, forged)
		again := segment(true, 11, 91, flagACK, real)
		for name, c := range map[string]struct {
			parts   [][]byte
			certain bool
		}{
			"in order":                    {[][]byte{ipPart(q, 0, 32, 7), ipPart(q, 32, 999, 7)}, true},
			"the same part twice":         {[][]byte{ipPart(q, 0, 32, 7), ipPart(q, 0, 32, 7), ipPart(q, 32, 999, 7)}, true},
			"the first part otherwise":    {[][]byte{ipPart(q, 0, 32, 7), ipPart(f, 0, 32, 7), ipPart(q, 32, 999, 7)}, false},
			"a part over two":             {[][]byte{ipPart(q, 0, 32, 7), ipPart(f, 24, 48, 7), ipPart(q, 32, 999, 7)}, false},
			"a longer part":               {[][]byte{ipPart(q, 0, 32, 7), ipPart(f, 0, 40, 7), ipPart(q, 32, 999, 7)}, false},
			"two ends":                    {[][]byte{ipPart(q, 0, 32, 7), ipPart(q[:len(q)-8], 40, 999, 7), ipPart(q, 32, 999, 7)}, false},
			"never whole":                 {[][]byte{ipPart(q, 0, 32, 7), ipPart(q, 40, 999, 7)}, false},
			"never whole, then sent anew": {[][]byte{ipPart(f, 0, 32, 7), ipPart(f, 40, 999, 7), ipPart(again, 0, 32, 8), ipPart(again, 32, 999, 8)}, true},
		} {
			ips := [][]byte{segment(true, 10, 0, flagSYN, ""), segment(false, 90, 11, flagSYN|flagACK, "")}
			ips = append(ips, c.parts...)
			ips = append(ips, segment(false, 91, 11+uint32(len(real)), flagACK, a1))
			sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkRaw, wrap(ips, func([]byte) []byte { return nil }))))
			certain := len(sink.calls) == 1 && sink.calls[0].Quality.Certain() && sink.calls[0].Path == "/1"
			if certain != c.certain {
				t.Errorf("v6 %v, %s: got\n%s\n%+v", v6, name, lines(sink.calls), stats)
			}
			if !certain && stats.Dropped[dropFragments] == 0 {
				t.Errorf("v6 %v, %s: nothing was counted: %+v", v6, name, stats)
			}
		}
	}
}

// ipPart returns a part of an IP packet's payload as a fragment.
func ipPart(ip []byte, from, to int, id byte) []byte {
	head := 20
	if ip[0]>>4 == 6 {
		head = 40
	}
	body := ip[head:]
	to = min(to, len(body))
	more := to < len(body)
	if head == 20 {
		b := append(bytes.Clone(ip[:20]), body[from:to]...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[5] = id
		field := uint16(from / 8)
		if more {
			field |= 0x2000
		}
		binary.BigEndian.PutUint16(b[6:], field)
		return b
	}
	b := append(bytes.Clone(ip[:40]), ip[6], 0)
	b[6] = 44
	field := uint16(from)
	if more {
		field |= 1
	}
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, field), uint32(id))
	b = append(b, body[from:to]...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

// TestFragmentsInTunnels: two networks with the same addresses and the same numbers
// on their datagrams, both cut into parts inside of their tunnels, are kept apart.
func TestFragmentsInTunnels(t *testing.T) {
	for name, in := range map[string]func(network byte, b []byte) []byte{
		"vxlan": func(network byte, b []byte) []byte {
			return udp(4789, append([]byte{8, 0, 0, 0, 0, 0, network, 0}, b...))
		},
		"geneve": func(network byte, b []byte) []byte {
			return udp(6081, append([]byte{0, 0, 0x65, 0x58, 0, 0, network, 0}, b...))
		},
		"gre": func(network byte, b []byte) []byte {
			return ipProto(47, append([]byte{0x20, 0, 0x65, 0x58, 0, 0, 0, network}, b...))
		},
	} {
		var frames []frame
		client, server := addr4(1, 40000), addr4(2, 80)
		for i, one := range []segmentSpec{
			{client, server, true, 10, 0, flagSYN, nil},
			{client, server, false, 90, 11, flagSYN | flagACK, nil},
			{client, server, true, 11, 91, flagACK, []byte(q1)},
			{client, server, false, 91, 11 + uint32(ql), flagACK, []byte(a1)},
		} {
			var parts [2][][]byte
			for network := range parts {
				spec := one
				if network == 1 {
					spec.payload = bytes.ReplaceAll(bytes.ReplaceAll(spec.payload, []byte("/1 "), []byte("/2 ")), []byte("201"), []byte("202"))
				}
				ip := spec.ip()
				binary.BigEndian.PutUint16(ip[4:], uint16(i+1))
				for at := 20; at < len(ip); at += 24 {
					end := min(at+24, len(ip))
					part := append(bytes.Clone(ip[:20]), ip[at:end]...)
					binary.BigEndian.PutUint16(part[2:], uint16(len(part)))
					field := uint16((at - 20) / 8)
					if end < len(ip) {
						field |= 0x2000
					}
					binary.BigEndian.PutUint16(part[6:], field)
					parts[network] = append(parts[network], part)
				}
			}
			for k := range parts[0] {
				for network := range parts {
					inner := append(append(make([]byte, 12), 8, 0), parts[network][k]...)
					frames = append(frames, frame{1_700_000_000e9 + int64(len(frames))*1e6, append(append(make([]byte, 12), 8, 0), in(byte(5+network), inner)...)})
				}
			}
		}
		sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
		if got := lines(sink.calls); got != "GET a/1 201 0/4 complete\nGET a/2 202 0/4 complete" {
			t.Errorf("%s: got\n%s\n%+v", name, got, stats)
		}
	}
}
