package pcap

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// grePacket is an IP packet with GRE of a protocol; options stand behind its head.
func grePacket(flags byte, protocol uint16, options, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{flags, 0}, protocol)
	return ipProto(47, slices.Concat(b, options, payload))
}

// TestMoreTunnels reads a call in every tunnel and behind every tag that mirrors and
// networks of carriers and clusters put before packets.
func TestMoreTunnels(t *testing.T) {
	eth := func(etherType uint16, rest ...[]byte) []byte {
		return slices.Concat(make([]byte, 12), binary.BigEndian.AppendUint16(nil, etherType), slices.Concat(rest...))
	}
	inner := func(ip []byte) []byte { return append(append(make([]byte, 12), etherType(ip)...), ip...) }
	ppp := func(ip []byte) []byte {
		if ip[0]>>4 == 6 {
			return append([]byte{0, 0x57}, ip...)
		}
		return append([]byte{0, 0x21}, ip...)
	}
	gtp := func(flags byte, options, ip []byte) []byte {
		b := binary.BigEndian.AppendUint16([]byte{flags, 255}, uint16(len(options)+len(ip)))
		return slices.Concat(b, []byte{0, 0, 0, 7}, options, ip)
	}
	for name, in := range map[string]func(ip []byte) []byte{
		"pppoe":            func(ip []byte) []byte { return eth(0x8864, []byte{0x11, 0, 0, 9, 0, 0}, ppp(ip)) },
		"pppoe in a vlan":  func(ip []byte) []byte { return eth(0x8100, []byte{0, 5, 0x88, 0x64, 0x11, 0, 0, 9, 0, 0}, ppp(ip)) },
		"vlan before 1ad":  func(ip []byte) []byte { return eth(0x9100, []byte{0, 5}, etherType(ip), ip) },
		"vntag":            func(ip []byte) []byte { return eth(0x8926, []byte{0, 0, 0, 1}, etherType(ip), ip) },
		"backbone bridges": func(ip []byte) []byte { return eth(0x88e7, []byte{0, 0, 0, 1}, inner(ip)) },
		"nsh":              func(ip []byte) []byte { return eth(0x894f, []byte{0, 2, 2, 3, 0, 0, 1, 255}, inner(ip)) },
		"nsh with context": func(ip []byte) []byte {
			return eth(0x894f, []byte{0, 6, 1, 3, 0, 0, 1, 255}, make([]byte, 16), inner(ip))
		},
		"pptp": func(ip []byte) []byte {
			return eth(0x800, grePacket(0, 0x880b, nil, append([]byte{0xff, 3}, ppp(ip)...)))
		},
		"erspan 1": func(ip []byte) []byte { return eth(0x800, grePacket(0, 0x88be, nil, inner(ip))) },
		"erspan 2": func(ip []byte) []byte {
			return eth(0x800, grePacket(0x10, 0x88be, []byte{0, 0, 0, 1}, append([]byte{0x10, 5, 0, 1, 0, 0, 0, 0}, inner(ip)...)))
		},
		"erspan 3": func(ip []byte) []byte {
			return eth(0x800, grePacket(0x10, 0x22eb, []byte{0, 0, 0, 1}, append([]byte{0x20, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, inner(ip)...)))
		},
		"erspan 3 of a platform": func(ip []byte) []byte {
			return eth(0x800, grePacket(0x10, 0x22eb, []byte{0, 0, 0, 1}, append([]byte{0x20, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8}, inner(ip)...)))
		},
		"vxlan of a cluster": func(ip []byte) []byte {
			return eth(0x800, udp(8472, append([]byte{8, 0, 0, 0, 0, 0, 5, 0}, inner(ip)...)))
		},
		"vxlan-gpe": func(ip []byte) []byte {
			return eth(0x800, udp(4790, append([]byte{0x0c, 0, 0, 1 + ip[0]>>6*0 + (ip[0]>>4-4)/2, 0, 0, 5, 0}, ip...)))
		},
		"gtp":               func(ip []byte) []byte { return eth(0x800, udp(2152, gtp(0x30, nil, ip))) },
		"gtp with a number": func(ip []byte) []byte { return eth(0x800, udp(2152, gtp(0x32, []byte{0, 9, 0, 0}, ip))) },
		"gtp of 5g": func(ip []byte) []byte {
			return eth(0x800, udp(2152, gtp(0x34, []byte{0, 0, 0, 0x85, 1, 0, 9, 0}, ip)))
		},
		"l2tp": func(ip []byte) []byte {
			return eth(0x800, udp(1701, append([]byte{0x40, 2, 0, 9, 0, 1, 0, 2}, append([]byte{0xff, 3}, ppp(ip)...)...)))
		},
		"l2tp with all": func(ip []byte) []byte {
			return eth(0x800, udp(1701, append([]byte{0x4a, 2, 0, 9, 0, 1, 0, 2, 0, 0, 0, 0, 0, 2, 1, 1}, ppp(ip)...)))
		},
		"tzsp": func(ip []byte) []byte {
			return eth(0x800, udp(37008, append([]byte{1, 0, 0, 1, 10, 1, 7, 0, 1}, inner(ip)...)))
		},
		"mpls over udp": func(ip []byte) []byte { return eth(0x800, udp(6635, append([]byte{0, 2, 0x21, 64}, ip...))) },
		"mpls in ip":    func(ip []byte) []byte { return eth(0x800, ipProto(137, append([]byte{0, 2, 0x21, 64}, ip...))) },
		"authentication": func(ip []byte) []byte {
			return eth(0x800, ipProto(51, append([]byte{4 + 37*(ip[0]>>4-4)/2, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, ip...)))
		},
		"etherip": func(ip []byte) []byte { return eth(0x800, ipProto(97, append([]byte{0x30, 0}, inner(ip)...))) },
	} {
		for _, v6 := range []bool{false, true} {
			frames := wrap(oneCall(v6), func([]byte) []byte { return nil })
			for i := range frames {
				frames[i].data = in(frames[i].data)
			}
			sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
			if got, want := lines(sink.calls), "GET a/1 201 0/4 complete"; got != want {
				t.Errorf("%s, v6 %v: got %q, want %q; %+v", name, v6, got, want, stats)
			}
			// Whatever is cut off, nothing fails.
			d := newDecoder()
			for n := range frames[2].data {
				var p packet
				rec := record{data: frames[2].data[:n], link: linkEthernet, wire: len(frames[2].data)}
				if reason := d.decode(&rec, &p); reason == reasonPanic {
					t.Errorf("%s cut at %d: a panic", name, n)
				}
			}
		}
	}
}

// TestMoreLinks reads a call of the link types that systems have besides.
func TestMoreLinks(t *testing.T) {
	for name, c := range map[string]struct {
		link linkType
		head []byte
	}{
		"pppoe":         {linkPPPEther, []byte{0x11, 0, 0, 9, 0, 0, 0, 0x21}},
		"ppp, outgoing": {linkPPPDir, []byte{1, 0xff, 3, 0, 0x21}},
		"cisco":         {linkHDLC, []byte{0x0f, 0, 8, 0}},
		"cisco as ppp":  {linkPPPSerial, []byte{0x8f, 0, 8, 0}},
		"packet filter": {linkPFLog, append([]byte{61, 2, 0, 0}, make([]byte, 60)...)},
		"enc":           {linkEnc, append([]byte{2, 0, 0, 0}, make([]byte, 8)...)},
		"zones":         {linkIPNet, make([]byte, 24)},
		"mpls":          {linkMPLS, []byte{0, 2, 0x21, 64}},
		"preamble":      {linkMPacket, append(make([]byte, 8+12), 8, 0)},
		"atm":           {linkLLCSNAP, []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}},
		"pktap":         {linkPKTAP, slices.Concat([]byte{108, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}, make([]byte, 96), make([]byte, 12), []byte{8, 0})},
		"pktap, raw":    {linkPKTAPOld, slices.Concat([]byte{108, 0, 0, 0, 1, 0, 0, 0, 12, 0, 0, 0}, make([]byte, 96))},
		"ppi":           {linkPPI, slices.Concat([]byte{0, 0, 8, 0, 105, 0, 0, 0, 0x08, 1}, make([]byte, 22), []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0})},
		"prism":         {linkPrism, slices.Concat([]byte{0x44, 0, 0, 0, 144, 0, 0, 0}, make([]byte, 136), []byte{0x08, 1}, make([]byte, 22), []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0})},
		"avs":           {linkAVS, slices.Concat([]byte{0x80, 0x21, 0x10, 1, 0, 0, 0, 64}, make([]byte, 56), []byte{0x08, 1}, make([]byte, 22), []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0})},
	} {
		frames := wrap(oneCall(false), func([]byte) []byte { return slices.Clone(c.head) })
		sink, stats := read(t, Config{}, bytes.NewReader(writePcap(c.link, frames)))
		if got, want := lines(sink.calls), "GET a/1 201 0/4 complete"; got != want {
			t.Errorf("%s: got %q, want %q; %+v", name, got, want, stats)
		}
		d := newDecoder()
		for n := range frames[2].data {
			var p packet
			if reason := d.decode(&record{data: frames[2].data[:n], link: c.link, wire: len(frames[2].data)}, &p); reason == reasonPanic {
				t.Errorf("%s cut at %d: a panic", name, n)
			}
		}
		for n := range 40 {
			if d.decode(&record{data: bytes.Repeat([]byte{byte(n * 7)}, n), link: c.link, wire: n}, &packet{}) == reasonPanic {
				t.Errorf("%s of %d bytes: a panic", name, n)
			}
		}
	}
}

