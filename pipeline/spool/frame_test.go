package spool

import (
	"bytes"
	"context"
	"reflect"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire"
)

// TestCallsComeAsTheyWere reads a frame back.
func TestCallsComeAsTheyWere(t *testing.T) {
	b := batch(3, 5)
	frame, lost := appendFrame(nil, &schema.Account{Input: b.Input, FirstUnit: b.FirstUnit, NextUnit: b.NextUnit, Calls: 5, Skipped: b.Skipped}, b.Calls)
	body, next, damaged, err := readFrame(bytes.NewReader(frame), 0, int64(len(frame)), nil)
	if err != nil || lost != 0 || damaged != 0 || next != int64(len(frame)) {
		t.Fatalf("next %d damaged %d err %v", next, damaged, err)
	}
	got, _, err := decodeFrame(wire.NewDecoder(), body)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Calls, b.Calls) || got.FirstUnit != b.FirstUnit || got.NextUnit != b.NextUnit || !reflect.DeepEqual(got.Skipped, b.Skipped) || got.Input.Name != b.Input.Name {
		t.Errorf("got  %+v\nwant %+v", got, b)
	}
}

func FuzzReadFrame(f *testing.F) {
	b := batch(0, 3)
	frame, _ := appendFrame(nil, &schema.Account{Input: b.Input, NextUnit: 4, Calls: 3}, b.Calls)
	f.Add(frame)
	f.Add(append([]byte("torn"), frame...))
	f.Add(frame[:len(frame)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		at, size := int64(0), int64(len(data))
		for at < size {
			body, next, damaged, err := readFrame(bytes.NewReader(data), at, size, nil)
			if err != nil {
				t.Fatal(err)
			}
			if next == 0 {
				return
			}
			if next <= at || next > size || damaged < 0 || damaged > next-at {
				t.Fatalf("from %d to %d of %d, %d damaged", at, next, size, damaged)
			}
			_, _, _ = decodeFrame(wire.NewDecoder(), body)
			at = next
		}
	})
}

func BenchmarkPutAndHandOn(b *testing.B) {
	to := newTaker()
	s := open(b, Config{Dir: b.TempDir(), Limit: 1 << 30}, to)
	end := run(b, s)
	one := batch(0, 512)
	for b.Loop() {
		put(b, s, one)
	}
	if err := s.Empty(context.Background()); err != nil {
		b.Fatal(err)
	}
	end()
	b.ReportMetric(float64(b.N)*512/b.Elapsed().Seconds(), "calls/s")
}
