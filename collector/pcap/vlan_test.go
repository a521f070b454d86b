package pcap

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// inVLANs puts each packet of a conversation into the VLANs that of returns, one after
// another.
func inVLANs(segments []tcp, of func(s tcp) []uint16) (frames []frame) {
	for i, s := range segments {
		for k, v := range of(s) {
			spec := segmentSpec{addr4(1, 40000), addr4(2, 80), s.from == 'c', s.seq, s.ack, s.flags, []byte(s.text)}
			var tags []uint16
			if v != 0 {
				tags = []uint16{v}
			}
			frames = append(frames, frame{1_700_000_000e9 + int64(i)*1e6 + int64(k)*1e3, spec.ethernet(tags...)})
		}
	}
	return frames
}

// alternate puts the packets of two captures together, one of each in turn.
func alternate(a, b []frame) (all []frame) {
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			all = append(all, a[i])
		}
		if i < len(b) {
			all = append(all, frame{a[min(i, len(a)-1)].nanos + 2e3, b[i].data})
		}
	}
	return all
}

func TestOneConnectionInSeveralVLANs(t *testing.T) {
	talk := join(opened(70, 30), turnAt(70, 30, q1, a1), turnAt(70+uint32(ql), 30+uint32(al), q2, a2))
	for name, of := range map[string]func(tcp) []uint16{
		"one":        func(tcp) []uint16 { return []uint16{7} },
		"in and out": func(tcp) []uint16 { return []uint16{7, 8} },
		"in and out, back and forth": func(s tcp) []uint16 {
			if s.from == 'c' {
				return []uint16{7, 8}
			}
			return []uint16{8, 7}
		},
		"each direction its own": func(s tcp) []uint16 {
			if s.from == 'c' {
				return []uint16{7}
			}
			return []uint16{8}
		},
		"with a tag and without": func(tcp) []uint16 { return []uint16{7, 0} },
		"a switch of three":      func(tcp) []uint16 { return []uint16{7, 8, 9} },
	} {
		for _, skip := range []int{0, 3} {
			frames := inVLANs(talk[skip:], of)
			sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
			quality := "complete"
			if skip > 0 {
				quality = "midstream"
			}
			if got, want := lines(sink.calls), "GET a/1 201 0/4 "+quality+"\nGET a/2 202 0/4 "+quality; got != want || stats.Connections != 1 || stats.Conflicting > 0 {
				t.Errorf("%s, from packet %d: got\n%s\nwant\n%s\n%+v", name, skip, got, want, stats)
			}
		}
	}
}

// TestSameAddressesInTwoVLANs has two tenants with the same addresses and ports, whose
// packets come in turn: neither has the other's answers.
func TestSameAddressesInTwoVLANs(t *testing.T) {
	const q4, a4 = "GET /4 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204 A\r\nContent-Length: 4\r\n\r\n"
	n, m := uint32(ql), uint32(al)
	in := func(v uint16) func(tcp) []uint16 { return func(tcp) []uint16 { return []uint16{v} } }
	first := join(opened(70, 30), turnAt(70, 30, q1, a1), turnAt(70+n, 30+m, q2, a2))
	for name, start := range map[string][2]uint32{"other numbers": {9_000_000, 1_234_567_890}, "near numbers": {500, 900}, "the same numbers": {70, 30}} {
		c, s := start[0], start[1]
		second := join(opened(c, s), turnAt(c, s, q3, a3), turnAt(c+n, s+m, q4, a4))
		for _, tag := range []uint16{8, 0} {
			frames := alternate(inVLANs(first, in(7)), inVLANs(second, in(tag)))
			sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
			got, want := sorted(sink.calls), 4
			certain := 0
			for i := range sink.calls {
				if call := &sink.calls[i]; call.Quality.Certain() && int(call.Status) == 200+int(call.Path[1]-'0') {
					certain++
				} else if call.Quality.Certain() {
					t.Errorf("%s: %s is certain", name, line(call))
				}
			}
			if certain != want || stats.Conflicting > 0 {
				t.Errorf("%s, tag %d: %d of %d are certain; got %q; %+v", name, tag, certain, want, got, stats)
			}
		}
	}
}

// TestVLANsUnderLoss puts made-up traffic into VLANs, twice over, and loses packets: what
// one copy lost, the other has, and no pair is wrong.
func TestVLANsUnderLoss(t *testing.T) {
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 77))
		known := map[string]truth{}
		plain := conversation(rng, 10, func(w *wire, name string) { w.talk(20, moody, name, known) })
		var frames []frame
		for _, f := range plain {
			for _, v := range []byte{7, 8} {
				at := network(f.data)
				b := slices.Concat(f.data[:12], []byte{0x81, 0, 0, v}, f.data[12:at], f.data[at:])
				frames = append(frames, frame{f.nanos + int64(v)*100, b})
			}
		}
		frames = damage{loss: .02}.apply(rng, frames)
		sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
		o := judge(t, sink, known)
		if o.wrong > 0 || o.certain < o.known*95/100 || stats.Connections != 10 || stats.Conflicting > 0 {
			t.Errorf("seed %d: %d wrong, %d certain of %d; %+v", seed, o.wrong, o.certain, o.known, stats)
		}
	}
}

// TestFragmentsInVLANs has two tenants with the same addresses, ports, numbers of TCP
// and numbers of datagrams, all in parts.
func TestFragmentsInVLANs(t *testing.T) {
	first := join(opened(70, 30), turnAt(70, 30, q1, a1))
	second := join(opened(70, 30), turnAt(70, 30, q2, a2))
	for _, v6 := range []bool{false, true} {
		client, server := addr4(1, 40000), addr4(2, 80)
		if v6 {
			client, server = addr6(1, 40000), addr6(2, 80)
		}
		var frames []frame
		for i := range first {
			var parts [2][][]byte
			for k, s := range []tcp{first[i], second[i]} {
				spec := segmentSpec{client, server, s.from == 'c', s.seq, s.ack, s.flags, []byte(s.text)}
				ip := spec.ip()
				for at := 0; at < len(s.text)+20; at += 24 {
					parts[k] = append(parts[k], ipPart(ip, at, at+24, byte(i)))
				}
			}
			for k := range parts[0] {
				for v, part := range [][]byte{parts[0][k], parts[1][k]} {
					b := slices.Concat(make([]byte, 12), []byte{0x81, 0, 0, byte(7 + v)}, etherType(part), part)
					frames = append(frames, frame{1_700_000_000e9 + int64(len(frames))*1e6, b})
				}
			}
		}
		sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
		if got := lines(sink.calls); got != "GET a/1 201 0/4 complete\nGET a/2 202 0/4 complete" {
			t.Errorf("v6 %v: got\n%s\n%+v", v6, got, stats)
		}
	}
}