// TestOptionsThatMakeNoSense: a receiver passes over TCP options that make no sense,
// and takes the segment (RFC 9293 §3.1); a reader that does not sees nothing of one who
// sends them.
func TestOptionsThatMakeNoSense(t *testing.T) {
	for _, options := range [][]byte{{2, 0, 0, 0}, {8, 1, 1, 1}, {8, 40, 1, 1}, {254, 255, 0, 0}, {0, 8, 8, 8}, {1, 1, 1, 5}} {
		ips := oneCall(false)
		for i, ip := range ips {
			ip = slices.Concat(ip[:40], options, ip[40:])
			ip[32] = 6 << 4
			binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
			ips[i] = ip
		}
		sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkRaw, wrap(ips, func([]byte) []byte { return nil }))))
		if got := lines(sink.calls); got != "GET a/1 201 0/4 complete" {
			t.Errorf("options %v: got %q, %+v", options, got, stats)
		}
	}
}

// TestLengthsThatLie claims that packets are longer than the wire carried: a receiver
// refuses those, so nothing of them is certain, and nothing passes by for what they
// claim to have held.
func TestLengthsThatLie(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		client, server := addr4(1, 40000), addr4(2, 80)
		if v6 {
			client, server = addr6(1, 40000), addr6(2, 80)
		}
		forged := segmentSpec{client, server, true, 11, 91, flagACK, []byte(q1)}
		lie := forged.ip()
		ips := oneCall(v6)
		if v6 {
			binary.BigEndian.PutUint16(lie[4:], 60_000)
		} else {
			binary.BigEndian.PutUint16(lie[2:], 60_000)
		}
		ips[2] = lie
		file := honest(linkRaw, ips)
		sink, stats := read(t, Config{}, bytes.NewReader(file))
		for i := range sink.calls {
			if sink.calls[i].Quality.Certain() {
				t.Errorf("v6 %v: %s is certain", v6, line(&sink.calls[i]))
			}
		}
		if stats.Dropped[dropLength] == 0 {
			t.Errorf("v6 %v: nothing was counted: %+v", v6, stats)
		}
	}
	// A jumbogram of four gigabytes.
	ips := oneCall(true)
	ip := extended(ips[2], []byte{0, 0, 0, 0xc2, 4, 0xff, 0xff, 0xff, 0xf0})
	binary.BigEndian.PutUint16(ip[4:], 0)
	ips = slices.Insert(ips, 2, ip)
	sink, stats := read(t, Config{}, bytes.NewReader(honest(linkRaw, ips)))
	if got := lines(sink.calls); got != "GET a/1 201 0/4 complete" || stats.Skipped[reasonMalformed] != 1 {
		t.Errorf("got %q, %+v", got, stats)
	}
	// Bytes that fill up a short frame are no payload.
	frames := wrap(oneCall(false), func([]byte) []byte { return append(make([]byte, 12), 8, 0) })
	for i := range frames {
		frames[i].data = append(frames[i].data, make([]byte, max(0, 60-len(frames[i].data))+4)...)
	}
	sink, stats = read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
	if got := lines(sink.calls); got != "GET a/1 201 0/4 complete" || stats.StreamBytes != uint64(ql+al) {
		t.Errorf("got %q, %+v", got, stats)
	}
}

