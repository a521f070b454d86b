package gateway

import (
	"bytes"

	"github.com/scopedrift/scopedrift/collector/redact"
)

// unit is one line or document with the values found in it. It answers for a
// reader: what that preset calls missing is missing.
type unit struct {
	s       *scanner
	scrub   *redact.Scrubber
	missing [][]byte
	// raw is what the call id is made of: the unit without its framing.
	raw []byte
	// scratch takes unescaped and composed values; they stay valid until the
	// next unit, since growth leaves the old array to those who alias it.
	scratch []byte
	made    []byte
	// frameTime is the time that the framing gave, in microseconds, 0 for none;
	// frameTimeUsed says that the unit has no time of its own.
	frameTime     int64
	frameTimeUsed bool
}

// begin forgets the last unit.
func (u *unit) begin() {
	u.scratch = u.scratch[:0]
	u.frameTime, u.frameTimeUsed = 0, false
}

// text returns the first value of a slot as text, nil where there is none.
func (u *unit) text(slot int) []byte {
	first := u.s.first[slot]
	if first == 0 {
		return nil
	}
	v := &u.s.vals[first-1]
	if v.kind == kindArray || u.isMissing(v) {
		return u.laterText(slot, int(first))
	}
	return u.plain(v)
}

// laterText looks past values that say nothing.
func (u *unit) laterText(slot, from int) []byte {
	for i := from; i < len(u.s.vals); i++ {
		v := &u.s.vals[i]
		if int(v.slot) == slot && v.kind != kindArray && !u.isMissing(v) {
			return u.plain(v)
		}
	}
	return nil
}

// isMissing reports whether a value says that there is none.
func (u *unit) isMissing(v *value) bool {
	switch v.kind {
	case kindNull, kindObject, kindAbsent:
		return true
	case kindString, kindText:
		if len(v.raw) == 0 || len(v.raw) == 1 && v.raw[0] == '-' {
			return true
		}
		for _, m := range u.missing {
			if bytes.Equal(v.raw, m) {
				return true
			}
		}
	}
	return false
}

// plain returns a value without its escapes.
func (u *unit) plain(v *value) []byte {
	if !v.escaped {
		return v.raw
	}
	start := len(u.scratch)
	if v.kind == kindText {
		u.scratch = unescapeText(u.scratch, v.raw)
	} else {
		u.scratch = unescapeJSON(u.scratch, v.raw)
	}
	return u.scratch[start:len(u.scratch):len(u.scratch)]
}

// count returns how many values a slot has.
func (u *unit) count(slot int) int {
	first := u.s.first[slot]
	if first == 0 {
		return 0
	}
	n := 0
	for i := int(first) - 1; i < len(u.s.vals); i++ {
		v := &u.s.vals[i]
		if int(v.slot) == slot && v.kind != kindArray && !u.isMissing(v) {
			n++
		}
	}
	return n
}

// joined returns all values of a slot, with commas between them.
func (u *unit) joined(slot int) []byte {
	var all []byte
	for i := int(u.s.first[slot]) - 1; i < len(u.s.vals); i++ {
		v := &u.s.vals[i]
		if int(v.slot) != slot || v.kind == kindArray || u.isMissing(v) {
			continue
		}
		if all != nil {
			all = append(all, ',')
		}
		all = append(all, u.plain(v)...)
	}
	return all
}

// names reports whether the log has the field, with or without a value. An
// object in its place is another format's.
func (u *unit) names(slot int) bool {
	first := u.s.first[slot]
	return first != 0 && u.s.vals[first-1].kind != kindObject
}

// namesAny reports whether the log has one of the places of a field.
func (u *unit) namesAny(f *field) bool {
	for i := range f.sources {
		if f.sources[i].slot < 0 || u.names(f.sources[i].slot) {
			return true
		}
	}
	return false
}

