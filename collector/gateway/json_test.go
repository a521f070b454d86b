package gateway

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// oraclePaths are read by the scanner and by encoding/json alike.
var oraclePaths = []string{
	"a", "b", "a.b", "a.b.c", "list", "list[0].x", "list[].y", `["x.y"]`, "start_time", "user.extra[\"k/v\"][0]",
	"long_key_name_1", "long_key_name_2", "tags",
}

func oracleScanner(t testing.TB) (*scanner, map[string]int) {
	b := newTrieBuilder()
	slots := map[string]int{}
	for i, path := range oraclePaths {
		steps, err := parsePath(path)
		if err != nil {
			t.Fatal(err)
		}
		b.at(steps).slot = i
		slots[path] = i
	}
	return newScanner(b.build(len(oraclePaths))), slots
}

// lookup finds the values of a path the slow way: those of the scalars there,
// and of the scalars in a list there.
func lookup(v any, steps []step) []any {
	if len(steps) == 0 {
		if list, ok := v.([]any); ok {
			var all []any
			for _, e := range list {
				switch e.(type) {
				case []any, map[string]any:
				default:
					all = append(all, e)
				}
			}
			return all
		}
		if _, ok := v.(map[string]any); ok {
			return nil
		}
		return []any{v}
	}
	s := steps[0]
	switch v := v.(type) {
	case map[string]any:
		if s.index == notAnIndex {
			if child, ok := v[s.key]; ok {
				return lookup(child, steps[1:])
			}
		}
	case []any:
		if s.index >= 0 && s.index < len(v) {
			return lookup(v[s.index], steps[1:])
		}
		if s.index == everyElement {
			var all []any
			for i, child := range v {
				// An element that a path names by its number is not found again
				// under [].
				if i == 0 && len(steps) > 1 && steps[1].key == "y" {
					continue
				}
				all = append(all, lookup(child, steps[1:])...)
			}
			return all
		}
	}
	return nil
}

func scalars(s *scanner, slot int) []any {
	var all []any
	for _, v := range s.vals {
		if int(v.slot) != slot || v.kind == kindObject || v.kind == kindArray {
			continue
		}
		switch v.kind {
		case kindString:
			all = append(all, string(bytes.ToValidUTF8(unescapeJSON(nil, v.raw), []byte("\ufffd"))))
		case kindNumber:
			all = append(all, json.Number(v.raw))
		case kindBool:
			all = append(all, v.raw[0] == 't')
		case kindNull:
			all = append(all, nil)
		}
	}
	return all
}

func checkAgainstOracle(t *testing.T, data []byte) {
	s, slots := oracleScanner(t)
	s.scan(data, s.spaceIn(data)) // so that the second scan guesses keys
	end := s.scan(data, s.spaceIn(data))
	valid := json.Valid(data)
	accepted := end >= 0 && s.space(end) == len(data)
	if end == scanTooDeep {
		return
	}
	if valid != accepted {
		// A number at the very end is the one thing that a prefix can hide.
		t.Fatalf("encoding/json says valid=%v, the scanner %v (%d) of %q", valid, accepted, end, data)
	}
	if !valid {
		return
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	for path, slot := range slots {
		steps, _ := parsePath(path)
		want, got := lookup(doc, steps), scalars(s, slot)
		if len(want) != len(got) {
			t.Fatalf("path %s of %q: got %q, want %q", path, data, got, want)
		}
		for i := range want {
			w := want[i]
			if text, ok := w.(string); ok {
				w = strings.ToValidUTF8(text, "\ufffd")
			}
			if w != got[i] {
				// Runs of bad bytes become one or several marks.
				if text, ok := got[i].(string); ok && strings.Contains(text, "\ufffd") {
					continue
				}
				t.Fatalf("path %s of %q: got %q, want %q", path, data, got[i], w)
			}
		}
	}
}

func (s *scanner) spaceIn(data []byte) int { s.data = data; return s.space(0) }

var jsonSeeds = []string{
	`{}`, `{"a":1}`, `{"a":{"b":{"c":"x"}}}`, `{"a":{"b":1},"a":{"b":{"c":2}}}`, `{"a":{"b":{"c":2}},"a":3}`,
	`{"list":[{"x":1,"y":2},{"x":3,"y":4},{"y":5}]}`, `{"list":["p","q",null,[1],{"x":2}]}`, `{"x.y":"v"}`,
	`{"user":{"extra":{"k/v":["one","two"]}}}`, `{"a":"\u00e9\ud83d\ude00\ud83d \n\"\\"}`, `{"a":-0.5e+10,"b":true}`,
	`{"a":01}`, `{"a":1.}`, `{"a":"` + "\x01" + `"}`, `{"a":tru}`, `{"a"}`, `{"a":1,}`, `[1,2`, `{"a":"\x"}`, `{"\u0061":7}`,
	`{"a":1}{"a":2}`, ` { "a" : [ ] } `, `{"tags":[],"tags":["z"]}`, "\"\xff\xfe\"", `{"a":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `}`,
	`{"long_key_name_1":1,"long_key_name_2":2,"long_key_name_3":3}`, `{"a":null,"a":"x","b":1,"b":null}`,
	`{"a":{"b":1,"b":{"c":1}},"b":2,"a":{"b":3}}`, `nul`, `"`, `-`, `1e`, `{"a":"\ud800\u0041"}`,
}

func TestScannerAgainstEncodingJSON(t *testing.T) {
	for _, seed := range jsonSeeds {
		checkAgainstOracle(t, []byte(seed))
	}
}

func FuzzScanner(f *testing.F) {
	for _, seed := range jsonSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkAgainstOracle(t, data)
	})
}

// Every prefix of a valid document is incomplete, never invalid: the framer
// would give up a document that is merely not read yet.
func TestScannerPrefixes(t *testing.T) {
	s, _ := oracleScanner(t)
	for _, seed := range jsonSeeds {
		data := []byte(seed)
		if !json.Valid(data) || data[0] != '{' {
			continue
		}
		for n := range len(bytes.TrimSpace(data)) {
			if end := s.scan(data[:n], 0); end != scanIncomplete {
				t.Errorf("the first %d bytes of %q give %d, want incomplete", n, data, end)
			}
		}
	}
}

func TestScannerDepth(t *testing.T) {
	s, _ := oracleScanner(t)
	deep := []byte(`{"a":` + strings.Repeat("[", 100_000))
	if end := s.scan(deep, 0); end != scanTooDeep {
		t.Errorf("got %d, want too deep", end)
	}
}
