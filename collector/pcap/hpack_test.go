package pcap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// newBlocks returns a reader of header blocks with a table of its own.
func newBlocks(joined bool) (*blockReader, *head) {
	budget := 1 << 20
	t := &hpackTable{}
	t.begin(joined)
	h := &head{}
	return &blockReader{table: t, head: h, tenant: "x-tenant", budget: &budget}, h
}

// next reads a block into a clean head.
func (r *blockReader) next(b []byte) error {
	*r.head = head{}
	r.regular, r.cookies, r.starved, r.arena = false, 0, false, nil
	return r.read(b)
}

// legible returns what a head holds, by field.
func legible(h *head) map[string]string {
	m := map[string]string{}
	for name, v := range map[string][]byte{":method": h.method, ":path": h.target, ":authority": h.authority, ":scheme": h.scheme,
		"authorization": h.authorization, "cookie": h.cookie, "x-api-key": h.apiKey, "user-agent": h.userAgent, "content-type": h.contentType,
		"grpc-status": h.grpcStatus, "x-tenant": h.tenant, "location": h.location, "x-request-id": h.requestID} {
		if len(v) > 0 {
			m[name] = string(v)
		}
	}
	if h.statusKnown {
		m[":status"] = fmt.Sprint(h.status)
	}
	return m
}

// someFields makes up a header list, each name once, pseudo headers first.
func someFields(rng *rand.Rand, answer bool) []hpack.HeaderField {
	var out []hpack.HeaderField
	put := func(name, value string) {
		out = append(out, hpack.HeaderField{Name: name, Value: value, Sensitive: rng.IntN(5) == 0})
	}
	if answer {
		put(":status", fmt.Sprint(100+rng.IntN(500)))
	} else {
		put(":method", [...]string{"GET", "POST", "PUT"}[rng.IntN(3)])
		put(":scheme", "https")
		put(":authority", fmt.Sprintf("host-%d.example", rng.IntN(4)))
		put(":path", fmt.Sprintf("/%d/%s", rng.IntN(30), strings.Repeat("p", rng.IntN(40))))
	}
	for _, name := range []string{"authorization", "cookie", "x-api-key", "user-agent", "content-type", "grpc-status", "x-tenant", "location", "x-request-id", "accept", "x-other", "via"} {
		if rng.IntN(2) == 0 {
			continue
		}
		value := make([]byte, rng.IntN(60))
		for i := range value {
			if value[i] = byte(32 + rng.IntN(95)); rng.IntN(40) == 0 {
				value[i] = byte(14 + rng.IntN(256-14)) // line ends are not allowed
			}
		}
		if rng.IntN(3) > 0 {
			value = fmt.Appendf(value[:0], "%s-%d", name, rng.IntN(5))
		}
		put(name, string(value))
	}
	return out
}

// TestHPACKAgainstAnother reads what another implementation wrote: from the
// beginning everything must come out, joined later nothing wrong.
func TestHPACKAgainstAnother(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 77))
		e := newEncoder2()
		whole, h := newBlocks(false)
		joined, jh := newBlocks(true)
		joins, legibleLater := rng.IntN(50), 0
		for i := range 200 {
			if rng.IntN(25) == 0 {
				e.enc.SetMaxDynamicTableSizeLimit(1 << 16)
				e.enc.SetMaxDynamicTableSize(uint32([...]int{0, 100, 512, 4096, 20000, 65536}[rng.IntN(6)]))
			}
			fields := someFields(rng, seed%2 == 0)
			e.buf.Reset()
			for _, f := range fields {
				if err := e.enc.WriteField(f); err != nil {
					t.Fatal(err)
				}
			}
			block := bytes.Clone(e.buf.Bytes())
			if err := whole.next(block); err != nil || h.unseen || h.ambiguous {
				t.Fatalf("seed %d, block %d: %v, unseen %v", seed, i, err, h.unseen)
			}
			got := legible(h)
			want := map[string]string{}
			for _, f := range fields {
				if f.Value != "" && f.Name != "accept" && f.Name != "x-other" && f.Name != "via" && f.Name != ":scheme" || f.Name == ":scheme" {
					want[f.Name] = f.Value
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("seed %d, block %d: got %v, want %v", seed, i, got, want)
			}
			if i < joins {
				continue
			}
			if rng.IntN(30) == 0 {
				joined.table.forget(joined.budget) // a loss
				continue
			}
			if err := joined.next(block); err != nil {
				t.Fatalf("seed %d, block %d, joined at %d: %v", seed, i, joins, err)
			}
			for name, value := range legible(jh) {
				if want[name] != value {
					t.Fatalf("seed %d, block %d, joined at %d: %s is %q, want %q", seed, i, joins, name, value, want[name])
				}
				legibleLater++
			}
			if !jh.unseen && fmt.Sprint(legible(jh)) != fmt.Sprint(want) {
				t.Fatalf("seed %d, block %d: something is missing, and nobody says so", seed, i)
			}
		}
		if legibleLater == 0 {
			t.Errorf("seed %d: nothing was legible after joining", seed)
		}
	}
}

