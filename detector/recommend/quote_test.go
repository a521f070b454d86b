package recommend

import (
	"testing"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

// FuzzQuote reads back what is written into the YAML of a proposal.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "orders:read", "it's", `a"b\c`, "# no comment", "null", "a\nb\tc\x00", "é\u202e\u2028", "*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip("a catalogue holds UTF-8 only")
		}
		var back struct{ Scope string }
		text := "{scope: " + quote(s) + "}\n"
		if err := yaml.Unmarshal([]byte(text), &back); err != nil || back.Scope != s {
			t.Fatalf("%q is written as %s and read as %q, %v", s, text, back.Scope, err)
		}
	})
}
