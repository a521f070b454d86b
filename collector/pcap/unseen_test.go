package pcap

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

// TestUnseenIsTold holds the capture to what it owes coverage: encrypted
// connections by name, requests that the tap lost, borders that it lost.
func TestUnseenIsTold(t *testing.T) {
	hello := func(name string) string {
		list := fmt.Sprintf("\x00\x00%c%s", len(name), name)
		ext := fmt.Sprintf("\x00\x00\x00%c\x00%c%s", len(list)+2, len(list), list)
		body := "\x03\x03" + strings.Repeat("r", 32) + "\x00\x00\x02\x13\x01\x01\x00\x00" + string(rune(len(ext))) + ext
		return fmt.Sprintf("\x16\x03\x01\x00%c\x01\x00\x00%c%s", len(body)+4, len(body), body)
	}
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	for _, c := range []struct {
		name   string
		script script
		want   map[string]uint64
	}{
		{"seen", script{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", answer}, map[string]uint64{}},
		{"encrypted", script{hello("Api.Example.io"), "\x16\x03\x03\x00\x01\x02"}, map[string]uint64{schema.LostTLS + "api.example.io": 1}},
		{"a hostile name", script{hello("a'); DROP x"), "\x16\x03\x03\x00\x01\x02"}, map[string]uint64{schema.LostTLS: 1}},
		{"an answer alone", script{"", answer}, map[string]uint64{lostRequest: 1}},
	} {
		sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, c.script.frames(1448))))
		got := map[string]uint64{}
		for _, b := range sink.batches {
			for reason, n := range b.Skipped {
				if strings.HasPrefix(reason, schema.Lost) {
					got[reason] += n
				}
			}
		}
		if !maps.Equal(got, c.want) {
			t.Errorf("%s: told %v, want %v; %+v", c.name, got, c.want, stats)
		}
	}
}
