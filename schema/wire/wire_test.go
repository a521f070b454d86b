package wire

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire/callpb"
)

// TestRandomCalls sends calls through every pair of ways: fast to fast, fast to
// generated, generated to fast.
func TestRandomCalls(t *testing.T) {
	const seed = 7
	r := rand.New(rand.NewPCG(seed, seed))
	d := NewDecoder()
	var dst []byte
	kept := map[*schema.Call]*schema.Call{}
	for i := range 4_000 {
		c := randomCall(r)
		want := expected(c)
		e := Envelope{r.Uint64(), uint64(i)}
		dst = AppendCall(dst[:0], e, c)
		m := new(callpb.Envelope)
		if err := proto.Unmarshal(dst, m); err != nil {
			t.Fatalf("call %d: generated types refuse it: %v", i, err)
		}
		if !proto.Equal(m, generated(e, c)) && c.Source != (schema.Source{}) {
			t.Fatalf("call %d: generated types read\n%v, want\n%v", i, m, generated(e, c))
		}
		theirs, err := proto.Marshal(generated(e, c))
		if err != nil {
			t.Fatal(err)
		}
		for _, data := range [][]byte{dst, theirs} {
			got := new(schema.Call)
			back, kind, err := d.Call(data, got)
			if err != nil || kind != KindCall || back != e {
				t.Fatalf("call %d: kind %d, envelope %v, error %v", i, kind, back, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("call %d is read as\n%+v, want\n%+v", i, got, want)
			}
			if i%50 == 0 {
				kept[got] = want
			}
			clear(data)
		}
		if i%1000 == 0 {
			d.Reset()
		}
	}
	// Nothing of what was handed out has changed since.
	for got, want := range kept {
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("a call that was handed out has become\n%+v, want\n%+v", got, want)
		}
	}
}
