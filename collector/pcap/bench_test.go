//go:build unix

package pcap

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/internal/spenttest"
)

// discardSink is a sink that counts, and gives memory back as those of collect do.
type discardSink struct{ calls int }

func (d *discardSink) Put(_ context.Context, b *collector.Batch) error {
	d.calls += len(b.Calls)
	b.Free()
	return nil
}

// BenchmarkCapture reports the time of a whole call: from the file's bytes to a
// redacted, identified call in a batch.
func BenchmarkCapture(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	frames := madeUp(rng, lockstep, 60, 300, map[string]truth{}, false)
	for _, bench := range []struct {
		name   string
		damage damage
	}{{"whole", damage{}}, {"loss=1%", damage{loss: .01}}, {"reorder=1%", damage{reorder: .01}}} {
		file := writePcap(linkEthernet, bench.damage.apply(rng, frames))
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			b.ReportAllocs()
			var sink discardSink
			capture := New(Config{Key: testKey})
			before := spenttest.Own(b)
			for b.Loop() {
				if _, err := capture.Run(context.Background(), bytes.NewReader(file), collector.Input{}, &sink); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(spenttest.Own(b)-before)/float64(sink.calls), "cpu-ns/call")
		})
	}
}

// BenchmarkHTTP2 is BenchmarkCapture for HTTP/2, ten streams at a time: with
// everything in tables, as Go's client writes it, and with paths and credentials
// in full on every request, as nghttp2 does.
func BenchmarkHTTP2(b *testing.B) {
	for _, bench := range []struct {
		name    string
		private bool
		damage  damage
	}{{"whole", false, damage{}}, {"private", true, damage{}}, {"loss=1%", false, damage{loss: .01}}} {
		rng := rand.New(rand.NewPCG(1, 2))
		known := map[string]truth{}
		frames := conversation(rng, 60, func(w *wire, name string) { w.talk2(300, 10, bench.private, name, known) })
		file := writePcap(linkEthernet, bench.damage.apply(rng, frames))
		b.Run(bench.name, func(b *testing.B) { benchmarkFile(b, file) })
	}
}

func benchmarkFile(b *testing.B, file []byte) {
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	var sink discardSink
	capture := New(Config{Key: testKey})
	before := spenttest.Own(b)
	for b.Loop() {
		if _, err := capture.Run(context.Background(), bytes.NewReader(file), collector.Input{}, &sink); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(spenttest.Own(b)-before)/float64(sink.calls), "cpu-ns/call")
}

// BenchmarkReadOnly is what reading and decoding the same packets costs alone.
func BenchmarkReadOnly(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	file := writePcap(linkEthernet, madeUp(rng, lockstep, 60, 300, map[string]truth{}, false))
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		reader, err := newRecordReader(bytes.NewReader(file))
		if err != nil {
			b.Fatal(err)
		}
		d := newDecoder()
		var rec record
		var p packet
		for reader.next(&rec) == nil {
			d.decode(&rec, &p)
		}
	}
}