func TestHuffmanAgainstAnother(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 20000 {
		b := make([]byte, rng.IntN(40))
		for i := range b {
			b[i] = byte(rng.IntN(256))
		}
		if text, err := appendHuffman(nil, hpack.AppendHuffmanString(nil, string(b))); err != nil || !bytes.Equal(text, b) {
			t.Fatalf("%q came back as %q, %v", b, text, err)
		}
		sameHuffman(t, b)
	}
}

// sameHuffman checks that both decoders take b alike.
func sameHuffman(t *testing.T, b []byte) {
	t.Helper()
	got, err := appendHuffman(nil, b)
	want, wantErr := hpack.HuffmanDecodeToString(b)
	if (err == nil) != (wantErr == nil) || err == nil && string(got) != want {
		t.Fatalf("%x: got %q, %v; want %q, %v", b, got, err, want, wantErr)
	}
}

// bomb is a block that inserts one large entry and refers to it so many times.
func bomb(name string, size, times int) []byte {
	e := newEncoder2()
	b := e.block(false, name, strings.Repeat("x", size))
	for range times {
		b = append(b, 0x80|62)
	}
	return b
}

func TestHPACKBombs(t *testing.T) {
	for _, c := range []struct {
		name  string
		block []byte
	}{
		{"references", bomb("x-other", 3900, 60000)},
		{"cookies", bomb("cookie", 3900, 60000)},
		{"paths", bomb(":path", 3900, 60000)},
		{"sizes", bytes.Repeat([]byte{0x20, 0x3f, 0xe1, 0x1f}, 15000)},
		{"empty entries", bytes.Repeat([]byte{0x40, 0, 0}, 20000)},
		{"long integers", bytes.Repeat([]byte{0xff, 0xff, 0xff, 0xff, 0x7f}, 9)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, h := newBlocks(false)
			_ = r.next(c.block)
			if len(r.arena) > 1<<21 || len(h.cookie) > maxCookieBytes || r.table.kept() > 2*hpackLargest || len(r.table.live()) > hpackLargest/hpackOverhead || cap(r.table.entries) > 2*hpackLargest/hpackOverhead {
				t.Errorf("arena %d, cookie %d, table %d in %d entries", len(r.arena), len(h.cookie), r.table.kept(), len(r.table.entries))
			}
			before := 1<<20 - *r.budget
			if r.table.forget(r.budget); *r.budget != 1<<20 {
				t.Errorf("%d bytes of %d are not given back", 1<<20-*r.budget, before)
			}
		})
	}
}

// FuzzHPACK reads anything as header blocks, beside another implementation:
// whatever that can read, ours reads alike; joined later, it is never wrong.
func FuzzHPACK(f *testing.F) {
	e := newEncoder2()
	f.Add(e.block(false, ":method", "GET", ":path", "/a", "authorization", "Bearer fake"), e.block(false, ":method", "GET", ":path", "/a", "x-tenant", "t"))
	f.Add(bomb("cookie", 30, 5), []byte{0x3f, 0xe1, 0x1f, 0x82, 0xbe})
	f.Add([]byte{0x20, 0x40, 1, 'a', 1, 'b'}, []byte{0xbe, 0x88})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		if len(first)+len(second) > 8192 {
			return
		}
		sameHuffman(t, first[:min(len(first), 64)])
		other := hpack.NewDecoder(hpackDefaultMax, nil)
		other.SetAllowedMaxDynamicTableSize(hpackLargest)
		ours, h := newBlocks(false)
		joined, jh := newBlocks(true)
		for i, block := range [][]byte{first, second} {
			list, err := other.DecodeFull(block)
			if err != nil {
				return
			}
			if err := ours.next(block); err != nil {
				t.Fatalf("block %d: %v, but another reads %v", i, err, list)
			}
			want := map[string]string{}
			for _, field := range list {
				name := field.Name
				if name == ":status" || name == ":scheme" || name == "cookie" {
					continue
				}
				if _, twice := want[name]; !twice && (field.Value != "" || strings.HasPrefix(name, ":")) {
					want[name] = field.Value
				}
			}
			for name, value := range legible(h) {
				if name != ":status" && name != ":scheme" && name != "cookie" && name != "x-api-key" && want[name] != value {
					t.Fatalf("block %d: %s is %q, want %q", i, name, value, want[name])
				}
			}
			if i == 0 {
				continue
			}
			if joined.next(block) != nil || jh.unseen || jh.ambiguous {
				return
			}
			for name, value := range legible(jh) {
				if all := legible(h); all[name] != value {
					t.Fatalf("joined: %s is %q, want %q", name, value, all[name])
				}
			}
		}
	})
}
