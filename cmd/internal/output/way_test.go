package output

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector/investigate"
	"github.com/scopedrift/scopedrift/schema"
)

func wayOf(words ...string) []schema.Hop {
	var hops []schema.Hop
	for i := 0; i+1 < len(words); i++ {
		hops = append(hops, schema.Hop{Kind: "switch", Tier: i % 4, Time: time.Date(2026, 3, 1, 10, 0, i, 0, time.UTC), From: words[i], To: words[i+1],
			Credential: "the credential of " + words[i], Operation: "GET /" + words[i]})
	}
	return hops
}

// TestWayFits wants a drawn way to fit a terminal of 80 columns, whatever the
// names are like, as far as words can be parted, and to hold every name.
func TestWayFits(t *testing.T) {
	long := strings.Repeat("name with words ", 12)
	for _, words := range [][]string{{"a", "b", "c"}, {long, "b", long + "2"}, {"evil\x1b[31m\n", "b\u202e"}} {
		var b bytes.Buffer
		out := bufio.NewWriter(&b)
		drawWay(out, wayOf(words...), "  ")
		out.Flush()
		for line := range strings.Lines(b.String()) {
			if line = strings.TrimSuffix(line, "\n"); Width(line) > wayWidth || Safe(line) != line {
				t.Errorf("%d columns: %q", Width(line), line)
			}
		}
		flat := strings.Join(strings.FieldsFunc(b.String(), func(r rune) bool { return r == ' ' || r == '\n' || r == '|' }), " ")
		for _, w := range words {
			if !strings.Contains(flat, strings.Join(strings.Fields(Safe(w)), " ")) {
				t.Errorf("%q is missing in\n%s", w, b.String())
			}
		}
	}
}

// TestDOT wants graphs that hostile names cannot leave.
func TestDOT(t *testing.T) {
	hostile := "x\"]; evil -> \\\" \n \\N <b>\x00"
	r := &investigate.Investigation{Question: investigate.Question{Kind: investigate.KindWorkload, Name: hostile},
		Places: []investigate.Place{{Name: hostile, Credentials: []string{hostile, "c"}, Strange: "it is"}},
		Used:   []investigate.Used{{Credential: hostile, Service: hostile, Verdicts: investigate.Verdicts{Beyond: 2}}},
		Links:  investigate.Links{Path: wayOf(hostile, "b", hostile)}}
	var b bytes.Buffer
	if err := WriteInvestigationDOT(&b, r); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if !strings.HasPrefix(text, "digraph scopedrift {\n") || !strings.HasSuffix(text, "}\n") {
		t.Fatalf("no graph:\n%s", text)
	}
	for line := range strings.Lines(text) {
		// Outside of quoted texts stands nothing that came from a log.
		rest, quoted := "", false
		for i := 0; i < len(line); i++ {
			switch {
			case quoted && line[i] == '\\':
				i++
			case line[i] == '"':
				quoted = !quoted
			case !quoted:
				rest += line[i : i+1]
			}
		}
		if quoted || strings.Contains(rest, "evil") {
			t.Errorf("a name left its quotes: %s", line)
		}
	}
	if strings.Count(text, "color=red") < 4 {
		t.Errorf("what is strange is not red:\n%s", text)
	}
	b.Reset()
	if err := WriteInvestigationMarkdown(&b, r, Options{}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "\x00") || strings.Contains(b.String(), "<b>") && !strings.Contains(b.String(), `\<b\>`) {
		t.Errorf("a name is markup:\n%s", b.String())
	}
}
