package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire/callpb"
)

// callWith is a message of a call with these fields besides its id.
func callWith(fields ...[]byte) []byte {
	body := field(2, make([]byte, 16))
	return append(number(1, 1), field(4, append(body, slices.Concat(fields...)...))...)
}

func field(n protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), value)
}

func number(n protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), value)
}

func TestRefused(t *testing.T) {
	whole := AppendCall(nil, Envelope{1, 2}, fullCall())
	account := func(fields ...[]byte) []byte { return append(number(1, 1), field(5, slices.Concat(fields...))...) }
	var reasons []byte
	for i := range 1025 {
		reasons = append(reasons, field(5, field(1, fmt.Append(nil, i)))...)
	}
	for _, test := range []struct {
		name, reason string
		data         []byte
	}{
		{"nothing", ReasonTruncated, nil},
		{"half a message", ReasonTruncated, whole[:len(whole)/2]},
		{"all but a byte", ReasonTruncated, whole[:len(whole)-1]},
		{"text", ReasonTruncated, []byte(`{"time":"2026-10-03T09:08:07Z"}`)},
		{"a schema registry's prefix", ReasonMalformed, append([]byte{0, 0, 0, 0, 7, 0}, whole...)},
		{"an endless varint", ReasonMalformed, append([]byte{8}, bytes.Repeat([]byte{0xff}, 11)...)},
		{"no version", ReasonWrongVersion, field(4, field(2, make([]byte, 16)))},
		{"a newer version", ReasonWrongVersion, slices.Concat(whole, number(1, 2))},
		{"a newer version of another shape", ReasonWrongVersion, slices.Concat(number(1, 9), []byte{0xff, 0xff})},
		{"too long", ReasonOversized, slices.Concat(whole, field(900, make([]byte, MaxMessage)))},
		{"neither call nor account", ReasonUnknownKind, number(1, 1)},
		{"another kind", ReasonUnknownKind, slices.Concat(number(1, 1), field(6, []byte("x")))},
		{"no id", ReasonMalformed, slices.Concat(number(1, 1), field(4, nil))},
		{"half an id", ReasonMalformed, callWith(field(2, make([]byte, 8)))},
		{"an address of 5 bytes", ReasonMalformed, callWith(field(13, make([]byte, 5)))},
		{"a peer address of 1 byte", ReasonMalformed, callWith(field(26, make([]byte, 1)))},
		{"a status of 65536", ReasonOutOfRange, callWith(number(11, 65536))},
		{"the year 10000", ReasonOutOfRange, callWith(number(1, maxTime+1))},
		{"the year 0", ReasonOutOfRange, callWith(number(1, ^uint64(-minTime-1)-1))},
		{"a text that is not UTF-8", ReasonNotUTF8, callWith(field(9, []byte("\xff")))},
		{"a path that is not UTF-8", ReasonNotUTF8, callWith(field(10, []byte("/\xff")))},
		{"a scope that is not UTF-8", ReasonNotUTF8, callWith(field(6, []byte("read")), field(6, []byte("\xc0")))},
		{"an issuer that is not UTF-8", ReasonNotUTF8, callWith(field(5, field(3, []byte("\xff"))))},
		{"a credential cut short", ReasonTruncated, callWith(field(5, []byte{0x12, 9, 'x'}))},
		{"an account's reason that is not UTF-8", ReasonMalformed, account(field(5, field(1, []byte("\xff"))))},
		{"an account that ends before it begins", ReasonOutOfRange, account(number(2, 5), number(3, 4))},
		{"an account of the year 10000", ReasonOutOfRange, account(number(7, maxTime+1))},
		{"an account of too many reasons", ReasonOversized, account(reasons)},
	} {
		_, err := NewDecoder().Message(test.data)
		var e *Error
		if !errors.As(err, &e) || e.Reason != test.reason {
			t.Errorf("%s: error %v, want reason %s", test.name, err, test.reason)
			continue
		}
		if !slices.Contains(Reasons(), e.Reason) || remedies[e.Reason] == "" {
			t.Errorf("%s: reason %q is not among Reasons, or has no remedy", test.name, e.Reason)
		}
		if e.Offset < 0 || e.Offset > len(test.data) {
			t.Errorf("%s: offset %d of %d", test.name, e.Offset, len(test.data))
		}
	}
	if len(remedies) != len(Reasons()) {
		t.Errorf("%d remedies for %d reasons", len(remedies), len(Reasons()))
	}
	if _, _, err := NewDecoder().Account(whole); err == nil || err.(*Error).Reason != ReasonUnknownKind {
		t.Errorf("a call read as an account gives %v", err)
	}
}

