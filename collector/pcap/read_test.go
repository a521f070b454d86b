package pcap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
)

// oneCall is a conversation of one call, as IP packets.
func oneCall(v6 bool) (ips [][]byte) {
	client, server := addr4(1, 40000), addr4(2, 80)
	if v6 {
		client, server = addr6(1, 40000), addr6(2, 80)
	}
	for _, s := range []segmentSpec{
		{client, server, true, 10, 0, flagSYN, nil},
		{client, server, false, 90, 11, flagSYN | flagACK, nil},
		{client, server, true, 11, 91, flagACK, []byte(q1)},
		{client, server, false, 91, 11 + uint32(ql), flagACK, []byte(a1)},
	} {
		ips = append(ips, s.ip())
	}
	return ips
}

func wrap(ips [][]byte, head func(ip []byte) []byte) (frames []frame) {
	for i, ip := range ips {
		frames = append(frames, frame{1_700_000_000e9 + int64(i)*1e6, append(head(ip), ip...)})
	}
	return frames
}

func etherType(ip []byte) []byte {
	if ip[0]>>4 == 6 {
		return []byte{0x86, 0xdd}
	}
	return []byte{0x08, 0x00}
}

// udp wraps a payload in IPv4 and UDP.
func udp(port uint16, payload []byte) []byte {
	h := make([]byte, 28, 28+len(payload))
	h[0], h[8], h[9], h[12], h[16] = 0x45, 64, 17, 10, 11
	binary.BigEndian.PutUint16(h[2:], uint16(28+len(payload)))
	binary.BigEndian.PutUint16(h[20:], 5555)
	binary.BigEndian.PutUint16(h[22:], port)
	binary.BigEndian.PutUint16(h[24:], uint16(8+len(payload)))
	return append(h, payload...)
}

func ipProto(proto byte, payload []byte) []byte {
	h := make([]byte, 20, 20+len(payload))
	h[0], h[8], h[9], h[12], h[16] = 0x45, 64, proto, 10, 11
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
	return append(h, payload...)
}

func TestLinksAndTunnels(t *testing.T) {
	ether := func(ip []byte) []byte { return append(make([]byte, 12), etherType(ip)...) }
	full := func(ip []byte) []byte { return append(ether(ip), ip...) }
	outer := append(make([]byte, 12), 0x08, 0x00)
	for _, c := range []struct {
		name string
		link linkType
		v6   bool
		// head returns what stands before the IP packet, whole replaces all.
		head  func(ip []byte) []byte
		whole func(ip []byte) []byte
	}{
		{name: "ethernet", link: linkEthernet, head: ether},
		{name: "ethernet v6", link: linkEthernet, v6: true, head: ether},
		{name: "vlan", link: linkEthernet, head: func(ip []byte) []byte {
			return append(append(make([]byte, 12), 0x81, 0, 0, 7), etherType(ip)...)
		}},
		{name: "qinq", link: linkEthernet, v6: true, head: func(ip []byte) []byte {
			return append(append(make([]byte, 12), 0x88, 0xa8, 0, 7, 0x81, 0, 0, 8), etherType(ip)...)
		}},
		{name: "raw", link: linkRaw, head: func([]byte) []byte { return nil }},
		{name: "raw v6", link: linkIPv6, v6: true, head: func([]byte) []byte { return nil }},
		{name: "null little-endian", link: linkNull, head: func([]byte) []byte { return []byte{2, 0, 0, 0} }},
		{name: "loop big-endian v6", link: linkLoop, v6: true, head: func([]byte) []byte { return []byte{0, 0, 0, 28} }},
		{name: "cooked", link: linkSLL, head: func(ip []byte) []byte {
			return append([]byte{0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0}, etherType(ip)...)
		}},
		{name: "cooked 2", link: linkSLL2, v6: true, head: func(ip []byte) []byte { return append(etherType(ip), make([]byte, 18)...) }},
		{name: "ppp", link: linkPPP, head: func([]byte) []byte { return []byte{0, 0x21} }},
		{name: "ppp framed v6", link: linkPPPSerial, v6: true, head: func([]byte) []byte { return []byte{0xff, 3, 0, 0x57} }},
		{name: "nflog", link: linkNFLog, head: func(ip []byte) []byte {
			b := []byte{2, 0, 0, 0, 5, 0, 1, 0, 'x', 0, 0, 0}
			b = binary.LittleEndian.AppendUint16(b, uint16(4+len(ip)))
			return append(b, 9, 0)
		}},
		{name: "wireless", link: linkRadiotap, head: func(ip []byte) []byte {
			b := append([]byte{0, 0, 8, 0, 0, 0, 0, 0, 0x88, 0x01}, make([]byte, 24)...) // QoS data
			return append(append(b, 0xaa, 0xaa, 3, 0, 0, 0), etherType(ip)...)
		}},
		{name: "vxlan", link: linkEthernet, whole: func(ip []byte) []byte {
			return append(bytes.Clone(outer), udp(4789, append([]byte{8, 0, 0, 0, 0, 0, 5, 0}, full(ip)...))...)
		}},
		{name: "geneve with options", link: linkEthernet, whole: func(ip []byte) []byte {
			head := []byte{1, 0, 0x65, 0x58, 0, 0, 5, 0, 1, 1, 1, 0}
			return append(bytes.Clone(outer), udp(6081, append(head, full(ip)...))...)
		}},
		{name: "gre v6", link: linkEthernet, v6: true, whole: func(ip []byte) []byte {
			return append(bytes.Clone(outer), ipProto(47, append(append([]byte{0x20, 0}, etherType(ip)...), append([]byte{0, 0, 0, 9}, ip...)...))...)
		}},
		{name: "ip in ip", link: linkRaw, whole: func(ip []byte) []byte { return ipProto(4, ip) }},
		{name: "6in4", link: linkRaw, v6: true, whole: func(ip []byte) []byte { return ipProto(41, ip) }},
		{name: "ipsec is not read but counted", link: linkRaw, whole: func(ip []byte) []byte { return ipProto(50, ip) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			frames := wrap(oneCall(c.v6), func([]byte) []byte { return nil })
			for i := range frames {
				if c.whole != nil {
					frames[i].data = c.whole(frames[i].data)
				} else {
					frames[i].data = append(c.head(frames[i].data), frames[i].data...)
				}
			}
			sink, stats := read(t, Config{}, bytes.NewReader(writePcap(c.link, frames)))
			if strings.Contains(c.name, "not read") {
				if stats.Skipped[reasonIPsec] != 4 {
					t.Errorf("skipped %v", stats.Skipped)
				}
				return
			}
			if got, want := lines(sink.calls), "GET a/1 201 0/4 complete"; got != want {
				t.Errorf("got %q, want %q; %+v", got, want, stats)
			}
			if stats.Links[c.link.String()] != 4 {
				t.Errorf("links %v", stats.Links)
			}
		})
	}
}

