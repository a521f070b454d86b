package wire_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"reflect"

	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/gateway"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/deployments/scenario"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire"
	"github.com/scopedrift/scopedrift/schema/wire/callpb"
)

// company is the calls of the scenario's logs, as a collector hands them on.
func company(t testing.TB) []schema.Call {
	t.Helper()
	story, err := scenario.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(scenario.KeyHex)
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(gateway.Config{
		Key: redact.NewKey([32]byte(raw)),
		// The captures among them are another collector's.
		Captures: func(context.Context, io.Reader, collector.Input, collector.Sink) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	calls := new(gathered)
	if _, err := g.Run(t.Context(), []string{story.Logs}, calls); err != nil {
		t.Fatal(err)
	}
	if len(*calls) < 10_000 {
		t.Fatalf("only %d calls in the scenario", len(*calls))
	}
	return *calls
}

type gathered []schema.Call

func (g *gathered) Put(_ context.Context, b *collector.Batch) error {
	*g = append(*g, b.Calls...)
	return nil
}

// TestCompany sends real collectors' calls over the wire.
func TestCompany(t *testing.T) {
	d := wire.NewDecoder()
	var data []byte
	for i, c := range company(t) {
		data = wire.AppendCall(data[:0], wire.Envelope{Epoch: 1, Sequence: uint64(i)}, &c)
		var got schema.Call
		if _, _, err := d.Call(data, &got); err != nil {
			t.Fatal(err)
		}
		c.Time = c.Time.Truncate(time.Microsecond)
		want, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != string(back) {
			t.Fatalf("call %d is read as\n%s, want\n%s", i, back, want)
		}
		if !got.Time.Equal(c.Time) || (got.Scopes == nil) != (c.Scopes == nil) || !reflect.DeepEqual(got.ClientAddress, c.ClientAddress) {
			t.Fatalf("call %d is read as\n%+v, want\n%+v", i, got, c)
		}
	}
}

// lane is how many calls are read before a decoder is reset, as an ingester does.
const lane = 2048

func BenchmarkEncode(b *testing.B) {
	calls := company(b)
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		var size int
		var dst []byte
		for i := range b.N {
			dst = wire.AppendCall(dst[:0], wire.Envelope{Epoch: 1_764_111_600_123_456, Sequence: uint64(i)}, &calls[i%len(calls)])
			size += len(dst)
		}
		b.ReportMetric(float64(size)/float64(b.N), "B/call")
	})
	b.Run("generated", func(b *testing.B) {
		messages := generated(b, calls)
		b.ReportAllocs()
		b.ResetTimer()
		var dst []byte
		for i := range b.N {
			var err error
			if dst, err = (proto.MarshalOptions{}).MarshalAppend(dst[:0], messages[i%len(messages)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		var size int
		for i := range b.N {
			data, err := json.Marshal(&calls[i%len(calls)])
			if err != nil {
				b.Fatal(err)
			}
			size += len(data)
		}
		b.ReportMetric(float64(size)/float64(b.N), "B/call")
	})
}

func generated(b *testing.B, calls []schema.Call) (messages []*callpb.Envelope) {
	b.Helper()
	for i := range calls {
		m := new(callpb.Envelope)
		if err := proto.Unmarshal(wire.AppendCall(nil, wire.Envelope{}, &calls[i]), m); err != nil {
			b.Fatal(err)
		}
		messages = append(messages, m)
	}
	return messages
}

func BenchmarkDecode(b *testing.B) {
	calls := company(b)
	encoded := make([][]byte, len(calls))
	written := make([][]byte, len(calls))
	for i := range calls {
		encoded[i] = wire.AppendCall(nil, wire.Envelope{Epoch: 1_764_111_600_123_456, Sequence: uint64(i)}, &calls[i])
		written[i], _ = json.Marshal(&calls[i])
	}
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		d, batch := wire.NewDecoder(), make([]schema.Call, lane)
		for i := range b.N {
			if i%lane == 0 {
				d.Reset()
			}
			if _, _, err := d.Call(encoded[i%len(encoded)], &batch[i%lane]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if err := proto.Unmarshal(encoded[i%len(encoded)], new(callpb.Envelope)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if err := json.Unmarshal(written[i%len(written)], new(schema.Call)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
