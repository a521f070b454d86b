package pcap

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
)

// small are limits that a fuzz input can reach.
var small = Limits{Connections: 4, HeldPerDirection: 4096, HeldTotal: 16384, HeadBytes: 2048, Pending: 4, PendingTotal: 8, ReorderPackets: 8}

// FuzzCapture reads anything as a capture: no panic, nothing left over, nothing
// uncounted.
func FuzzCapture(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	f.Add(writePcap(linkEthernet, madeUp(rng, moody, 2, 2, map[string]truth{}, false)))
	f.Add(writePcap(linkRaw, wrap(oneCall(true), func([]byte) []byte { return nil })))
	f.Add(ngFile(binary.LittleEndian))
	f.Add(ngFile(binary.BigEndian))
	for _, c := range conversations[:4] {
		f.Add(writePcap(linkEthernet, c.script.frames(100)))
	}
	f.Add(writePcap(linkEthernet, conversation(rng, 2, func(w *wire, name string) { w.talk2(3, 2, false, name, map[string]truth{}) })))
	f.Add(writePcap(linkEthernet, labelled(rng, everyIP(conversation(rng, 1, func(w *wire, name string) { w.talk2(1, 1, true, name, map[string]truth{}) }),
		func(ip []byte) [][]byte { return fragments(rng, ip) }))))
	f.Fuzz(func(t *testing.T, file []byte) {
		reader, err := newRecordReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		capture := New(Config{Key: testKey, Limits: small})
		var sink collected
		r := newRun(&capture.cfg, collector.Input{}, &sink)
		if _, err := r.run(context.Background(), reader); err == nil {
			accounted(t, sink.batches, *r.stats)
		}
		settled(t, r)
	})
}

// FuzzPackets reads anything as the packets of any link type.
func FuzzPackets(f *testing.F) {
	for _, link := range []linkType{linkNull, linkEthernet, linkPPP, linkRaw, link80211, linkSLL, linkRadiotap, linkNFLog, linkSLL2} {
		for _, ip := range oneCall(link == linkRaw) {
			f.Add(uint32(link), ip)
			f.Add(uint32(link), append(append(make([]byte, 12), etherType(ip)...), ip...))
			f.Add(uint32(link), append(append(make([]byte, 12), 8, 0), udp(4789, append([]byte{8, 0, 0, 0, 0, 0, 5, 0}, ip...))...))
			f.Add(uint32(link), append(append(make([]byte, 12), 8, 0), udp(6081, append([]byte{1, 0, 0x65, 0x58, 0, 0, 5, 0, 1, 1, 1, 0}, ip...))...))
			f.Add(uint32(link), append(append(make([]byte, 12), 8, 0), ipProto(47, append([]byte{0xb0, 0, 0x88, 0xbe}, ip...))...))
		}
	}
	d := newDecoder()
	f.Fuzz(func(t *testing.T, link uint32, data []byte) {
		rec := record{data: data, link: linkType(link), wire: len(data)}
		var p packet
		if reason := d.decode(&rec, &p); reason == "" && len(p.payload) > len(data)+65535 {
			t.Errorf("a payload of %d bytes from %d", len(p.payload), len(data))
		}
	})
}

// FuzzStream drives one connection with segments of any order, overlap and
// acknowledgement: no panic, an end, nothing left over, and no bytes invented.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 0, 0, 30, 0, 1, 0, 30, 40, 0}, []byte(q1+q2), []byte(a1+a2))
	q, a := newSide2(), newSide2()
	q.head(1, true, get("/1")...).head(3, false, post("/3")...).frame(frameData, flagEndStream, 3, []byte("body"))
	a.head(1, true, ":status", "200").head(3, true, ":status", "403")
	f.Add([]byte{0, 0, 0, 90, 0, 1, 0, 90, 20, 0, 0, 90, 20, 40, 0, 1, 20, 130, 30, 0}, []byte(hello2+q.turn()), []byte(a.turn()))
	f.Add([]byte{0, 5, 0, 3, 0, 0, 0, 0, 9, 0, 1, 3, 9, 9, 1, 2, 0, 0, 0, 1}, []byte(q1), []byte(a1))
	f.Fuzz(func(t *testing.T, ops, client, server []byte) {
		capture := New(Config{Key: testKey, Limits: small})
		r := newRun(&capture.cfg, collector.Input{}, &collected{})
		number, nanos := uint64(0), int64(0)
		for len(ops) >= 5 {
			kind, at, has, size, flags := ops[0], int(ops[1]), int(ops[2]), int(ops[3]), ops[4]
			ops = ops[5:]
			number++
			nanos += int64(kind) * 1e5
			p := packet{src: addr4(1, 1), dst: addr4(2, 2), number: number, nanos: nanos, flags: flagACK | flags&(flagFIN|flagSYN|flagRST)}
			stream := client
			if kind&1 != 0 {
				p.src, p.dst, stream = p.dst, p.src, server
			}
			from := min(at, len(stream))
			p.payload = stream[from:min(from+size, len(stream))]
			p.seq, p.ack = uint32(0xffffff80+at), uint32(0xffffff80+has)
			if kind&2 != 0 {
				p.missing = uint32(flags >> 4)
			}
			if kind&4 != 0 {
				p.flags &^= flagACK
			}
			if kind&8 != 0 {
				p.seq += uint32(at) << 20
			}
			r.table.packet(&p)
		}
		for c := r.table.any(); c != nil; c = r.table.any() {
			r.table.remove(c)
		}
		r.finish()
		settled(t, r)
	})
}

// FuzzHTTP1 reads two byte streams as a conversation. However they are cut into
// segments, whole messages give the same calls.
func FuzzHTTP1(f *testing.F) {
	for _, c := range conversations {
		var client, server string
		for i, text := range c.script {
			if i%2 == 0 {
				client += text
			} else {
				server += text
			}
		}
		f.Add([]byte(client), []byte(server), uint8(3))
	}
	f.Fuzz(func(t *testing.T, client, server []byte, mss uint8) {
		if len(client)+len(server) > 4096 {
			return
		}
		run := func(mss int) (string, Stats, *run) {
			capture := New(Config{Key: testKey})
			var sink collected
			r := newRun(&capture.cfg, collector.Input{}, &sink)
			reader, err := newRecordReader(bytes.NewReader(writePcap(linkEthernet, script{string(client), string(server)}.frames(mss))))
			if err != nil {
				t.Fatal(err)
			}
			stats, err := r.run(context.Background(), reader)
			if err != nil {
				t.Fatal(err)
			}
			settled(t, r)
			return lines(sink.calls), stats, r
		}
		whole, stats, _ := run(65000)
		cut, cutStats, _ := run(1 + int(mss))
		// Where the border of a message is lost, or another protocol begins, it
		// matters where segments begin.
		if stats.Resyncs+cutStats.Resyncs > 0 || stats.Protocols[speaksHTTP1] != 1 || len(stats.Protocols) != 1 ||
			cutStats.Protocols[speaksHTTP1] != 1 || len(cutStats.Protocols) != 1 {
			return
		}
		if whole != cut {
			t.Errorf("whole:\n%s\ncut at %d:\n%s", whole, 1+int(mss), cut)
		}
	})
}
