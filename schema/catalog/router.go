package catalog

import "strings"

// router finds the operation of a method and path. It is a trie over the
// segments of templates: at each node a path's segment is tried as a literal,
// then as a pattern (more text first), then as a parameter, then as the start
// of a rest; a branch that ends without the wanted method is left again. So the
// answer is the most literal template that matches, segment by segment from the
// left, among those with the method.
type router struct {
	// nodes begin with the root. The other arrays hold what the nodes' spans
	// refer to.
	nodes     []routeNode
	literals  []literalEdge
	edges     []routeEdge
	endpoints []endpoint
}

type routeNode struct {
	// literals are sorted by key.
	literals span
	patterns span
	rests    span
	plain    span
	slashed  span
	// param is the node that a parameter leads to; 0 is none, since nothing
	// leads to the root.
	param uint32
}

// span is a part of one of the router's arrays.
type span struct{ start, count uint32 }

// literalEdge leads to a node by one literal.
type literalEdge struct {
	// key is literalKey of the text.
	key  uint32
	node uint32
	text string
}

// routeEdge leads to a node by the parts of a pattern or rest.
type routeEdge struct {
	parts []string
	node  uint32
}

// literalKey tells most texts apart by their length, beginning and end. It is
// much cheaper than a hash of the whole text, and the text is compared after
// all.
func literalKey[T string | []byte](s T) uint32 {
	n := len(s)
	if n < 4 {
		key := uint32(n)
		for i := range n {
			key = key<<8 | uint32(s[i])
		}
		return key
	}
	first := uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
	last := uint32(s[n-4]) | uint32(s[n-3])<<8 | uint32(s[n-2])<<16 | uint32(s[n-1])<<24
	return first*0x9e3779b1 ^ last*0x85ebca6b + uint32(n)
}

// fewLiterals is up to how many keys a comparison one by one beats a search.
const fewLiterals = 8

// literal returns the node that a literal leads to from n; 0 is none.
func literal[T string | []byte](r *router, n *routeNode, segment T) uint32 {
	if n.literals.count == 0 {
		return 0
	}
	edges := r.literals[n.literals.start : n.literals.start+n.literals.count]
	key := literalKey(segment)
	i := 0
	if len(edges) > fewLiterals {
		high := len(edges)
		for i < high {
			if middle := int(uint(i+high) >> 1); edges[middle].key < key {
				i = middle + 1
			} else {
				high = middle
			}
		}
	}
	for ; i < len(edges) && edges[i].key <= key; i++ {
		if edges[i].key == key && edges[i].text == string(segment) {
			return edges[i].node
		}
	}
	return 0
}

// maxVisits bounds the nodes that one lookup visits. A path cannot make a
// lookup expensive: where the templates allow so much backtracking that the
// bound is met, the call has no route.
const maxVisits = 4096

// walk is one lookup.
type walk struct {
	router       *router
	path, method string
	// only restricts the answer to one service; nil is any.
	only *Service
	// encoded says that a "%" stands in the path.
	encoded bool
	visits  int
}

// find returns the endpoint of a path (which is empty or begins with a slash)
// and method, or nil.
func (r *router) find(path, method string, only *Service) *endpoint {
	w := walk{router: r, path: path, method: method, only: only, encoded: strings.IndexByte(path, '%') >= 0, visits: maxVisits}
	return w.from(0, 0)
}

// dotSegment reports whether a segment is "." or "..", encoded or not. What a
// server makes of a path with one is its own business: to route it would be a
// guess.
func dotSegment(segment string) bool {
	dots := 0
	for ; segment != "" && dots < 3; dots++ {
		switch {
		case segment[0] == '.':
			segment = segment[1:]
		case len(segment) >= 3 && segment[0] == '%' && segment[1] == '2' && segment[2]|0x20 == 'e':
			segment = segment[3:]
		default:
			return false
		}
	}
	return dots == 1 || dots == 2
}

// dotSegments reports whether any segment is a dot segment.
func dotSegments(path string) bool {
	for path != "" {
		segment, rest, _ := strings.Cut(path, "/")
		if dotSegment(segment) {
			return true
		}
		path = rest
	}
	return false
}

// from continues at a node; at is the offset of the slash before the next
// segment, or the path's length. Where only one branch is left to try, it goes
// on there itself rather than calling itself.
func (w *walk) from(node uint32, at int) *endpoint {
	for {
		if w.visits--; w.visits < 0 {
			return nil
		}
		n := &w.router.nodes[node]
		if len(w.path)-at <= 1 {
			return w.end(n, at < len(w.path))
		}
		segment, next := w.path[at+1:], len(w.path)
		if i := strings.IndexByte(segment, '/'); i >= 0 {
			segment, next = segment[:i], at+1+i
		}
		if segment == "" {
			return w.anyRest(n, at+1)
		}
		if (segment[0] == '.' || segment[0] == '%') && dotSegment(segment) {
			w.visits = 0
			return nil
		}
		encoded := w.encoded && strings.IndexByte(segment, '%') >= 0
		var child uint32
		if encoded {
			child = w.literalDecoded(n, segment)
		} else {
			child = literal(w.router, n, segment)
		}
		if child != 0 {
			if n.patterns.count == 0 && n.param == 0 && n.rests.count == 0 {
				node, at = child, next
				continue
			}
			if e := w.from(child, next); e != nil {
				return e
			}
		}
		if e := w.patterns(n, segment, encoded, next); e != nil {
			return e
		}
		if n.param != 0 && n.rests.count == 0 {
			node, at = n.param, next
			continue
		}
		if n.param != 0 {
			if e := w.from(n.param, next); e != nil {
				return e
			}
		}
		return w.anyRest(n, at+1)
	}
}