func TestFragments(t *testing.T) {
	var ips [][]byte
	for _, ip := range oneCall(false) {
		payload := ip[20:]
		if len(payload) <= 24 {
			ips = append(ips, ip)
			continue
		}
		var parts [][]byte
		for at := 0; at < len(payload); at += 24 {
			end := min(at+24, len(payload))
			p := append(bytes.Clone(ip[:20]), payload[at:end]...)
			binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
			binary.BigEndian.PutUint16(p[4:], uint16(len(ips)))
			field := uint16(at / 8)
			if end < len(payload) {
				field |= 0x2000
			}
			binary.BigEndian.PutUint16(p[6:], field)
			parts = append(parts, p)
		}
		parts[0], parts[1] = parts[1], parts[0] // out of order
		ips = append(ips, parts...)
	}
	sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkRaw, wrap(ips, func([]byte) []byte { return nil }))))
	if got, want := lines(sink.calls), "GET a/1 201 0/4 complete"; got != want {
		t.Errorf("got %q, want %q; %+v", got, want, stats)
	}
	ips = ips[:len(ips)-1]
	sink, stats = read(t, Config{}, bytes.NewReader(writePcap(linkRaw, wrap(ips, func([]byte) []byte { return nil }))))
	told := uint64(0)
	for _, b := range sink.batches {
		told += b.Skipped[lostParts]
	}
	if n := stats.Dropped[dropFragments]; n == 0 || told != n {
		t.Errorf("lost parts were not counted, or %d of them told: %+v", told, stats)
	}
}

// ngBlock is a pcapng block in the given byte order.
func ngBlock(order binary.AppendByteOrder, kind uint32, body []byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	b := order.AppendUint32(nil, kind)
	b = order.AppendUint32(b, uint32(len(body)+12))
	b = append(b, body...)
	return order.AppendUint32(b, uint32(len(body)+12))
}

