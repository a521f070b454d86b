package catalog

import (
	"errors"
	"strings"
)

// segmentKind says how a segment of a template is matched, the more literal
// first: this is the order in which a path's segment is tried.
type segmentKind uint8

const (
	segLiteral segmentKind = iota
	// segPattern mixes text and parameters in one segment: "users('{id}')",
	// "{id}:cancel", "{name}.json".
	segPattern
	// segParameter is one whole segment, never empty.
	segParameter
	// segRest is one or more segments: "{path+}", "{path=**}".
	segRest
)

// segment is one part of a template between slashes.
type segment struct {
	kind segmentKind
	// text is the literal, percent-decoded.
	text string
	// parts are the texts around the parameters of a pattern or a rest: one
	// more than it has parameters, the first and the last possibly empty.
	parts []string
	// name is the name of a whole parameter.
	name string
}

// shape is the segment's text with its parameters unnamed: segments of equal
// shape match the same texts.
func (s *segment) shape() string {
	switch s.kind {
	case segLiteral:
		return s.text
	case segPattern:
		return strings.Join(s.parts, "{}")
	case segParameter:
		return "{}"
	}
	return strings.Join(s.parts, "{**}")
}

// weight orders the patterns of one place: more text is more literal.
func (s *segment) weight() int {
	n := 0
	for _, p := range s.parts {
		n += len(p)
	}
	return n
}

// What can be wrong with a template.
var (
	errTemplateSlash    = errors.New("does not begin with a slash")
	errTemplateBrace    = errors.New("has a brace that is not closed")
	errTemplateEmpty    = errors.New("has an empty segment")
	errTemplateDots     = errors.New("has a dot segment, which no server sees")
	errTemplateQuery    = errors.New("has a query or fragment, which routes do not see")
	errTemplateRest     = errors.New("mixes a parameter of several segments with another parameter in one segment")
	errTemplateSegments = errors.New("has more than 64 segments")
)

// maxSegments bounds a template, and with it how deep the router recurses.
const maxSegments = 64

// parseTemplate splits a template into segments. slash says that it ends with
// a slash (and is not "/" itself).
func parseTemplate(template string) (segments []segment, slash bool, err error) {
	if !strings.HasPrefix(template, "/") {
		return nil, false, errTemplateSlash
	}
	raw, err := splitTemplate(template[1:])
	if err != nil {
		return nil, false, err
	}
	if len(raw) > 0 && raw[len(raw)-1] == "" {
		raw, slash = raw[:len(raw)-1], len(raw) > 1
	}
	for _, text := range raw {
		if text == "" {
			return nil, false, errTemplateEmpty
		}
		// Google writes parameters that stand for several segments of which
		// some are fixed: {name=projects/*/topics/*}.
		if inner, ok := fixedSegments(text); ok {
			for _, part := range strings.Split(inner, "/") {
				s, err := parseSegment(part)
				if err != nil {
					return nil, false, err
				}
				segments = append(segments, s)
			}
			continue
		}
		s, err := parseSegment(text)
		if err != nil {
			return nil, false, err
		}
		segments = append(segments, s)
	}
	if len(segments) > maxSegments {
		return nil, false, errTemplateSegments
	}
	return segments, slash, nil
}

// splitTemplate splits at the slashes outside braces.
func splitTemplate(s string) ([]string, error) {
	var raw []string
	depth, start := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth < 0 {
				return nil, errTemplateBrace
			}
		case '?', '#':
			if depth == 0 {
				return nil, errTemplateQuery
			}
		case '/':
			if depth == 0 {
				raw = append(raw, s[start:i])
				start = i + 1
			}
		}
	}
	if depth != 0 {
		return nil, errTemplateBrace
	}
	return append(raw, s[start:]), nil
}

// fixedSegments returns what stands after the "=" of a parameter that spans
// several segments, with the text after its brace.
func fixedSegments(text string) (string, bool) {
	if text[0] != '{' {
		return "", false
	}
	end := strings.LastIndexByte(text, '}')
	name, inner, ok := strings.Cut(text[1:end], "=")
	if !ok || !strings.Contains(inner, "/") || strings.ContainsAny(name+inner, "{}") {
		return "", false
	}
	for _, part := range strings.Split(inner, "/") {
		if part == "" {
			return "", false
		}
	}
	return inner + text[end+1:], true
}