// end returns the endpoint of a path that ends at n, with or without a slash.
func (w *walk) end(n *routeNode, slash bool) *endpoint {
	first, second := n.plain, n.slashed
	if slash {
		first, second = second, first
	}
	if e := w.endpoint(first); e != nil {
		return e
	}
	return w.endpoint(second)
}

// patterns tries the patterns of n for one whole segment; next is the offset
// after it.
func (w *walk) patterns(n *routeNode, segment string, encoded bool, next int) *endpoint {
	for i := range n.patterns.count {
		p := &w.router.edges[n.patterns.start+i]
		if encoded && matchDecoded(p.parts, segment) || !encoded && matchParts(p.parts, segment) {
			if e := w.from(p.node, next); e != nil {
				return e
			}
		}
	}
	return nil
}

// anyRest tries the rests of n; start is the offset of the segment.
func (w *walk) anyRest(n *routeNode, start int) *endpoint {
	for i := range n.rests.count {
		if e := w.rest(&w.router.edges[n.rests.start+i], start); e != nil {
			return e
		}
	}
	return nil
}

// maxDecoded is the longest segment that is compared after decoding; a longer
// one matches only as a parameter or rest.
const maxDecoded = 512

func (w *walk) literalDecoded(n *routeNode, segment string) uint32 {
	var buf [maxDecoded]byte
	length, ok := decode(buf[:], segment)
	if !ok {
		return 0
	}
	return literal(w.router, n, buf[:length])
}

func matchDecoded(parts []string, segment string) bool {
	var buf [maxDecoded]byte
	length, ok := decode(buf[:], segment)
	return ok && matchParts(parts, buf[:length])
}

// matchParts reports whether s is the parts with at least one byte between
// each two of them. Taking the leftmost place of each middle part is complete,
// since the last part is anchored at the end.
func matchParts[T string | []byte](parts []string, s T) bool {
	last := len(parts) - 1
	end := len(s) - len(parts[last])
	if end < len(parts[0])+1 || !equalAt(s, 0, parts[0]) || !equalAt(s, end, parts[last]) {
		return false
	}
	at := len(parts[0])
	for _, part := range parts[1:last] {
		at++
		for at+len(part) < end && !equalAt(s, at, part) {
			at++
		}
		if at+len(part) >= end {
			return false
		}
		at += len(part)
	}
	return at < end
}

// equalAt reports whether part stands in s at offset at.
func equalAt[T string | []byte](s T, at int, part string) bool {
	if at < 0 || at+len(part) > len(s) {
		return false
	}
	for i := 0; i < len(part); i++ {
		if s[at+i] != part[i] {
			return false
		}
	}
	return true
}

// rest tries a parameter of one or more segments that begins at offset start.
// The fewest segments are tried first, so that literals after it are found.
func (w *walk) rest(e *routeEdge, start int) *endpoint {
	prefix, suffix := e.parts[0], e.parts[1]
	final := w.router.nodes[e.node].final()
	if !strings.HasPrefix(w.path[start:], prefix) {
		return nil
	}
	for end := start; end < len(w.path); {
		end++
		if i := strings.IndexByte(w.path[end:], '/'); i >= 0 && !final {
			end += i
		} else {
			end = len(w.path)
		}
		value := w.path[start+len(prefix) : max(end, start+len(prefix))]
		if len(value) <= len(suffix) || !strings.HasSuffix(value, suffix) || strings.Trim(value, "/") == "" ||
			dotSegments(w.path[start:end]) {
			continue
		}
		if found := w.from(e.node, end); found != nil {
			return found
		}
	}
	return nil
}

// final reports whether no template goes on behind the node.
func (n *routeNode) final() bool {
	return n.literals.count == 0 && n.patterns.count == 0 && n.param == 0 && n.rests.count == 0
}

// endpoint returns the one with the walk's method; a HEAD that is no operation
// of its own is the GET's.
func (w *walk) endpoint(s span) *endpoint {
	if e := w.withMethod(s, w.method); e != nil || w.method != "HEAD" {
		return e
	}
	return w.withMethod(s, "GET")
}

func (w *walk) withMethod(s span, method string) *endpoint {
	for i := range s.count {
		if e := &w.router.endpoints[s.start+i]; e.method == method && (w.only == nil || w.only == e.service) {
			return e
		}
	}
	return nil
}
