package wire

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire/callpb"
)

// FuzzDecode holds the fast way to the generated types: it accepts the same
// messages, and means the same by them. One decoder reads them all, so that what
// it remembers of one message cannot change the next.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, data := range [][]byte{
		AppendCall(nil, Envelope{1, 2}, fullCall()), AppendCall(nil, Envelope{}, &schema.Call{}), AppendAccount(nil, Envelope{3, 4}, fullAccount()),
		append(callWith(number(1, maxTime)), callWith(field(6, []byte("b")))...),
		append(callWith(), append(number(1, 1), field(5, nil)...)...),
		callWith(field(6, nil), field(9, nil), field(6, []byte("a")), number(16, 1), number(900, 1)),
		callWith(protowire.AppendTag(nil, 50, protowire.StartGroupType), protowire.AppendTag(nil, 50, protowire.EndGroupType)),
		AppendCall(nil, Envelope{}, randomCall(r)), AppendCall(nil, Envelope{}, randomCall(r)),
	} {
		f.Add(data)
	}
	d := NewDecoder()
	f.Fuzz(func(t *testing.T, data []byte) { agree(t, d, data) })
}

// agree compares both ways of reading one message.
func agree(t *testing.T, d *Decoder, data []byte) {
	t.Helper()
	before := slices.Clone(data)
	var got schema.Call
	e, kind, err := d.Call(data, &got)
	m := new(callpb.Envelope)
	theirs := proto.Unmarshal(data, m)
	if !bytes.Equal(before, data) {
		t.Fatal("the message was written to")
	}
	switch {
	case len(data) > MaxMessage:
		if err == nil {
			t.Fatal("a message that is too long is read")
		}
	case theirs != nil || m.Version != Version:
		if err == nil {
			t.Fatalf("read as %+v, and the generated types refuse it: version %d, %v", got, m.Version, theirs)
		}
	case m.GetAccount() != nil:
		if err != nil || kind != KindAccount || e != (Envelope{m.Epoch, m.Sequence}) {
			t.Fatalf("kind %d, envelope %v, error %v; generated types read an account: %v", kind, e, err, m)
		}
		if _, a, err := d.Account(data); err == nil {
			again, back, err := d.Account(AppendAccount(nil, e, a))
			if len(a.Skipped) == 0 {
				a.Skipped = nil
			}
			if err != nil || again != e || !reflect.DeepEqual(a, back) {
				t.Fatalf("account %+v is written and read as %+v, error %v", a, back, err)
			}
		}
	default:
		want, c, ok := meaning(m)
		if ok != (err == nil) {
			t.Fatalf("error %v; generated types read %v", err, m)
		}
		if !ok {
			return
		}
		if kind != KindCall || e != want || !reflect.DeepEqual(&got, c) {
			t.Fatalf("read as %v\n%+v, want %v\n%+v", e, got, want, c)
		}
		// What was read can be written, and is the same then.
		written := AppendCall(nil, e, &got)
		var back schema.Call
		again, kind, err := d.Call(written, &back)
		if len(written) <= MaxMessage && (err != nil || kind != KindCall || again != e || !reflect.DeepEqual(got, back)) {
			t.Fatalf("written and read as %v\n%+v, want %v\n%+v: error %v", again, back, e, got, err)
		}
	}
}

// FuzzCall writes calls of all kinds of texts, and reads them both ways.
func FuzzCall(f *testing.F) {
	f.Add(uint64(1), "text", int64(1_790_000_000_000_000), []byte{10, 0, 0, 1})
	f.Add(uint64(2), "\xff", int64(-1), []byte{})
	f.Fuzz(func(t *testing.T, seed uint64, text string, micros int64, address []byte) {
		c := randomCall(rand.New(rand.NewPCG(seed, 0)))
		c.Path, c.Credential.Subject, c.Host = text, text+"\x00", text
		c.Scopes = append(c.Scopes, text)
		data := AppendCall(nil, Envelope{seed, seed}, c)
		// Here the seeds of the other target are made as well: parts of the
		// message are replaced.
		agree(t, NewDecoder(), data)
		if len(address) > 0 {
			copy(data[int(uint64(micros)%uint64(len(data))):], address)
			agree(t, NewDecoder(), data)
		}
	})
}

// TestDamaged changes, cuts and joins messages at random: fuzzing for those who
// only run the tests.
func TestDamaged(t *testing.T) {
	const seed = 11
	r := rand.New(rand.NewPCG(seed, seed))
	d := NewDecoder()
	good := 0
	for range 30_000 {
		var data []byte
		if r.IntN(10) == 0 {
			data = AppendAccount(nil, Envelope{1, 2}, fullAccount())
		} else {
			c := fullCall()
			if r.IntN(2) == 0 {
				c.Source, c.Credential, c.Scopes = schema.Source{}, schema.Credential{}, nil
			}
			data = AppendCall(nil, Envelope{1, 2}, c)
		}
		for range r.IntN(4) {
			switch at := r.IntN(len(data)); r.IntN(5) {
			case 0:
				data[at] = byte(r.IntN(256))
			case 1:
				data[at] ^= 1 << r.IntN(8)
			case 2:
				data = append(data[:at:at], data[min(at+1+r.IntN(3), len(data)):]...)
			case 3:
				data = slices.Insert(data, at, byte(r.IntN(256)))
			case 4:
				data = append(data, data[:at]...)
			}
			if len(data) == 0 {
				data = []byte{0}
			}
		}
		agree(t, d, data)
		if _, err := d.Message(data); err == nil {
			good++
		}
	}
	if good < 5_000 || good > 25_000 {
		t.Errorf("%d of 30000 damaged messages are read: the test no longer does what it is for", good)
	}
}
