package catalog

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema/spelling"
)

// sourceFile is one file that was read.
type sourceFile struct {
	// path is the file as it was opened, for messages; name is relative to the
	// catalogue, so that what is derived from it does not depend on where the
	// catalogue lies.
	path, name string
}

// place names a line of the file for a message.
func (f *sourceFile) place(line int) string { return f.path + ":" + strconv.Itoa(line) }

// fields reads the keys of one mapping, strictly: each getter reports what is
// wrong and returns the zero value.
type fields struct {
	l    *loader
	file *sourceFile
	n    *node
	// what names the mapping in messages: "service", "grant".
	what string
}

// fields begins to read a mapping with the given keys. False says that it is
// no mapping, which is then reported.
func (l *loader) fields(file *sourceFile, n *node, what string, keys ...string) (fields, bool) {
	f := fields{l: l, file: file, n: n, what: what}
	if n.kind != kindMap {
		l.problem(file, n, fmt.Sprintf("%s must be a mapping, not %s", article(what), n.kind), "write its keys as "+keys[0]+": …")
		return f, false
	}
	first := make(map[string]int, len(n.entries))
	for i := range n.entries {
		e := &n.entries[i]
		at := &node{line: e.line, column: e.column}
		if line, twice := first[e.key]; twice {
			l.problem(file, at, fmt.Sprintf("key %q occurs twice in this %s, first in line %d", e.key, what, line), "keep one of them")
			continue
		}
		first[e.key] = e.line
		f.known(e.key, at, keys)
	}
	for i := range n.merged {
		f.known(n.merged[i].key, &node{line: n.merged[i].line, column: n.merged[i].column}, keys)
	}
	return f, true
}

func (f *fields) known(key string, at *node, keys []string) {
	for _, k := range keys {
		if k == key {
			return
		}
	}
	f.l.problem(f.file, at, fmt.Sprintf("unknown key %q in %s", key, article(f.what)), suggest(key, keys, "valid keys"))
}

// value returns the value of a key; nil where it is absent, or has no value,
// which is reported.
func (f *fields) value(key string) *node {
	n := f.n.get(key)
	if n != nil && n.kind == kindNull {
		f.l.problem(f.file, n, fmt.Sprintf("%q has no value", key), "give one or remove the key")
		return nil
	}
	return n
}

// wrong reports a value of the wrong kind.
func (f *fields) wrong(key string, n *node, want string) {
	hint := ""
	if strings.HasPrefix(want, "text") && (n.kind == kindNumber || n.kind == kindBool) {
		hint = fmt.Sprintf("put it in quotes: %q", n.text)
	}
	if strings.HasPrefix(want, "a list") && n.kind == kindText {
		hint = fmt.Sprintf("write [%s]", strconv.Quote(n.text))
	}
	if strings.HasPrefix(want, "a list") && n.kind == kindMap {
		hint = "begin each member with a dash"
	}
	f.l.problem(f.file, n, fmt.Sprintf("%q must be %s, not %s", key, want, n.kind), hint)
}

// text returns a text; "" where it is absent or wrong.
func (f *fields) text(key string) string {
	n := f.value(key)
	if n == nil {
		return ""
	}
	if n.kind != kindText {
		f.wrong(key, n, "text")
		return ""
	}
	if strings.TrimSpace(n.text) == "" {
		f.l.problem(f.file, n, fmt.Sprintf("%q is empty", key), "give a value or remove the key")
		return ""
	}
	return n.text
}

// required returns a text that must be there.
func (f *fields) required(key string) string {
	if f.n.get(key) == nil {
		f.l.problem(f.file, f.n, fmt.Sprintf("%s needs the key %q", article(f.what), key), "")
		return ""
	}
	return f.text(key)
}

// items returns the members of a list; nil where it is absent or wrong, not nil
// where it is there and empty.
func (f *fields) items(key string) []*node {
	n := f.value(key)
	if n == nil {
		return nil
	}
	if n.kind != kindList {
		f.wrong(key, n, "a list")
		return nil
	}
	if n.items == nil {
		return []*node{}
	}
	return n.items
}