// ngFile writes the packets of one call with two interfaces of different link
// types and resolutions, among blocks to pass over.
func ngFile(order binary.AppendByteOrder) []byte {
	section := order.AppendUint32(nil, magicSection)
	section = append(order.AppendUint16(order.AppendUint16(section, 1), 0), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	file := ngBlock(order, magicNg, section)
	iface := func(link uint16, options ...byte) []byte {
		b := order.AppendUint16(order.AppendUint16(nil, link), 0)
		b = order.AppendUint32(b, 0)
		return append(b, options...)
	}
	option := func(code uint16, value ...byte) []byte {
		b := order.AppendUint16(order.AppendUint16(nil, code), uint16(len(value)))
		b = append(b, value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		return b
	}
	file = append(file, ngBlock(order, blockInterface, iface(uint16(linkRaw), append(option(9, 9), option(0)...)...))...)
	offset := order.AppendUint64(nil, 1_600_000_000)
	file = append(file, ngBlock(order, blockInterface, iface(uint16(linkEthernet), append(option(9, 0x80|10), option(14, offset...)...)...))...)
	file = append(file, ngBlock(order, 5, make([]byte, 16))...) // statistics
	for i, ip := range oneCall(false) {
		id, stamp, data := uint32(0), uint64(1_700_000_000e9)+uint64(i)*1e6, ip
		if i%2 == 1 {
			id, stamp = 1, uint64(100_000_000*1024)+uint64(i)
			data = append(append(make([]byte, 12), 0x08, 0x00), ip...)
		}
		b := order.AppendUint32(nil, id)
		b = order.AppendUint32(order.AppendUint32(b, uint32(stamp>>32)), uint32(stamp))
		b = order.AppendUint32(order.AppendUint32(b, uint32(len(data))), uint32(len(data)))
		file = append(file, ngBlock(order, blockPacket, append(b, data...))...)
	}
	return file
}

func TestFileFormats(t *testing.T) {
	little := writePcap(linkRaw, wrap(oneCall(false), func([]byte) []byte { return nil }))
	big := bytes.Clone(little)
	swap := func(b []byte) { b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0] }
	for _, at := range []int{0, 16, 20} {
		swap(big[at:])
	}
	for at := 24; at < len(big); {
		n := int(binary.LittleEndian.Uint32(big[at+8:]))
		for i := range 4 {
			swap(big[at+4*i:])
		}
		at += 16 + n
	}
	nano := bytes.Clone(little)
	binary.LittleEndian.PutUint32(nano, magicNanos)
	for at := 24; at < len(nano); {
		micros := binary.LittleEndian.Uint32(nano[at+4:])
		binary.LittleEndian.PutUint32(nano[at+4:], micros*1000)
		at += 16 + int(binary.LittleEndian.Uint32(nano[at+8:]))
	}
	two := append(ngFile(binary.LittleEndian), ngFile(binary.BigEndian)...)
	for name, file := range map[string][]byte{
		"little-endian": little, "big-endian": big, "nanoseconds": nano,
		"pcapng little-endian": ngFile(binary.LittleEndian), "pcapng big-endian": ngFile(binary.BigEndian), "two sections": two,
	} {
		t.Run(name, func(t *testing.T) {
			if !IsCapture(file) {
				t.Error("IsCapture says no")
			}
			sink, stats := read(t, Config{}, iotest{bytes.NewReader(file)})
			if len(sink.calls) < 1 || line(&sink.calls[0]) != "GET a/1 201 0/4 complete" {
				t.Errorf("got %q; %+v", lines(sink.calls), stats)
			}
			if c := sink.calls[0]; c.Time.Unix() != 1_700_000_000 || c.DurationUS > 2000 {
				t.Errorf("time %v, duration %d", c.Time, c.DurationUS)
			}
			// Cut anywhere: no error, and the cut is told.
			for n := 0; n < len(file); n += 7 {
				_, err := New(Config{Key: testKey}).Run(context.Background(), bytes.NewReader(file[:n]), collector.Input{}, &collected{})
				if err != nil && n >= 28 {
					t.Fatalf("cut at %d: %v", n, err)
				}
			}
			_, stats = read(t, Config{}, bytes.NewReader(file[:len(file)-5]))
			if !stats.Cut {
				t.Error("a cut file does not say so")
			}
		})
	}
}

// iotest hands out few bytes at a time.
type iotest struct{ r io.Reader }

func (i iotest) Read(p []byte) (int, error) { return i.r.Read(p[:min(len(p), 13)]) }

func TestDamagedFiles(t *testing.T) {
	good := writePcap(linkRaw, wrap(oneCall(false), func([]byte) []byte { return nil }))
	bad := bytes.Clone(good)
	at := 24
	for range 3 {
		at += 16 + int(binary.LittleEndian.Uint32(bad[at+8:]))
	}
	binary.LittleEndian.PutUint32(bad[at+8:], 0xffffffff)
	var sink collected
	stats, err := New(Config{Key: testKey}).Run(context.Background(), bytes.NewReader(bad), collector.Input{Name: "bad.pcap"}, &sink)
	if err == nil || !strings.Contains(err.Error(), "bad.pcap: the capture is damaged behind packet 3") {
		t.Errorf("error %v", err)
	}
	if stats.Packets != 3 || lines(sink.calls) != "GET a/1 0 0/0 unanswered" {
		t.Errorf("%d packets, calls %q", stats.Packets, lines(sink.calls))
	}
	for _, text := range []string{"", "GET / HTTP/1.1\r\n\r\n", "{\"a\":1}", "\x0a\x0d\x0d\x0a\x00\x00\x00\x1cxxxx"} {
		_, err := New(Config{Key: testKey}).Run(context.Background(), strings.NewReader(text), collector.Input{Name: "x"}, &collected{})
		if !errors.Is(err, errNoCapture) {
			t.Errorf("%q: error %v", text, err)
		}
	}
	// A link type that nobody knows is no empty capture.
	strange := bytes.Clone(good)
	strange[20] = 200
	sink = collected{}
	if _, err = New(Config{Key: testKey}).Run(context.Background(), bytes.NewReader(strange), collector.Input{Name: "s.pcap"}, &sink); err == nil ||
		!strings.Contains(err.Error(), "s.pcap: 4 of 4 packets are of link type linktype-200") {
		t.Errorf("error %v", err)
	}
	if len(sink.batches) != 1 || sink.batches[0].Done || sink.batches[0].Skipped[reasonLink] != 4 {
		t.Errorf("batches %+v", sink.batches)
	}
	// A packet longer than the buffer is passed over.
	long := binary.LittleEndian.AppendUint32(bytes.Clone(good[:24]), 1)
	long = binary.LittleEndian.AppendUint32(long, 0)
	long = binary.LittleEndian.AppendUint32(long, readBuffer+1)
	long = binary.LittleEndian.AppendUint32(long, readBuffer+1)
	long = append(append(long, make([]byte, readBuffer+1)...), good[24:]...)
	_, stats = read(t, Config{}, bytes.NewReader(long))
	if stats.Skipped[reasonTooLong] != 1 || stats.Requests != 1 {
		t.Errorf("%+v", stats)
	}
}

// TestLongPackets states that packets are read whole that need more room than the
// reader begins with, and those behind them as well, whatever a read gives at a time.
func TestLongPackets(t *testing.T) {
	file, want := writePcap(linkEthernet, nil), [][]byte{}
	for i, size := range []int{60, usualBuffer - 16, 70, usualBuffer, 80, 3*usualBuffer + 1, 90, readBuffer - 16, 1, 100} {
		want = append(want, bytes.Repeat([]byte{byte(i + 1)}, size))
		file = append(file, writePcap(linkEthernet, []frame{{int64(i) * 1e9, want[i]}})[24:]...)
	}
	for _, r := range []io.Reader{bytes.NewReader(file), iotest{bytes.NewReader(file)}} {
		reader, err := newRecordReader(r)
		if err != nil {
			t.Fatal(err)
		}
		var rec record
		for i := range want {
			if err := reader.next(&rec); err != nil || !bytes.Equal(rec.data, want[i]) || rec.nanos != int64(i)*1e9 {
				t.Fatalf("packet %d: %d bytes at %d, want %d; error %v", i, len(rec.data), rec.nanos, len(want[i]), err)
			}
		}
		if err := reader.next(&rec); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	}
}

func TestQUICIsCounted(t *testing.T) {
	eth := func(ip []byte) []byte { return append(append(make([]byte, 12), 8, 0), ip...) }
	frames := []frame{
		{1, eth(udp(443, append([]byte{0xc3, 0, 0, 0, 1, 8}, make([]byte, 1200)...)))},
		{2, eth(udp(443, append([]byte{0x43, 0, 0, 0, 1, 8}, make([]byte, 1200)...)))},
		{3, eth(udp(53, []byte{0xc0, 0xde, 1, 0, 0, 1, 0, 0, 0, 0}))},
	}
	_, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
	if stats.Skipped[reasonQUIC] != 1 || stats.Skipped[reasonNotTCP] != 2 {
		t.Errorf("skipped %v, want one quic and two not_tcp", stats.Skipped)
	}
}
