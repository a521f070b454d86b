package serve

import (
	"strings"
	"testing"
)

var testFormats = formats{"native": true, "csv": true, "json": true, "values": true, "tsv": true, "jsoneachrow": true}

func TestParseStatement(t *testing.T) {
	for _, tt := range []struct {
		text   string
		kind   kind
		sql    string // "" means the text as it is
		format string
		rest   string
		many   bool
	}{
		{text: "", kind: kindEmpty},
		{text: "  ;", kind: kindEmpty, sql: "  "},
		{text: "-- only a comment\n/* and another */ # and one more", kind: kindEmpty},
		{text: "SELECT 1", kind: kindRead},
		{text: "select 1;", kind: kindRead, sql: "select 1"},
		{text: "SELECT 1; ;", kind: kindRead, sql: "SELECT 1", many: true},
		{text: "SELECT 1; -- done", kind: kindRead, sql: "SELECT 1"},
		{text: "/* SELECT */ WITH 1 AS x SELECT x", kind: kindRead},
		{text: "(SELECT 1) UNION ALL (SELECT 2)", kind: kindRead},
		{text: "SELECT 1 FORMAT CSV", kind: kindRead, sql: "SELECT 1  ", format: "CSV"},
		{text: "SELECT 1 format json settings max_threads = 1;", kind: kindRead, sql: "SELECT 1   settings max_threads = 1", format: "json"},
		{text: "SELECT 1 FORMAT CSV; DROP TABLE t", kind: kindRead, sql: "SELECT 1  ", format: "CSV", many: true},
		{text: "SELECT format FROM t", kind: kindRead},
		{text: "SELECT a AS format FROM t ORDER BY format DESC", kind: kindRead},
		{text: "SELECT format(x, 'CSV') FROM t", kind: kindRead},
		{text: "SELECT ' FORMAT CSV; '", kind: kindRead},
		{text: "SELECT ' it''s \\' FORMAT CSV; '", kind: kindRead},
		{text: "SELECT `a FORMAT CSV;` FROM \"b;c\"", kind: kindRead},
		{text: "SELECT $tag$ ; FORMAT CSV $tag$", kind: kindRead},
		{text: "SELECT 1 -- FORMAT CSV; DROP", kind: kindRead},
		{text: "SELECT (SELECT 1 FORMAT CSV)", kind: kindRead},
		{text: "SHOW TABLES", kind: kindRead},
		{text: "INSERT INTO t (a, b) FORMAT Native", kind: kindInsert, sql: "INSERT INTO t (a, b) ", format: "Native"},
		{text: "INSERT INTO t SETTINGS a = 1 FORMAT CSV\n1;2\n", kind: kindInsert, sql: "INSERT INTO t SETTINGS a = 1 ", format: "CSV", rest: "\n1;2\n"},
		{text: "INSERT INTO t (format, values) VALUES (1, ';')", kind: kindInsert, sql: "INSERT INTO t (format, values) ", format: "Values", rest: " (1, ';')"},
		{text: "INSERT INTO t SELECT values FROM u", kind: kindOther},
		{text: "INSERT INTO t SELECT 1", kind: kindOther},
		{text: "CREATE TABLE t (a UInt8) ENGINE = Memory", kind: kindOther},
		{text: "CREATE TEMPORARY TABLE t (a UInt8)", kind: kindSession},
		{text: "SET a = 1", kind: kindSession},
		{text: "use db", kind: kindSession},
		{text: "DROP TABLE t; SELECT 1", kind: kindOther, sql: "DROP TABLE t", many: true},
	} {
		want := tt.sql
		if want == "" {
			want = tt.text
		}
		got := parseStatement(tt.text, testFormats)
		if got.kind != tt.kind || got.sql != want || got.format != tt.format || got.rest != tt.rest || got.many != tt.many {
			t.Errorf("%q\n got %+v\nwant %+v", tt.text, got, statement{tt.kind, want, tt.format, tt.rest, tt.many})
		}
	}
}

// Whatever the text is: no panic, no end missed, nothing invented, and a second
// look at what would be run finds no second statement in it.
func FuzzParseStatement(f *testing.F) {
	for _, s := range []string{
		"SELECT 1 FORMAT CSV SETTINGS a=1;", "INSERT INTO t FORMAT Native\n\x00\x01", "SELECT 'a\\", "$x$ $x", "/* /* */ ;", "((((", "))))", "\xff FORMAT csv",
		"INSERT INTO t VALUES (1), (';')", "# x\nSELECT 1", "#! y", "-", "--", "`", "a''b'", "FORMAT FORMAT CSV",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := parseStatement(text, testFormats)
		if len(s.sql) > len(text)+1 {
			t.Fatalf("%q grew to %q", text, s.sql)
		}
		if s.rest != "" && !strings.HasSuffix(text, s.rest) {
			t.Fatalf("the rest of %q is %q", text, s.rest)
		}
		if s.kind == kindInsert && s.format == "" {
			t.Fatalf("%q takes rows without a format", text)
		}
		if s.many || s.kind == kindInsert {
			return
		}
		if again := parseStatement(s.sql, testFormats); again.many {
			t.Fatalf("%q leaves %q, which is more than one statement", text, s.sql)
		}
	})
}
