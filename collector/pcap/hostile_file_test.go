package pcap

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

// TestFilesPutTogether reads captures that were put together as they are, of other link
// types, byte orders and resolutions: the calls are those of each.
func TestFilesPutTogether(t *testing.T) {
	raw := wrap(oneCall(false), func([]byte) []byte { return nil })
	ether := wrap(oneCall(true), func(ip []byte) []byte { return append(make([]byte, 12), etherType(ip)...) })
	null := wrap(oneCall(false), func([]byte) []byte { return []byte{2, 0, 0, 0} })
	nano := writePcap(linkNull, null)
	binary.LittleEndian.PutUint32(nano, magicNanos)
	big := bytes.Clone(writePcap(linkRaw, raw))
	for _, at := range []int{0, 16, 20} {
		slices.Reverse(big[at : at+4])
	}
	slices.Reverse(big[4:6])
	slices.Reverse(big[6:8])
	for at := 24; at < len(big); {
		n := int(binary.LittleEndian.Uint32(big[at+8:]))
		for i := range 4 {
			slices.Reverse(big[at+4*i : at+4*i+4])
		}
		at += 16 + n
	}
	empty := writePcap(linkRaw, nil)
	parts := [][]byte{writePcap(linkRaw, raw), writePcap(linkEthernet, ether), empty, empty, big, nano, bytes.Repeat(empty, 1000), writePcap(linkEthernet, ether)}
	sink, stats := read(t, Config{}, bytes.NewReader(slices.Concat(parts...)))
	// It is one call of each version of IP, over and over again.
	if got, want := lines(sink.calls), "GET a/1 201 0/4 complete\nGET a/1 201 0/4 complete"; got != want || stats.Packets != 20 || stats.Retransmitted != 6 ||
		stats.Links["ethernet"] != 8 || stats.Links["raw-ip"] != 8 || stats.Links["null/loopback"] != 4 {
		t.Errorf("got %q, want %q; %+v", got, want, stats)
	}
	// Packed each on its own, too.
	var packed bytes.Buffer
	for _, p := range parts {
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(p)
		_ = z.Close()
	}
	z, err := gzip.NewReader(&packed)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(z)
	if err != nil || !bytes.Equal(whole, slices.Concat(parts...)) {
		t.Errorf("%d bytes, error %v", len(whole), err)
	}
}

// TestBlocksOfAllKinds reads what a pcapng file may hold besides packets with a time:
// simple ones, what was lost, blocks nobody knows, options that say what cannot be.
func TestBlocksOfAllKinds(t *testing.T) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		u16 := func(n ...uint16) (b []byte) {
			for _, n := range n {
				b = order.AppendUint16(b, n)
			}
			return b
		}
		u32 := func(n ...uint32) (b []byte) {
			for _, n := range n {
				b = order.AppendUint32(b, n)
			}
			return b
		}
		section := ngBlock(order, magicNg, slices.Concat(u32(magicSection), u16(1, 0), u32(math.MaxUint32, math.MaxUint32)))
		counts := func(iface uint32, dropped uint64) []byte {
			return ngBlock(order, blockCounts, slices.Concat(u32(iface, 0, 0), u16(4, 8), make([]byte, 8), u16(5, 8), order.AppendUint64(nil, dropped), u16(0, 0)))
		}
		file := slices.Concat(section,
			ngBlock(order, blockInterface, slices.Concat(u16(uint16(linkRaw), 0), u32(0), u16(2, 5), []byte("eth0\x00\x00\x00\x00"), u16(9, 60000), []byte{1})),
			ngBlock(order, 0x0bad, make([]byte, 400)), counts(0, 7), counts(9, 5),
			ngBlock(order, 0x80000bad, make([]byte, 4)), ngBlock(order, 0xbad, make([]byte, 300<<10)), ngBlock(order, 0xbad, make([]byte, 3<<20)))
		for i, ip := range oneCall(false) {
			stamp := uint64(1_700_000_000e6)
			if i == 0 {
				file = append(file, ngBlock(order, blockPacket, slices.Concat(u32(0, uint32(stamp>>32), uint32(stamp), uint32(len(ip)), uint32(len(ip))), ip))...)
			} else {
				file = append(file, ngBlock(order, blockSimple, append(u32(uint32(len(ip))), ip...))...)
			}
		}
		file = slices.Concat(file, counts(0, 7), counts(0, math.MaxUint64), counts(0, 12))
		sink, stats := read(t, Config{}, bytes.NewReader(file))
		if got := lines(sink.calls); got != "GET a/1 201 0/4 complete" || sink.calls[0].Time.Unix() != 1_700_000_000 {
			t.Errorf("%v: got %q of %v; %+v", order, got, sink.calls, stats)
		}
		lost := uint64(0)
		for _, b := range sink.batches {
			lost += b.Skipped[schema.Lost+lostInKernel]
		}
		if lost != 12 || stats.Dropped[lostInKernel] != 12 {
			t.Errorf("%v: %d packets lost, %d in the books, want 12", order, lost, stats.Dropped[lostInKernel])
		}
	}
}