// texts returns a list of texts; nil where it is absent.
func (f *fields) texts(key string, emptyAllowed bool) []string {
	items := f.items(key)
	if items == nil {
		return nil
	}
	list := make([]string, 0, len(items))
	for _, n := range items {
		switch {
		case n.kind != kindText:
			hint := ""
			if n.kind == kindNumber || n.kind == kindBool {
				hint = fmt.Sprintf("put it in quotes: %q", n.text)
			}
			f.l.problem(f.file, n, fmt.Sprintf("%q must be a list of texts; here is %s", key, n.kind), hint)
		case n.text == "" && !emptyAllowed:
			f.l.problem(f.file, n, fmt.Sprintf("%q holds an empty text", key), "remove it")
		default:
			list = append(list, n.text)
		}
	}
	return list
}

// boolean returns true or false; false where it is absent.
func (f *fields) boolean(key string) bool {
	n := f.value(key)
	if n == nil {
		return false
	}
	if n.kind != kindBool {
		f.l.problem(f.file, n, fmt.Sprintf("%q must be true or false, not %s", key, describe(n)), "")
		return false
	}
	return strings.EqualFold(n.text, "true")
}

// integer returns a whole number within bounds; 0 where it is absent.
func (f *fields) integer(key string, low, high int) int {
	n := f.value(key)
	if n == nil {
		return 0
	}
	v, err := strconv.Atoi(n.text)
	if n.kind != kindNumber || err != nil || v < low || v > high {
		f.l.problem(f.file, n, fmt.Sprintf("%q must be a whole number from %d to %d, not %s", key, low, high, describe(n)), "")
		return 0
	}
	return v
}

// word returns the index of a text among words, or -1 where it is absent or
// unknown.
func (f *fields) word(key string, words []string) int {
	n := f.value(key)
	if n == nil {
		return -1
	}
	if n.kind == kindText {
		for i, w := range words {
			if w == n.text {
				return i
			}
		}
	}
	f.l.problem(f.file, n, fmt.Sprintf("%q cannot be %s", key, describe(n)), suggest(n.text, words, "valid words"))
	return -1
}

// describe names a value in a message.
func describe(n *node) string {
	switch n.kind {
	case kindText:
		return strconv.Quote(n.text)
	case kindNumber, kindBool:
		return n.text
	}
	return n.kind.String()
}

// instant returns a point in time: an RFC 3339 time, or a date, which means the
// whole day in UTC: its start, or with end set the start of the next day.
func (f *fields) instant(key string, end bool) time.Time {
	n := f.value(key)
	if n == nil {
		return time.Time{}
	}
	if n.kind == kindText {
		if day, err := time.Parse(time.DateOnly, n.text); err == nil {
			if end {
				day = day.AddDate(0, 0, 1)
			}
			return day
		}
		if t, err := time.Parse(time.RFC3339Nano, n.text); err == nil {
			return t.UTC()
		}
	}
	f.l.problem(f.file, n, fmt.Sprintf("%q is no date: %s", key, describe(n)), "write 2026-12-31 or 2026-12-31T18:00:00Z")
	return time.Time{}
}

// period reads two instants and reports an end that is not after the start.
func (f *fields) period(from, to string) (time.Time, time.Time) {
	start, end := f.instant(from, false), f.instant(to, true)
	if !start.IsZero() && !end.IsZero() && !start.Before(end) {
		f.l.problem(f.file, f.n.get(to), fmt.Sprintf("%q is before %q (%s)", to, from, f.n.get(from).text), "exchange them or correct one")
	}
	return start, end
}

// duration returns a positive duration such as 1h30m or 90d; 0 where it is
// absent.
func (f *fields) duration(key string) time.Duration {
	n := f.value(key)
	if n == nil {
		return 0
	}
	var d time.Duration
	err := strconv.ErrSyntax
	if n.kind == kindText {
		if days, ok := strings.CutSuffix(n.text, "d"); ok {
			var count uint64
			if count, err = strconv.ParseUint(days, 10, 16); err == nil {
				d = time.Duration(count) * 24 * time.Hour
			}
		} else {
			d, err = time.ParseDuration(n.text)
		}
	}
	if err != nil || d <= 0 {
		f.l.problem(f.file, n, fmt.Sprintf("%q is no duration above zero: %s", key, describe(n)), "write 15m, 1h or 90d")
		return 0
	}
	return d
}

// article puts "a" or "an" before a word.
func article(word string) string {
	if strings.IndexByte("aeiou", word[0]) >= 0 {
		return "an " + word
	}
	return "a " + word
}

// suggest names the nearest valid word, or all of them where none is near.
func suggest(word string, valid []string, what string) string {
	if near := spelling.Nearest(word, valid, len(word)/3+1); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return what + " are " + strings.Join(valid, ", ")
}
