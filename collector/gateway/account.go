package gateway

import "github.com/scopedrift/scopedrift/schema"

// finish completes the report.
func (e *engine) finish(fr *framer) *InputReport {
	r := &e.report
	r.Bytes = fr.base + int64(fr.pos)
	if fr.err != nil {
		r.Cut = fr.err.Error()
	}
	for kind, n := range e.kinds {
		if n > 0 {
			r.Shows.Credential[schema.CredentialKind(kind).String()] = n
		}
	}
	for i, n := range e.recognised {
		if n > 0 {
			r.Formats[e.f.presets[i].Name] = n
		}
	}
	r.Chosen = e.chosen.words(fr.wraps)
	r.Input.Format = e.chosen.name()
	for i, reader := range e.f.presets {
		if e.recognised[i] > 0 {
			r.Fields = append(r.Fields, e.fieldsOf(reader)...)
		}
	}
	return r
}

// fieldsOf reports which of a format's fields the log has.
func (e *engine) fieldsOf(r *reader) []FieldReport {
	var fields []FieldReport
	for id := range r.fields {
		f := &r.fields[id]
		if len(f.sources) == 0 {
			continue
		}
		word := ""
		if id < len(callFields) {
			word = callFields[id]
		}
		if word == "" {
			word = credentialFields[id]
		}
		one := FieldReport{Format: r.Name, Field: word, Hint: r.Hints[word]}
		note := func(slot int) {
			one.In = append(one.In, e.f.slotPaths[slot])
			one.Seen = one.Seen || e.slotSeen.has(slot)
		}
		for _, s := range f.sources {
			if s.slot >= 0 {
				note(s.slot)
			}
			for _, part := range s.composed {
				for _, p := range part.places {
					note(p.slot)
				}
			}
		}
		fields = append(fields, one)
	}
	return fields
}
