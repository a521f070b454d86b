package identify

import (
	"bytes"
	"errors"
)

// XFCCElement is one certificate of an x-forwarded-client-cert header: that
// of one hop.
type XFCCElement struct {
	// By are the URI SANs of the proxy's own certificate.
	By [][]byte
	// Hash is the SHA-256 of the client's certificate, in hexadecimal.
	Hash []byte
	// Subject is the client certificate's subject.
	Subject []byte
	// URI and DNS are its subject alternative names.
	URI, DNS [][]byte
}

// Bounds of a header that is read.
const (
	maxXFCC         = 256 << 10
	maxXFCCElements = 16
	maxSANs         = 32
)

var (
	errXFCCLong  = errors.New("x-forwarded-client-cert is longer than 256 KiB: it was not read")
	errXFCCPair  = errors.New("x-forwarded-client-cert has a part without \"=\": check what writes the header")
	errXFCCQuote = errors.New("x-forwarded-client-cert has a quote that does not end: it was cut off on its way")
	errXFCCMany  = errors.New("x-forwarded-client-cert has more than 16 elements: it was not read")
	errXFCCNone  = errors.New("x-forwarded-client-cert names no certificate: check what writes the header")
)

// ParseXFCC reads the header as Envoy writes it: elements apart by commas, the
// nearest hop last; in them key=value pairs apart by semicolons, the keys in
// any case; values in quotes if they hold a comma, a semicolon or "=", with \"
// for a quote. Cert and Chain, which hold whole certificates, are dropped.
// Values alias the header, except those with escapes.
func ParseXFCC(header []byte) ([]XFCCElement, error) {
	if len(header) > maxXFCC {
		return nil, errXFCCLong
	}
	var (
		elements []XFCCElement
		current  XFCCElement
		filled   bool
	)
	rest := header
	for {
		rest = bytes.TrimLeft(rest, " \t")
		key, after, found := cutKey(rest)
		if !found {
			if len(bytes.Trim(rest, " \t,;")) > 0 {
				return nil, errXFCCPair
			}
			break
		}
		value, end, ok := xfccValue(after)
		if !ok {
			return nil, errXFCCQuote
		}
		filled = current.set(key, value) || filled
		separator := byte(',')
		if len(end) > 0 {
			separator, rest = end[0], end[1:]
		} else {
			rest = nil
		}
		if separator == ',' {
			if len(elements) == maxXFCCElements {
				return nil, errXFCCMany
			}
			if filled {
				elements = append(elements, current)
			}
			current, filled = XFCCElement{}, false
		}
		if len(rest) == 0 {
			break
		}
	}
	if filled {
		elements = append(elements, current)
	}
	if len(elements) == 0 {
		return nil, errXFCCNone
	}
	return elements, nil
}

// cutKey splits at the "=" that ends a key.
func cutKey(b []byte) (key, after []byte, found bool) {
	for i, c := range b {
		switch c {
		case '=':
			return bytes.TrimSpace(b[:i]), b[i+1:], true
		case ';', ',', '"':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// xfccValue reads a value and returns what follows it, from its separator on.
func xfccValue(b []byte) (value, end []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		for i, c := range b {
			if c == ';' || c == ',' {
				return bytes.TrimSpace(b[:i]), b[i:], true
			}
		}
		return bytes.TrimSpace(b), nil, true
	}
	escaped := false
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			value = b[1:i]
			if escaped {
				value = unescape(value)
			}
			end = bytes.TrimLeft(b[i+1:], " \t")
			if len(end) > 0 && end[0] != ';' && end[0] != ',' {
				return nil, nil, false
			}
			return value, end, true
		}
	}
	return nil, nil, false
}

func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) {
			i++
		}
		out = append(out, b[i])
	}
	return out
}

// set takes a value that is kept, and reports whether it was.
func (e *XFCCElement) set(key, value []byte) bool {
	if len(value) == 0 {
		return false
	}
	switch {
	case bytes.EqualFold(key, []byte("By")):
		return add(&e.By, value)
	case bytes.EqualFold(key, []byte("Hash")):
		e.Hash = value
	case bytes.EqualFold(key, []byte("Subject")):
		e.Subject = value
	case bytes.EqualFold(key, []byte("URI")):
		return add(&e.URI, value)
	case bytes.EqualFold(key, []byte("DNS")):
		return add(&e.DNS, value)
	default:
		return false
	}
	return true
}

func add(list *[][]byte, value []byte) bool {
	if len(*list) == maxSANs {
		return false
	}
	*list = append(*list, value)
	return true
}
