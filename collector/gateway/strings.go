package gateway

import (
	"hash/maphash"
	"unsafe"

	"github.com/scopedrift/scopedrift/collector/redact"
)

// The bounds of the string table: two-way sets of texts of at most maxShared
// bytes, so at most 8 MiB and as a rule a tenth of it.
const (
	stringSets = 1 << 12
	maxShared  = 1 << 10
	arenaChunk = 32 << 10
)

// texts makes the strings of calls. A text that occurs again and again is one
// string, made once, with its secrets looked for once; the others stand side by
// side in chunks that live as long as their batch. A text that holds a secret is
// never kept.
type texts struct {
	seed  maphash.Seed
	sets  [stringSets][2]sharedText
	arena []byte
	scrub *redact.Scrubber
}

// sharedText is a text that was seen twice. The first time only its hash is
// noted, so that a text that never comes back costs no entry.
type sharedText struct {
	hash uint64
	text string
}

func newTexts(s *redact.Scrubber) *texts { return &texts{seed: maphash.MakeSeed(), scrub: s} }

// shared returns the string of a clean text that was seen before, or its place
// in the table.
func (t *texts) shared(b []byte) (string, *sharedText, uint64) {
	h := maphash.Bytes(t.seed, b) | 1
	set := &t.sets[h>>32&(stringSets-1)]
	for i := range set {
		if set[i].hash == h && set[i].text == string(b) {
			return set[i].text, nil, h
		}
	}
	for i := range set {
		if set[i].hash == h {
			return "", &set[i], h
		}
	}
	// The newer entry moves to the front, the older one falls out.
	set[1] = set[0]
	set[0] = sharedText{hash: h}
	return "", nil, h
}

// text returns the string of a text from the log, without its secrets.
func (t *texts) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	known, place, _ := t.shared(b)
	if known != "" {
		return known
	}
	clean := t.scrub.Text(validText(b))
	return t.keep(place, b, clean)
}

// resource is text for the name of an object, which stays a name of its own.
func (t *texts) resource(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	known, place, _ := t.shared(b)
	if known != "" {
		return known
	}
	return t.keep(place, b, t.scrub.Resource(validText(b)))
}

// host is text for a host: it loses user information too, and then its capitals
// (not before: some secrets are known by theirs).
func (t *texts) host(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	known, place, _ := t.shared(b)
	if known != "" {
		return known
	}
	return t.keep(place, b, lower(t.scrub.Host(validText(b))))
}

// keep makes the string of clean, shared if b was clean itself and came before.
func (t *texts) keep(place *sharedText, b, clean []byte) string {
	if place != nil && len(b) <= maxShared && string(clean) == string(b) {
		place.text = string(b)
		return place.text
	}
	return t.copied(clean)
}

// clean returns the string of a text that is known to hold no secret.
func (t *texts) clean(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	known, place, _ := t.shared(b)
	if known != "" {
		return known
	}
	if place != nil && len(b) <= maxShared {
		place.text = string(b)
		return place.text
	}
	return t.copied(b)
}

// unique returns the string of a text that hardly comes back, such as a request
// id, without its secrets.
func (t *texts) unique(b []byte) string {
	if isUUID(b) {
		return t.copied(b)
	}
	if len(b) == 0 {
		return ""
	}
	return t.copied(t.scrub.Text(validText(b)))
}

// isUUID reports whether b is 8-4-4-4-12 hexadecimal digits.
func isUUID(b []byte) bool {
	if len(b) != 36 {
		return false
	}
	for i, c := range b {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if c-'0' > 9 && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

// isHex reports whether b is n hexadecimal digits.
func isHex(b []byte, n int) bool {
	if len(b) != n {
		return false
	}
	for _, c := range b {
		if c-'0' > 9 && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

// copied copies b into the arena.
func (t *texts) copied(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > arenaChunk/8 {
		return string(b)
	}
	if cap(t.arena)-len(t.arena) < len(b) {
		t.arena = make([]byte, 0, arenaChunk)
	}
	start := len(t.arena)
	t.arena = append(t.arena, b...)
	return unsafe.String(&t.arena[start], len(b))
}
