package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestValues(t *testing.T) {
	for _, c := range []struct {
		name  string
		value pflag.Value
		in    string
		// want is the value's written form, or the whole error.
		want string
	}{
		{"share percent", &share{}, "95%", "95%"},
		{"share fraction", &share{}, "0.95", "95%"},
		{"share zero", &share{}, "0", "0%"},
		{"share too large", &share{}, "95", `"95" is no share; write 95% or 0.95`},
		{"share negative", &share{}, "-1%", `"-1%" is no share; write 95% or 0.95`},
		{"share nan", &share{}, "NaN", `"NaN" is no share; write 95% or 0.95`},
		{"size", &size{}, "1.5GiB", "1.5GiB"},
		{"size short", &size{}, "800m", "800MiB"},
		{"size decimal", &size{}, "2gb", "1.9GiB"},
		{"size bytes", &size{}, "512", "512B"},
		{"size negative", &size{}, "-1g", `"-1g" is no size; write 1.5GiB or 800MiB`},
		{"size huge", &size{}, "9e300g", `"9e300g" is no size; write 1.5GiB or 800MiB`},
		{"size word", &size{}, "lots", `"lots" is no size; write 1.5GiB or 800MiB`},
		{"from date", &moment{}, "2026-03-01", "2026-03-01T00:00:00Z"},
		{"to date is its whole day", &moment{end: true}, "2026-03-01", "2026-03-02T00:00:00Z"},
		{"time keeps its instant", &moment{end: true}, "2026-03-01T02:00:00+02:00", "2026-03-01T00:00:00Z"},
		{"no date", &moment{}, "2026-02-30", `"2026-02-30" is no time; write 2026-03-01 or 2026-03-01T04:00:00Z`},
		{"since days", &since{}, "7d", "168h0m0s"},
		{"since hours", &since{}, "36h", "36h0m0s"},
		{"since date", &since{}, "2026-03-01", "2026-03-01T00:00:00Z"},
		{"since backwards", &since{}, "-1h", `"-1h" is no time or span; write 2026-03-01, 2026-03-01T04:00:00Z, 36h or 7d`},
		{"severity", &severityWord{}, "high", "high"},
		{"severity typo", &severityWord{}, "hihg", `"hihg" is none of low, medium, high, critical; did you mean "high"?`},
		{"word far off", &word{known: []string{"auto", "never"}}, "purple", `"purple" is none of auto, never`},
		{"server", &address{}, "https://u:secret@host:8443/db", "https://u:…@host:8443/db"},
		{"server without password", &address{}, "clickhouse://u@host:9000", "clickhouse://u@host:9000"},
		{"server scheme", &address{}, "ftp://host", `scheme "ftp" is not one of clickhouse, http, https`},
		{"server broken", &address{}, "https://u:se%cret@host", "not a server's address; write clickhouse://host:9000/database or https://host:8443/database"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := c.value.Set(c.in); err != nil {
				got = err.Error()
			} else {
				got = c.value.String()
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	known := []string{"catalog", "format", "fail_on", "min_coverage"}
	for in, want := range map[string]string{
		"catalogue": "catalog", "formta": "format", "failon": "fail_on", "FORMAT": "format",
		"zzz": "", "": "", strings.Repeat("x", 1000): "",
	} {
		if got := nearest(in, known); got != want {
			t.Errorf("nearest(%.20q) = %q, want %q", in, got, want)
		}
	}
}

func TestProgressLine(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	p := &progress{now: func() time.Time { return now }, stage: "reading", total: 1 << 30, begun: now}
	if got := p.line(); got != "reading  0B of 1GiB" {
		t.Errorf("at the start: %q", got)
	}
	now = now.Add(10 * time.Second)
	p.done.Store(256 << 20)
	p.more.Store(1234567)
	if got := p.line(); got != "reading  256MiB of 1GiB  1,234,567 calls  25.6MiB/s  30s left" {
		t.Errorf("under way: %q", got)
	}
	p.total = 0
	if got := p.line(); got != "reading  256MiB  1,234,567 calls  25.6MiB/s" {
		t.Errorf("of unknown length: %q", got)
	}
}

func FuzzValues(f *testing.F) {
	for _, s := range []string{"95%", "1.5GiB", "2026-03-01", "7d", "high", "https://u:p@h", "\x00", "9e999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, v := range []pflag.Value{&share{}, &size{}, &moment{}, &moment{end: true}, &since{}, &severityWord{}, &address{}} {
			if v.Set(s) != nil {
				continue
			}
			if _, server := v.(*address); server {
				continue // it prints without its password, which is another address
			}
			if again, back := v.String(), v.Set(v.String()); back != nil && again != "" {
				t.Errorf("%T: %q prints as %q, which it does not take: %v", v, s, again, back)
			}
		}
	})
}
