package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// composed is a value made of several: literal text and places, some of them in
// groups that are left out whole where a value of theirs is missing.
//
//	{verb} {objectRef.resource}[.{objectRef.apiGroup}][/{objectRef.subresource}]
//
// A place is a path with filters after bars, {eventSource|trim_suffix:.com}, or
// several separated by commas, of which the first that has a value counts.
type composed []composedPart

// composedPart is literal text (no places) or a place.
type composedPart struct {
	literal []byte
	places  []place
	// group numbers the optional group that the part is in, 0 for none.
	group int
}

type place struct {
	slot    int
	filters []filter
}

// filter changes a value, or says that it is none.
type filter struct {
	name string
	arg  []byte
}

var (
	errComposedBrace  = errors.New("a { has no }")
	errComposedGroup  = errors.New("an optional group [ ] is not closed or holds another group")
	errComposedFilter = errors.New("the filter is not known; there are trim_suffix, trim_prefix, has_prefix, only, join, path, group, lower")
)

// parseComposed reads the text form; slotOf gives the slot of a path.
func parseComposed(text string, slotOf func(path string) (int, error)) (composed, error) {
	var parts composed
	group, groups := 0, 0
	var literal []byte
	flush := func() {
		if len(literal) > 0 {
			parts = append(parts, composedPart{literal: literal, group: group})
			literal = nil
		}
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '{':
			end := strings.IndexByte(text[i:], '}')
			if end < 0 || strings.Contains(text[i+1:i+end], "{") {
				return nil, errComposedBrace
			}
			flush()
			part, err := parsePlace(text[i+1:i+end], slotOf)
			if err != nil {
				return nil, err
			}
			part.group = group
			parts, i = append(parts, part), i+end
		case '[':
			if group != 0 {
				return nil, errComposedGroup
			}
			flush()
			groups++
			group = groups
		case ']':
			if group == 0 {
				return nil, errComposedGroup
			}
			flush()
			group = 0
		default:
			literal = append(literal, c)
		}
	}
	flush()
	if group != 0 {
		return nil, errComposedGroup
	}
	return parts, nil
}

func parsePlace(text string, slotOf func(string) (int, error)) (composedPart, error) {
	var part composedPart
	for one := range strings.SplitSeq(text, ",") {
		words := strings.Split(one, "|")
		slot, err := slotOf(strings.TrimSpace(words[0]))
		if err != nil {
			return part, err
		}
		p := place{slot: slot}
		for _, word := range words[1:] {
			name, arg, _ := strings.Cut(word, ":")
			switch name {
			case "trim_suffix", "trim_prefix", "has_prefix", "only", "join", "path", "group", "lower":
				p.filters = append(p.filters, filter{name, []byte(arg)})
			default:
				return part, fmt.Errorf("filter %q: %w", name, errComposedFilter)
			}
		}
		part.places = append(part.places, p)
	}
	return part, nil
}

// appendTo writes the value to dst. It reports false, and leaves dst as it was,
// where a place outside the optional groups has no value.
func (c composed) appendTo(dst []byte, u *unit) ([]byte, bool) {
	start := len(dst)
	group, groupStart, groupMissing := 0, 0, false
	for i := range c {
		part := &c[i]
		if part.group != group {
			if groupMissing {
				dst = dst[:groupStart]
			}
			group, groupStart, groupMissing = part.group, len(dst), false
		}
		if part.places == nil {
			dst = append(dst, part.literal...)
			continue
		}
		v, ok := part.value(u)
		if !ok && part.group == 0 {
			return dst[:start], false
		}
		groupMissing = groupMissing || !ok
		dst = append(dst, v...)
	}
	if groupMissing {
		dst = dst[:groupStart]
	}
	return dst, true
}

// value returns the filtered value of a place.
func (p *composedPart) value(u *unit) ([]byte, bool) {
	for i := range p.places {
		slot := p.places[i].slot
		v := u.text(slot)
		ok := v != nil
		for _, f := range p.places[i].filters {
			if !ok {
				break
			}
			v, ok = f.apply(v, u, slot)
		}
		if ok && len(v) > 0 {
			return v, true
		}
	}
	return nil, false
}

// apply runs one filter; false says that there is no value.
func (f filter) apply(v []byte, u *unit, slot int) ([]byte, bool) {
	switch f.name {
	case "trim_suffix":
		return bytes.TrimSuffix(v, f.arg), true
	case "trim_prefix":
		return bytes.TrimPrefix(v, f.arg), true
	case "has_prefix":
		return v, bytes.HasPrefix(v, f.arg)
	case "only": // exactly one value stands there
		return v, u.count(slot) == 1
	case "join": // all that stand there, with commas between them
		return u.joined(slot), true
	case "path": // a request target's path, without secrets
		v, _ = u.scrub.Target(v)
		return v, true
	case "group": // the API group of "apps/v1"; "v1" has none
		group, _, found := bytes.Cut(v, []byte("/"))
		return group, found
	case "lower":
		return bytes.ToLower(v), true
	}
	return nil, false
}
