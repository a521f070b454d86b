// Package enrich fills in what the catalogue knows about a call: service,
// operation, tenant and environment.
//
// The one thing to want is [New]. It promises that what a source named itself
// stays, and that a name never depends on other calls or their order. A learned
// name serves grouping; no verdict rests on it.
package enrich

import (
	"strings"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Enricher fills in what the catalogue knows about a call: service, operation,
// tenant, environment. What the source named itself stays.
type Enricher struct {
	catalog *catalog.Catalog
	// learned keeps the grouped name of a path's shape, so that each is built
	// once; bounded.
	learned map[learnedKey]string
	// shape is the memory that a path's shape is written in.
	shape []byte
}

type learnedKey struct{ method, shape string }

// maxLearned bounds the memory of learned names. Beyond it names are built anew
// for each call: slower, never wrong.
const maxLearned = 1 << 16

// New returns an enricher; use it from one goroutine.
func New(c *catalog.Catalog) *Enricher {
	return &Enricher{catalog: c, learned: map[learnedKey]string{}}
}

// Call completes a call in place.
func (e *Enricher) Call(c *schema.Call) {
	if c.RouteSource == schema.RouteFromSource {
		e.sourceNamed(c)
		return
	}
	route, ok := e.catalog.Route(c.Host, c.Method, c.Path)
	if ok {
		c.Service = route.Service.Name
		c.Environment = route.Service.Environment
		if c.Tenant == "" {
			c.Tenant = route.Tenant
		}
	} else if c.Service == "" {
		c.Service = hostName(c.Host)
	}
	if ok && route.Operation != nil {
		c.Operation = route.Operation.Name
		c.RouteSource = route.Operation.RouteSource
		return
	}
	c.Operation, c.RouteSource = e.learn(c.Method, c.Path), schema.RouteLearned
	if c.Method == "" && c.Path == "" {
		c.Operation, c.RouteSource = "", schema.RouteNone
	}
	if c.Decision == schema.DecisionNoEffect {
		// "Not found" proves authorisation only where the route exists
		// (DESIGN 4.1); here nobody knows.
		c.Decision = schema.DecisionUnknown
	}
}

func (e *Enricher) sourceNamed(c *schema.Call) {
	service := e.catalog.ServiceForHost(c.Host, c.Path)
	switch {
	case service != nil:
		c.Service = service.Name
		c.Environment = service.Environment
	case c.Service == "":
		c.Service = hostName(c.Host)
	}
}

// hostName is the service name of a host that no catalogue knows: the host
// without its port.
func hostName(host string) string {
	if strings.HasPrefix(host, "[") {
		if end := strings.IndexByte(host, ']'); end > 0 {
			host = host[:end+1]
		}
	} else if i := strings.IndexByte(host, ':'); i >= 0 && strings.LastIndexByte(host, ':') == i {
		host = host[:i]
	}
	return strings.ToLower(host)
}

// learn groups paths that differ only in what looks like an id. The rule looks
// at one segment at a time, so the name never depends on other calls or their
// order. It serves grouping; no verdict rests on it.
func (e *Enricher) learn(method, path string) string {
	if !grouped(path) {
		// The name of a path that stays as it is costs no more than its length.
		return e.name(method, path)
	}
	e.shape = appendShape(e.shape[:0], path)
	// The compiler looks a key of bytes up without making a text of them.
	if name, ok := e.learned[learnedKey{method, string(e.shape)}]; ok {
		return name
	}
	return e.name(method, string(e.shape))
}

// name returns the one text that says method and shape.
func (e *Enricher) name(method, shape string) string {
	if name, ok := e.learned[learnedKey{method, shape}]; ok {
		return name
	}
	name := strings.TrimSpace(method + " " + shape)
	if len(e.learned) < maxLearned {
		e.learned[learnedKey{strings.Clone(method), strings.Clone(shape)}] = name
	}
	return name
}

// maxSegments bounds a learned name; the rest is written as "**".
const maxSegments = 12

// grouped says that a path may have a shape other than itself.
func grouped(path string) bool {
	if len(path) >= 64 {
		return true
	}
	slashes := 0
	for i := range len(path) {
		switch c := path[i]; {
		case c >= '0' && c <= '9', c == '{':
			return true
		case c == '/':
			slashes++
		}
	}
	return slashes > maxSegments
}

// appendShape appends a path with "{id}" for each segment that looks like one.
func appendShape(to []byte, path string) []byte {
	segments := 0
	for len(path) > 0 {
		if segments == maxSegments {
			return append(to, "**"...)
		}
		segment, rest, found := strings.Cut(path, "/")
		if looksLikeID(segment) {
			to = append(to, "{id}"...)
		} else {
			to = append(to, segment...)
		}
		if found {
			to = append(to, '/')
		}
		path = rest
		segments++
	}
	return to
}

// looksLikeID reports whether a path segment names one object rather than a
// kind of object: a number, a UUID, a long hexadecimal string, or a mixture
// with at least three digits in eight or more characters. Versions such as
// "v1" and "2015-03-31" stay words.
func looksLikeID(segment string) bool {
	if segment == "" || len(segment) > 128 {
		return segment != ""
	}
	if strings.HasPrefix(segment, "{redacted}") {
		return true
	}
	digits, letters, hex, other := 0, 0, 0, 0
	for i := 0; i < len(segment); i++ {
		switch c := segment[i]; {
		case c >= '0' && c <= '9':
			digits++
			hex++
		case c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			letters++
			hex++
		case c >= 'g' && c <= 'z' || c >= 'G' && c <= 'Z':
			letters++
		default:
			other++
		}
	}
	switch {
	case digits == 0:
		return false
	case letters == 0 && other == 0:
		return true
	case isDate(segment):
		return false
	case letters == 0:
		return digits >= 4
	case hex == len(segment) && len(segment) >= 12:
		return true
	}
	return len(segment) >= 8 && digits >= 3
}

// isDate recognises API versions written as 2015-03-31.
func isDate(s string) bool {
	return len(s) == 10 && s[4] == '-' && s[7] == '-' && (s[:2] == "19" || s[:2] == "20")
}