// honest writes packets that say of themselves what they like, with the length that
// the wire had.
func honest(link linkType, packets [][]byte) []byte {
	b := writePcap(link, nil)
	for i, p := range packets {
		b = binary.LittleEndian.AppendUint32(b, 1_700_000_000)
		b = binary.LittleEndian.AppendUint32(b, uint32(1000*i))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p)))
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	return b
}

// TestFragmentsThatWereCut snaps the parts of a datagram: what is there of it is read,
// and what is missing is missing, rather than taken for the end.
func TestFragmentsThatWereCut(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		client, server := addr4(1, 40000), addr4(2, 80)
		head := 20
		if v6 {
			client, server = addr6(1, 40000), addr6(2, 80)
			head = 48
		}
		body := strings.Repeat("x", 400)
		answer := segmentSpec{client, server, false, 91, 11 + uint32(ql), flagACK, []byte("HTTP/1.1 201 A\r\nContent-Length: 400\r\n\r\n" + body)}
		next := segmentSpec{client, server, true, 11 + uint32(ql), 91 + uint32(len(answer.payload)), flagACK, []byte(q2)}
		reply := segmentSpec{client, server, false, 91 + uint32(len(answer.payload)), 11 + 2*uint32(ql), flagACK, []byte(a2)}
		for _, cut := range []int{8, 16, 40, 100, 199} {
			for which := range 2 {
				parts := [][]byte{ipPart(answer.ip(), 0, 200, 7), ipPart(answer.ip(), 200, 999, 7)}
				parts[which] = parts[which][:max(head+60, len(parts[which])-cut)]
				ips := append(oneCall(v6)[:3], parts...)
				ips = append(ips, next.ip(), reply.ip())
				sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkRaw, wrap(ips, func([]byte) []byte { return nil }))))
				if got, want := lines(sink.calls), "GET a/1 201 0/400 complete\nGET a/2 202 0/4 complete"; got != want || stats.CutBytes == 0 || stats.Gaps == 0 {
					t.Errorf("v6 %v, part %d cut by %d: got %q; %+v", v6, which, cut, got, stats)
				}
			}
		}
	}
}