// parseSegment reads one segment. A bare "*" is a parameter, a bare "**" a
// rest.
func parseSegment(text string) (segment, error) {
	switch text {
	case ".", "..":
		return segment{}, errTemplateDots
	case "*":
		return segment{kind: segParameter}, nil
	case "**":
		return segment{kind: segRest, parts: []string{"", ""}}, nil
	}
	parts, names := splitParameters(text)
	if len(names) == 0 {
		literal := text
		if strings.HasPrefix(literal, "**") || strings.HasPrefix(literal, "*") && strings.HasPrefix(literal[1:], ":") {
			// What fixedSegments leaves of "{name=…/**}:verb".
			rest := strings.TrimLeft(literal, "*")
			kind := segPattern
			if strings.HasPrefix(literal, "**") {
				kind = segRest
			}
			return segment{kind: kind, parts: []string{"", decoded(rest)}}, nil
		}
		return segment{kind: segLiteral, text: decoded(literal)}, nil
	}
	rest := false
	for _, name := range names {
		rest = rest || restName(name)
	}
	switch {
	case rest && len(names) > 1:
		return segment{}, errTemplateRest
	case rest:
		return segment{kind: segRest, parts: parts}, nil
	case len(names) == 1 && parts[0] == "" && parts[1] == "":
		return segment{kind: segParameter, name: names[0]}, nil
	}
	return segment{kind: segPattern, parts: parts}, nil
}

// splitParameters returns the decoded texts around the parameters, and the
// parameters' names. Parameters without text between them are one.
func splitParameters(text string) (parts, names []string) {
	part := ""
	for {
		open := strings.IndexByte(text, '{')
		if open < 0 {
			return append(parts, decoded(part+text)), names
		}
		end, depth := open, 0
		for ; end < len(text); end++ {
			if text[end] == '{' {
				depth++
			} else if text[end] == '}' {
				if depth--; depth == 0 {
					break
				}
			}
		}
		part += text[:open]
		if len(names) == 0 || part != "" {
			parts = append(parts, decoded(part))
			names = append(names, text[open+1:end])
		}
		part, text = "", text[end+1:]
	}
}

// restName reports whether a parameter stands for several segments, as the
// various dialects write it: {path+} (AWS), {+path} (RFC 6570), {path=**}
// (gRPC), {path*}, {*path} (routers), {path:.*}, {path:.+} (JAX-RS).
func restName(name string) bool {
	return strings.HasSuffix(name, "+") && !strings.Contains(name, ":") || strings.HasPrefix(name, "+") ||
		strings.HasSuffix(name, "=**") || strings.HasSuffix(name, "*") && !strings.ContainsAny(name, ":=") ||
		strings.HasPrefix(name, "*") || strings.HasSuffix(name, ":.*") || strings.HasSuffix(name, ":.+")
}

// decoded returns s with its percent-encoding undone; what is no valid escape
// stays.
func decoded(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	buf := make([]byte, len(s))
	n, _ := decode(buf, s)
	return string(buf[:n])
}

// decode undoes percent-encoding into dst and returns the length; false says
// that dst is too short.
func decode(dst []byte, s string) (int, bool) {
	n := 0
	for i := 0; i < len(s); i++ {
		if n == len(dst) {
			return 0, false
		}
		c := s[i]
		if c == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 16 && lo < 16 {
				c = hi<<4 | lo
				i += 2
			}
		}
		dst[n] = c
		n++
	}
	return n, true
}

// unhex returns the value of a hexadecimal digit, or 16.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

// splitOperation takes an operation's name apart where it is "METHOD /path", or
// a gRPC method ("/pkg.Service/Method"), which is always a POST.
func splitOperation(name string) (method, template string, ok bool) {
	if grpcName(name) {
		return "POST", name, true
	}
	method, template, ok = strings.Cut(name, " ")
	if !ok || !strings.HasPrefix(template, "/") || !methodName(method) {
		return "", "", false
	}
	return method, template, true
}

// methodName reports whether s is written like an HTTP method.
func methodName(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] < 'A' || s[i] > 'Z') && (i == 0 || s[i] != '-' && s[i] != '_') {
			return false
		}
	}
	return s != ""
}

// grpcName reports whether a name is a gRPC method rather than a path: two
// segments, service and method both in capitals, as Protobuf writes them.
func grpcName(name string) bool {
	service, method, ok := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	if !ok || name[0] != '/' || !identifier(method) || !capital(method) {
		return false
	}
	dot := strings.LastIndexByte(service, '.')
	if !capital(service[dot+1:]) {
		return false
	}
	for _, part := range strings.Split(service, ".") {
		if !identifier(part) {
			return false
		}
	}
	return true
}

func capital(s string) bool { return s != "" && 'A' <= s[0] && s[0] <= 'Z' }

func identifier(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// shape returns method and template with the parameters unnamed: equal shapes
// are one operation. A template that cannot be parsed is its own shape.
func shape(method, template string) string {
	segments, slash, err := parseTemplate(template)
	if err != nil {
		return method + " " + template
	}
	var b strings.Builder
	b.WriteString(method)
	b.WriteByte(' ')
	for i := range segments {
		b.WriteByte('/')
		b.WriteString(segments[i].shape())
	}
	if slash || len(segments) == 0 {
		b.WriteByte('/')
	}
	return b.String()
}

// otherSlash returns the shape with its final slash removed or added: servers
// mostly treat the two alike.
func otherSlash(shape string) string {
	if strings.HasSuffix(shape, " /") {
		return shape
	}
	if trimmed, ok := strings.CutSuffix(shape, "/"); ok {
		return trimmed
	}
	return shape + "/"
}