// is reports whether the slot's value is exactly one of the values.
func (u *unit) is(slot int, values [][]byte) bool {
	v := u.text(slot)
	if v == nil {
		return false
	}
	for _, other := range values {
		if bytes.Equal(v, other) {
			return true
		}
	}
	return false
}

// get returns a field's text, nil where there is none.
func (u *unit) get(f *field) []byte {
	if len(f.sources) == 0 {
		return f.constant
	}
	return u.find(f)
}

// find looks through a field's sources.
func (u *unit) find(f *field) []byte {
	for i := range f.sources {
		s := &f.sources[i]
		if s.slot >= 0 {
			if u.s.first[s.slot] == 0 {
				continue
			}
			if v := u.text(s.slot); v != nil {
				return v
			}
			continue
		}
		// Places may unescape into the scratch space too, so the value is made
		// elsewhere and moved.
		var ok bool
		if u.made, ok = s.composed.appendTo(u.made[:0], u); !ok || len(u.made) == 0 {
			continue
		}
		start := len(u.scratch)
		u.scratch = append(u.scratch, u.made...)
		return u.scratch[start:len(u.scratch):len(u.scratch)]
	}
	return f.constant
}

// list appends all values of a field to dst: of every source, and every name of
// a text that holds several, separated by spaces or commas. present says that
// the log has the field, even empty.
func (u *unit) list(dst [][]byte, f *field, split bool) (values [][]byte, present bool) {
	for i := range f.sources {
		slot := f.sources[i].slot
		if slot < 0 || u.s.first[slot] == 0 {
			continue
		}
		for j := int(u.s.first[slot]) - 1; j < len(u.s.vals); j++ {
			v := &u.s.vals[j]
			if int(v.slot) != slot {
				continue
			}
			if v.kind == kindArray || v.kind == kindString && len(v.raw) == 0 {
				present = true
			}
			if v.kind == kindArray || u.isMissing(v) {
				continue
			}
			present = true
			if text := u.plain(v); split {
				dst = appendWords(dst, text)
			} else {
				dst = append(dst, text)
			}
		}
	}
	return dst, present
}

// appendWords splits text at spaces and commas. A JSON list that was written as
// text loses its brackets and quotes.
func appendWords(dst [][]byte, text []byte) [][]byte {
	if n := len(text); n >= 2 && text[0] == '[' && text[n-1] == ']' {
		for _, word := range appendWords(nil, text[1:n-1]) {
			if word = bytes.Trim(word, `"`); len(word) > 0 {
				dst = append(dst, word)
			}
		}
		return dst
	}
	for len(text) > 0 {
		end := bytes.IndexAny(text, " ,\t\n")
		if end < 0 {
			return append(dst, text)
		}
		if end > 0 {
			dst = append(dst, text[:end])
		}
		text = text[end+1:]
	}
	return dst
}

// matches reports whether the unit has all fields of one of the reader's sets.
func (u *unit) matches(r *reader) bool {
	for _, set := range r.match {
		all := true
		for _, slot := range set {
			if !u.names(slot) {
				all = false
				break
			}
		}
		if all {
			return true
		}
	}
	return false
}

// lacks returns the first field that the unit lacks of the set that it comes
// nearest to.
func (u *unit) lacks(r *reader) string {
	path, least := "", 1<<30
	for i, set := range r.match {
		missing, first := 0, ""
		for j, slot := range set {
			if !u.names(slot) {
				if missing++; first == "" {
					first = r.Match[i][j]
				}
			}
		}
		if missing < least {
			path, least = first, missing
		}
	}
	return path
}

// notACall returns why the unit is none, "" if it may be one.
func (u *unit) notACall(r *reader) string {
	for i := range r.rules {
		rule := &r.rules[i]
		if rule.slot >= 0 && !u.is(rule.slot, rule.in) {
			continue
		}
		absent := true
		for _, slot := range rule.absent {
			if u.text(slot) != nil {
				absent = false
				break
			}
		}
		if absent {
			return rule.why
		}
	}
	return ""
}
