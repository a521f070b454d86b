package decide

import (
	"bytes"
	_ "embed"
	"strings"
	"sync"

	"github.com/scopedrift/scopedrift/schema"
)

// cloudTrailText is the table of error codes: one a line, decision and
// pattern.
//
//go:embed cloudtrail.tsv
var cloudTrailText string

// table maps codes to decisions: exact codes by lookup, patterns in order.
type table struct {
	exact    map[string]schema.Decision
	patterns []pattern
	messages []pattern
}

type pattern struct {
	text     string
	decision schema.Decision
}

// cloudTrailTable is read once, at first use.
var cloudTrailTable = sync.OnceValue(func() *table {
	t := &table{exact: map[string]schema.Decision{}}
	for line := range strings.Lines(cloudTrailText) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		field := strings.SplitN(line, "\t", 3)
		p := pattern{text: field[2]}
		if err := p.decision.UnmarshalText([]byte(field[1])); err != nil {
			panic(err) // the table is part of the program, and a test reads it
		}
		switch {
		case field[0] == "message":
			t.messages = append(t.messages, p)
		case strings.Contains(p.text, "*"):
			t.patterns = append(t.patterns, p)
		default:
			t.exact[p.text] = p.decision
		}
	}
	return t
})

// CloudTrail maps errorCode and errorMessage of a CloudTrail record. No code
// and no telling message is allowed.
//
// A code is looked up as it stands, then without the "Client." or "Server."
// that EC2 puts before it, then among patterns; the first that applies decides.
// The message is asked only where the code does not tell.
func CloudTrail(errorCode, errorMessage []byte) schema.Decision {
	t := cloudTrailTable()
	if len(errorCode) == 0 {
		if len(errorMessage) == 0 {
			return schema.DecisionAllowed
		}
		return t.message(errorMessage)
	}
	if d, ok := t.code(errorCode); ok {
		// A sign-in that fails carries the code of a denial.
		if d == schema.DecisionDenied && t.message(errorMessage) == schema.DecisionUnauthenticated {
			return schema.DecisionUnauthenticated
		}
		return d
	}
	if d, ok := statusCode(errorCode); ok {
		return d
	}
	return t.message(errorMessage)
}

func (t *table) code(code []byte) (schema.Decision, bool) {
	if d, ok := t.exact[string(code)]; ok {
		return d, true
	}
	for _, side := range [...]string{"Client.", "Server."} {
		if rest, found := bytes.CutPrefix(code, []byte(side)); found {
			code = rest
			if d, ok := t.exact[string(code)]; ok {
				return d, true
			}
		}
	}
	for i := range t.patterns {
		if globMatch(t.patterns[i].text, code) {
			return t.patterns[i].decision, true
		}
	}
	return schema.DecisionUnknown, false
}

func (t *table) message(message []byte) schema.Decision {
	for i := range t.messages {
		if globMatch(t.messages[i].text, message) {
			return t.messages[i].decision
		}
	}
	return schema.DecisionUnknown
}

// statusCode reads an error code that is an HTTP status.
func statusCode(code []byte) (schema.Decision, bool) {
	if len(code) != 3 || code[0] < '4' || code[0] > '5' {
		return 0, false
	}
	n := 0
	for _, c := range code {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return HTTP(n, nil), true
}

// globMatch reports whether text matches pattern, where * stands for any bytes,
// none included. Letters match in either case.
func globMatch(pattern string, text []byte) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && lower(pattern[p]) == lower(text[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
