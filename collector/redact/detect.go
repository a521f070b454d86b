package redact

import "bytes"

// mode says what kind of text is searched.
type mode uint8

const (
	// modePath is a request path: slashes part it, and a long random segment
	// is a secret even if it is hexadecimal.
	modePath mode = iota
	// modeText is free text, in which a hexadecimal digest is a digest.
	modeText
	// modeName is a name that identity rests on: only what is surely a secret
	// counts, since issuers give principals random names.
	modeName
)

// span is a part of the decoded text to be removed.
type span struct {
	start, end int
	rule       rule
}

// finder finds secrets in one text.
type finder struct {
	decoded
	mode  mode
	spans []span
	// covered is where the latest named value ends: what stands inside it
	// needs no second look. It also keeps the work linear.
	covered int
}

func (f *finder) add(start, end int, r rule) {
	if start < end {
		f.spans = append(f.spans, span{start, end, r})
	}
}

// find fills spans. They may overlap and are in no order.
func (f *finder) find() {
	f.spans = f.spans[:0]
	f.findPEM()
	f.findSigns()
	f.findTokens()
	if f.mode != modeName {
		f.findWide()
	}
}

// findPEM takes everything from a key's or certificate's first line to its
// last, or to the end.
func (f *finder) findPEM() {
	for from := 0; ; {
		i := bytes.Index(f.text[from:], pemHead)
		if i < 0 {
			f.findTornPEM(from)
			return
		}
		start := from + i
		end := len(f.text)
		if j := bytes.Index(f.text[start+10:], pemTail); j >= 0 {
			end = start + 10 + j + 8
			if k := bytes.Index(f.text[end:], []byte("-----")); k >= 0 {
				end += k + 5
			}
		}
		f.add(start, end, rulePEM)
		from = end
	}
}

// findTornPEM takes what is left of a key of which a list made pieces: from the
// end of its first line on, or up to its last.
func (f *finder) findTornPEM(from int) {
	if i := bytes.Index(f.text[from:], pemHeadEnd); i >= 0 {
		f.add(from+i, len(f.text), rulePEM)
	} else if i := bytes.Index(f.text[from:], pemTail); i > 0 {
		f.add(from, from+i+len(pemTail), rulePEM)
	}
}

var (
	pemDashes  = []byte("-----")
	pemHead    = []byte("-----BEGIN")
	pemHeadEnd = []byte("KEY-----")
	pemTail    = []byte("-----END")
)

// findSigns looks at each character that can stand between a name, or a
// scheme, and a secret.
func (f *finder) findSigns() {
	f.covered = 0
	for i, c := range f.text {
		switch c {
		case '=', ':':
			if i >= f.covered {
				f.pair(i)
			}
			if c == ':' && i+2 < len(f.text) && f.text[i+1] == '/' {
				f.userInfo(i + 1)
			}
		case ' ', '\t', '+':
			if i >= f.covered {
				f.scheme(i)
			}
		case '@':
			f.bareUserInfo(i)
		case '/':
			if i == 0 && f.mode == modePath {
				f.userInfo(0)
			}
			f.segmentPair(i)
		}
	}
}
