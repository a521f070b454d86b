package gateway

import "bytes"

// noFormat counts a unit that no format fits.
func (e *engine) noFormat() {
	e.lacking()
	e.bad(reasonNoFormat)
}

// lacking counts what a unit that no format fits lacks of the nearest one: the
// format that knows most of the unit's fields.
func (e *engine) lacking() {
	var nearest *reader
	most := 0
	if len(e.f.presets) == 1 && len(e.f.json) == 1 {
		nearest = e.f.json[0] // the user's word
	}
	for _, r := range e.f.json {
		known := 0
		for i := range e.s.vals {
			if r.reads.has(int(e.s.vals[i].slot)) {
				known++
			}
		}
		if known > most {
			nearest, most = r, known
		}
	}
	if nearest != nil {
		if path := e.u.lacks(nearest); path != "" {
			e.report.Missing[nearest.Name+" "+path]++
		}
	}
}

// unwrap looks for a unit inside the document; false says that there is none.
func (e *engine) unwrap(depth int) bool {
	e.u.missing = nil
	written, none := e.written(), false
	for i := range e.f.wrappers {
		w := &e.f.wrappers[i]
		first := e.s.first[w.slot]
		if first == 0 {
			continue
		}
		v := e.s.vals[first-1]
		switch v.kind {
		case kindString:
			if len(v.raw) == 0 {
				continue
			}
			e.carried(&v, w.path, depth)
			return true
		case kindObject:
			if written || w.common && e.ownWords() {
				continue
			}
			e.nested(v.raw, depth)
			return true
		case kindArray:
			if e.array(v.raw, depth) {
				return true
			}
		case kindNull:
			none = none || w.envelope
		}
	}
	if none {
		e.skip(reasonEmpty) // a list without units
	}
	return none
}

// written reports whether the document has its unit as it was written.
func (e *engine) written() bool {
	for i := range e.f.wrappers {
		if w := &e.f.wrappers[i]; w.written && len(e.u.text(w.slot)) > 0 {
			return true
		}
	}
	return false
}

// ownWords reports whether the document looks like what an application says
// about itself.
func (e *engine) ownWords() bool {
	return e.u.text(e.special.level) != nil || e.u.text(e.special.severity) != nil
}

// carried reads a unit that stands in a string.
func (e *engine) carried(v *value, path string, depth int) {
	if micros, ok := parseTime(e.u.text(e.special.time), 0); ok {
		e.u.frameTime = micros
	}
	e.inner[depth] = append(e.inner[depth][:0], v.raw...)
	if v.escaped {
		e.inner[depth] = unescapeJSON(e.inner[depth][:0], v.raw)
	}
	text := e.inner[depth]
	if stream := e.u.text(e.special.stream); path == "log" && bytes.HasPrefix(stream, []byte("std")) {
		line, whole := bytes.CutSuffix(text, []byte("\n"))
		if text = e.join(line, stream[3], !whole, e.u.frameTime); text == nil {
			return
		}
	}
	appLog := e.ownWords()
	text = bytes.TrimSpace(text)
	switch {
	case len(text) == 0:
		e.skip(reasonEmpty)
	case text[0] == '{':
		e.nested(text, depth)
	case appLog && !e.fits(text):
		e.skip(reasonAppLog)
	default:
		e.text(text, depth+1)
	}
}

// nested reads an object that stands inside a unit or behind a prefix.
func (e *engine) nested(data []byte, depth int) {
	end := e.s.scan(data, 0)
	switch {
	case end == scanIncomplete:
		e.bad(reasonTruncatedJSON)
	case end == scanTooDeep:
		e.bad(reasonTooDeep)
	case end < 0 || e.s.space(end) < len(data):
		e.bad(reasonInvalidJSON)
	default:
		e.json(data[:end], depth+1)
	}
}

// array reads the units of an array inside a unit; false says that it holds
// none.
func (e *engine) array(data []byte, depth int) bool {
	if string(bytes.TrimSpace(bytes.Trim(data, "[]"))) == "" {
		e.skip(reasonEmpty)
		return true
	}
	// The array is read as an input of its own: elements may fail one by one.
	fr := newFramer(bytes.NewReader(data))
	micros := e.u.frameTime
	outer := e.at
	for {
		u, ok := fr.next(e.s)
		if !ok {
			break
		}
		e.at.data = u.data
		e.u.begin()
		e.u.frameTime = micros
		switch u.kind {
		case frameJSON:
			e.json(u.data, depth+1)
		case frameBad:
			e.bad(u.reason)
		case frameText:
			e.text(u.data, depth+1)
		}
	}
	e.at = outer
	return true
}