// TestFragmentsOfTwoDatagrams: half of a datagram is lost, and half of another under the
// same number comes later, which fits it. The two are not taken for one.
func TestFragmentsOfTwoDatagrams(t *testing.T) {
	client, server := addr4(1, 40000), addr4(2, 80)
	const real, other = "GET /1 HTTP/1.1\r\nHost: a\r\nX: 0123456\r\n\r\n", "GET /9 HTTP/1.1\r\nHost: b\r\nX: 0123456\r\n\r\n"
	spec := func(text string) []byte {
		s := segmentSpec{client, server, true, 11, 91, flagACK, []byte(text)}
		ip := s.ip()
		checksum(ip)
		return ip
	}
	for name, c := range map[string]struct {
		second []byte
		after  int64
		want   string
	}{
		"at once":                      {spec(real), 1e6, "GET a/1 201 0/4 complete"},
		"late, of the same":            {spec(real), 5e9, "GET a/1 201 0/4 complete"},
		"late, of another":             {spec(other), 5e9, " 10.0.0.2:80 201 0/0 orphan"},
		"too late":                     {spec(real), 40e9, " 10.0.0.2:80 201 0/0 orphan"},
		"the clock went back for long": {spec(real), -40e9, " 10.0.0.2:80 201 0/0 orphan"},
	} {
		ips := oneCall(false)
		ips = [][]byte{ips[0], ips[1], ipPart(spec(real), 0, 40, 7), ipPart(c.second, 40, 999, 7)}
		answer := segmentSpec{client, server, false, 91, 11 + uint32(len(real)), flagACK, []byte(a1)}
		ips = append(ips, answer.ip())
		frames := wrap(ips, func([]byte) []byte { return nil })
		for i := 3; i < len(frames); i++ {
			frames[i].nanos += c.after
		}
		sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkRaw, frames)))
		if got := lines(sink.calls); got != c.want || strings.Contains(c.want, "orphan") != (stats.Dropped[dropFragments] > 0) {
			t.Errorf("%s: got %q, want %q; %+v", name, got, c.want, stats)
		}
	}
}

// checksum gives a TCP segment over IPv4 its checksum.
func checksum(ip []byte) {
	sum := uint32(6 + len(ip) - 20)
	ip[36], ip[37] = 0, 0
	for i := 12; i < len(ip); i++ {
		sum += uint32(ip[i]) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[36:], ^uint16(sum))
}

// TestMACsecIsNotRemembered has a frame in clear text follow an encrypted one: what the
// decoder read before must not name it.
func TestMACsecIsNotRemembered(t *testing.T) {
	d, p := newDecoder(), packet{}
	sealed := append(make([]byte, 12), 0x88, 0xe5, 0, 0, 0, 0, 0, 0, 0, 0)
	arp := append(make([]byte, 14), 0x81, 0x00, 0, 5, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1)
	if reason := d.decode(&record{data: sealed, link: linkEthernet, wire: len(sealed)}, &p); reason != reasonMACsec {
		t.Errorf("an encrypted frame is %q", reason)
	}
	if reason := d.decode(&record{data: arp, link: linkSLL, wire: len(arp)}, &p); reason != reasonNotIP {
		t.Errorf("ARP in a VLAN behind it is %q", reason)
	}
}