// TestEveryCut cuts a message at each byte: no half of it is read as a call.
func TestEveryCut(t *testing.T) {
	whole := AppendCall(nil, Envelope{1, 2}, fullCall())
	for n := range whole {
		_, err := NewDecoder().Message(whole[:n])
		if err == nil || !strings.HasPrefix(err.Error(), "read call at byte ") {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestLimits(t *testing.T) {
	for _, test := range []struct {
		name string
		data []byte
		good func(c *schema.Call) bool
	}{
		{"first time", callWith(number(1, ^uint64(-minTime-1))), func(c *schema.Call) bool { return c.Time.Equal(time.Time{}) }},
		{"last time", callWith(number(1, maxTime)), func(c *schema.Call) bool { return c.Time.Year() == 9999 }},
		{"1970", callWith(number(1, 0)), func(c *schema.Call) bool { return c.Time.Equal(time.Unix(0, 0)) }},
		{"no time", callWith(), func(c *schema.Call) bool { return c.Time.IsZero() }},
		{"scopes without scopes_known", callWith(field(6, []byte("read"))), func(c *schema.Call) bool { return len(c.Scopes) == 1 }},
		{"scopes in two parts", callWith(field(6, []byte("a")), field(9, []byte("h")), field(6, []byte("b")), field(6, []byte("a"))),
			func(c *schema.Call) bool { return slices.Equal(c.Scopes, []string{"a", "b", "a"}) }},
		{"a field twice", callWith(field(9, []byte("a")), field(9, []byte("b"))), func(c *schema.Call) bool { return c.Host == "b" }},
		{"a credential in two parts", callWith(field(5, field(2, []byte("id"))), field(5, field(3, []byte("issuer")))),
			func(c *schema.Call) bool { return c.Credential.ID == "id" && c.Credential.Issuer == "issuer" }},
		{"a field of another type", callWith(number(9, 7)), func(c *schema.Call) bool { return c.Host == "" }},
		{"an account, then a call", append(append(number(1, 1), field(5, nil)...), callWith()...), func(*schema.Call) bool { return true }},
	} {
		m, err := NewDecoder().Message(test.data)
		if err != nil || m.Call == nil || !test.good(m.Call) {
			t.Errorf("%s: %+v, error %v", test.name, m.Call, err)
		}
	}
}

func TestAccounts(t *testing.T) {
	for _, want := range []*schema.Account{fullAccount(), {}, {NextUnit: 1 << 63, Done: true, Skipped: map[string]uint64{"": 0}}} {
		data := AppendAccount([]byte("before"), Envelope{3, 4}, want)[len("before"):]
		m, err := NewDecoder().Message(data)
		if err != nil || m.Call != nil || m.Envelope != (Envelope{3, 4}) || !reflect.DeepEqual(m.Account, want) {
			t.Errorf("%+v is read as %+v, error %v", want, m.Account, err)
		}
		if err := proto.Unmarshal(data, new(callpb.Envelope)); err != nil {
			t.Errorf("generated types refuse %+v: %v", want, err)
		}
	}
	bad := &schema.Account{Input: schema.Input{Name: "logs/\xff.log"}, Skipped: map[string]uint64{"\xc0": 1}}
	m, err := NewDecoder().Message(AppendAccount(nil, Envelope{}, bad))
	if err != nil || m.Account.Input.Name != "logs/\uFFFD.log" || m.Account.Skipped["\uFFFD"] != 1 {
		t.Errorf("an account with texts that are not UTF-8 is read as %+v, error %v", m.Account, err)
	}
}

// TestTextsAreOne holds the decoder to what package block relies on: texts and
// lists that repeat lie at one place.
func TestTextsAreOne(t *testing.T) {
	d := NewDecoder()
	data := AppendCall(nil, Envelope{}, fullCall())
	var first, second schema.Call
	for _, c := range []*schema.Call{&first, &second} {
		if _, _, err := d.Call(data, c); err != nil {
			t.Fatal(err)
		}
		d.Reset()
	}
	for name, pair := range map[string][2]string{
		"host": {first.Host, second.Host}, "credential id": {first.Credential.ID, second.Credential.ID},
		"user agent": {first.UserAgent, second.UserAgent}, "operation": {first.Operation, second.Operation},
	} {
		if pair[0] == "" || unsafe.StringData(pair[0]) != unsafe.StringData(pair[1]) {
			t.Errorf("%s lies at two places", name)
		}
	}
	for name, pair := range map[string][2][]string{
		"scopes": {first.Scopes, second.Scopes}, "groups": {first.Credential.Groups, second.Credential.Groups}, "query keys": {first.QueryKeys, second.QueryKeys},
	} {
		if len(pair[0]) == 0 || &pair[0][0] != &pair[1][0] {
			t.Errorf("%s lie at two places", name)
		}
		if cap(pair[0]) != len(pair[0]) {
			t.Errorf("%s have room behind them, which two owners could write to", name)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	c, d, buf := fullCall(), NewDecoder(), make([]byte, 0, 4096)
	data := AppendCall(nil, Envelope{1 << 60, 1 << 40}, c)
	if n := testing.AllocsPerRun(1000, func() { buf = AppendCall(buf[:0], Envelope{1, 2}, c) }); n != 0 {
		t.Errorf("writing a call allocates %v times", n)
	}
	// The one allocation in some 500 calls is a chunk for texts that do not repeat.
	if n := testing.AllocsPerRun(10_000, func() {
		if _, _, err := d.Call(data, c); err != nil {
			t.Fatal(err)
		}
	}); n > 0.01 {
		t.Errorf("reading a call allocates %v times", n)
	}
}

// TestMemoryIsBounded floods a decoder with texts and lists that never repeat.
func TestMemoryIsBounded(t *testing.T) {
	d := NewDecoder()
	c := fullCall()
	var data []byte
	var got schema.Call
	flood := func(n int) uint64 {
		for i := range n {
			// Of every length up to beyond the longest that is remembered.
			long := strings.Repeat("x", i%600) + fmt.Sprint(i, n)
			c.UserAgent, c.Host, c.Credential.ID = long, long+"h", long+"c"
			c.Scopes = strings.Split(strings.Repeat(fmt.Sprint(i, ","), i%200), ",")
			data = AppendCall(data[:0], Envelope{}, c)
			if _, _, err := d.Call(data, &got); err != nil {
				t.Fatal(err)
			}
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := flood(1)
	after := flood(60_000)
	runtime.KeepAlive(d)
	if after > before+8<<20 {
		t.Errorf("a decoder of texts that never repeat holds %d KiB", (after-before)>>10)
	}
	t.Logf("%d KiB held after the flood", (after-before)>>10)
}

// TestHostileListCostsLittle reads the list that costs most to put together.
func TestHostileListCostsLittle(t *testing.T) {
	pair := slices.Concat(field(6, nil), field(22, nil))
	data := callWith(bytes.Repeat(pair, (MaxMessage-100)/len(pair)))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var c schema.Call
	if _, _, err := NewDecoder().Call(data, &c); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if len(c.Scopes) < 150_000 || len(c.QueryKeys) != len(c.Scopes) {
		t.Errorf("%d scopes, %d query keys", len(c.Scopes), len(c.QueryKeys))
	}
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 64<<20 {
		t.Errorf("a message of 1 MB took %d MiB to read", spent>>20)
	}
}
