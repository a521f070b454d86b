// Package redacttest gives tests the secrets that must not come out of a
// collector.
//
// [Canaries] returns them all; canaries.txt has them, one a line, and says what
// its places mean. All are fakes of the shapes that real issuers use. Only tests
// may import this package. It promises at least sixty, of every place; a shape
// that is not in the list is not looked for.
package redacttest

import (
	_ "embed" // canaries.txt
	"strings"
	"testing"
)

//go:embed canaries.txt
var text string

// Canary is one secret.
type Canary struct {
	// Name says what the secret is: jwt, aws_secret_key.
	Name string
	// Place is where it must be found: any, text, path, named, basic, userinfo.
	Place string
	// Secret is what must not come out.
	Secret string
}

// Canaries returns the secrets in the order of canaries.txt.
func Canaries(t testing.TB) []Canary {
	t.Helper()
	var list []Canary
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		field := strings.Split(line, "\t")
		if len(field) != 3 {
			t.Fatalf("canaries.txt: line %q has %d fields, want 3", line, len(field))
		}
		list = append(list, Canary{field[0], field[1], strings.ReplaceAll(field[2], `\n`, "\n")})
	}
	if len(list) < 60 {
		t.Fatalf("%d canaries, want 60 or more", len(list))
	}
	return list
}
