package detector

import (
	"strconv"
	"strings"
	"testing"
)

// FuzzLiteral reads back what literal writes, as ClickHouse does, and looks for
// anything that could end the string early.
func FuzzLiteral(f *testing.F) {
	for _, s := range []string{"", "plain/GET {id}", "it's", `back\slash'`, "\x00\n\xff", "é\u202e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, text := range []string{literal(s), bytesLiteral([]byte(s))} {
			inner := text[1 : len(text)-1]
			if text[0] != '\'' || text[len(text)-1] != '\'' || strings.ContainsAny(inner, "'\n\x00") {
				t.Fatalf("%q is written as %s", s, text)
			}
			back, err := strconv.Unquote(`"` + inner + `"`) // only \xHH occurs
			if err != nil || back != s {
				t.Fatalf("%q is written as %s and read as %q, %v", s, text, back, err)
			}
		}
	})
}
