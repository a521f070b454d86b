package catalog

import (
	"math/bits"
	"strings"
)

// router finds the operation of a method and path. It is a trie over the
// segments of templates: at each node a path's segment is tried as a literal,
// then as a pattern (more text first), then as a parameter, then as the start
// of a rest; a branch that ends without the wanted method is left again. So the
// answer is the most literal template that matches, segment by segment from the
// left, among those with the method.
//
// A lookup waits for memory more than it computes, so everything that it visits
// is small and lies in a few arrays without pointers between nodes.
type router struct {
	// nodes begin with the root. The other arrays hold what the nodes refer to.
	nodes []routeNode
	// literals are the nodes' hash tables, one after the other.
	literals []literalSlot
	// texts are the literals that lead to the nodes, where a key does not say
	// it all.
	texts    []string
	branches []branches
	// endpoints are by node: the plain ones, then the slashed ones, each by
	// their methods' bits.
	endpoints []endpoint
	// rare are the endpoints whose method has no bit.
	rare map[rareEnd]*endpoint
}

type routeNode struct {
	// literals is where the node's hash table of literals begins, slots its
	// size: a power of two, or 0.
	literals, slots uint32
	// param is the node that a parameter leads to; 0 is none, since nothing
	// leads to the root.
	param uint32
	// branches is the number of what few nodes have: patterns and rests. The
	// number 0 has none.
	branches uint32
	// endpoints is where those of templates that end here begin. The methods
	// with a bit in plain end without a slash, those in slashed with one.
	endpoints      uint32
	plain, slashed methodBits
}

// branches are the patterns and rests of a node in the order in which they are
// tried.
type branches struct {
	patterns, rests []routeEdge
}

// routeEdge leads to a node by the parts of a pattern or rest.
type routeEdge struct {
	parts []string
	node  uint32
	// first is the byte that a segment must begin with, last the one that it
	// must end with; 0 is any. They spare most comparisons of a pattern.
	first, last byte
}

// literalSlot leads to a node by one literal; in an empty slot node is 0.
type literalSlot struct {
	key  literalKey
	node uint32
}

// literalKey is a text's beginning, end and length: the whole of what is not
// longer than keyLength.
type literalKey struct {
	head, tail uint64
	length     uint32
}

const keyLength = 16

func keyOf[T string | []byte](s T) literalKey {
	n := len(s)
	switch {
	case n >= 8:
		return literalKey{eight(s[:8]), eight(s[n-8:]), uint32(n)}
	case n >= 4:
		return literalKey{four(s[:4]), four(s[n-4:]), uint32(n)}
	case n > 0:
		return literalKey{uint64(s[0])<<8 | uint64(s[n/2]), uint64(s[n-1]), uint32(n)}
	}
	return literalKey{}
}

// eight returns eight bytes as a number, four does four; the compiler makes one
// load of them.
func eight[T string | []byte](s T) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func four[T string | []byte](s T) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}

// slot is where in a table the search for the key begins, before it is cut to
// the table's size.
func (k *literalKey) slot() uint32 {
	mixed := (k.head*0x9e3779b97f4a7c15 ^ k.tail + uint64(k.length)) * 0xc2b2ae3d27d4eb4f
	return uint32(mixed >> 32)
}

// literal returns the node that a literal leads to from n; 0 is none.
func literal[T string | []byte](r *router, n *routeNode, segment T) uint32 {
	if n.slots == 0 {
		return 0
	}
	slots := r.literals[n.literals : n.literals+n.slots]
	key := keyOf(segment)
	for i, left := key.slot(), n.slots; left > 0; i, left = i+1, left-1 {
		slot := &slots[i&uint32(len(slots)-1)]
		if slot.node == 0 {
			return 0
		}
		if slot.key == key && (key.length <= keyLength || r.texts[slot.node] == string(segment)) {
			return slot.node
		}
	}
	return 0
}

// methodBits is a set of the methods that have a bit: those of HTTP itself.
type methodBits uint16

const (
	bitGet methodBits = 1 << iota
	bitHead
	bitPost
	bitPut
	bitPatch
	bitDelete
	bitOptions
	bitTrace
	bitConnect
)

// method is an HTTP method, in capitals, with its bit; 0 if it has none.
type method struct {
	name string
	bit  methodBits
}

// methodOf returns the method of a name in any case.
func methodOf(name string) method {
	if bit := bitOf(name); bit != 0 {
		return method{name, bit}
	}
	name = strings.ToUpper(name)
	return method{name, bitOf(name)}
}

func bitOf(name string) methodBits {
	switch name {
	case "GET":
		return bitGet
	case "HEAD":
		return bitHead
	case "POST":
		return bitPost
	case "PUT":
		return bitPut
	case "PATCH":
		return bitPatch
	case "DELETE":
		return bitDelete
	case "OPTIONS":
		return bitOptions
	case "TRACE":
		return bitTrace
	case "CONNECT":
		return bitConnect
	}
	return 0
}

// rareEnd is the end of a template whose method has no bit.
type rareEnd struct {
	node    uint32
	slashed bool
	method  string
}

// maxVisits bounds the nodes that one lookup visits. A path cannot make a
// lookup expensive: where the templates allow so much backtracking that the
// bound is met, the call has no route.
const maxVisits = 4096

// walk is one lookup.
type walk struct {
	router *router
	path   string
	method method
	// only restricts the answer to one service; nil is any.
	only *Service
	// encoded says that a "%" stands in the path.
	encoded bool
	visits  int
}

// find returns the endpoint of a path (which is empty or begins with a slash)
// and method, or nil.
func (r *router) find(path string, m method, only *Service) *endpoint {
	w := walk{router: r, path: path, method: m, only: only, encoded: strings.IndexByte(path, '%') >= 0, visits: maxVisits}
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
			return w.end(node, at < len(w.path))
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
			if n.branches == 0 && n.param == 0 {
				node, at = child, next
				continue
			}
			if e := w.from(child, next); e != nil {
				return e
			}
		}
		if n.branches == 0 {
			if n.param == 0 {
				return nil
			}
			node, at = n.param, next
			continue
		}
		if e := w.patterns(n, segment, encoded, next); e != nil {
			return e
		}
		if n.param != 0 {
			if e := w.from(n.param, next); e != nil {
				return e
			}
		}
		return w.anyRest(n, at+1)
	}
}

// end returns the endpoint of a path that ends at a node, with or without a
// slash; of one that has the wanted ending rather than of one that has not.
func (w *walk) end(node uint32, slash bool) *endpoint {
	if e := w.endpoint(node, slash); e != nil {
		return e
	}
	return w.endpoint(node, !slash)
}

// patterns tries the patterns of n for one whole segment; next is the offset
// after it.
func (w *walk) patterns(n *routeNode, segment string, encoded bool, next int) *endpoint {
	patterns := w.router.branches[n.branches].patterns
	for i := range patterns {
		p := &patterns[i]
		if !encoded && (p.first != 0 && p.first != segment[0] || p.last != 0 && p.last != segment[len(segment)-1]) {
			continue
		}
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
	rests := w.router.branches[n.branches].rests
	for i := range rests {
		if e := w.rest(&rests[i], start); e != nil {
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
	return n.slots == 0 && n.param == 0 && n.branches == 0
}

// endpoint returns the one with the walk's method; a HEAD that is no operation
// of its own is the GET's.
func (w *walk) endpoint(node uint32, slashed bool) *endpoint {
	e := w.withMethod(node, slashed, w.method)
	if e == nil && w.method.bit == bitHead {
		e = w.withMethod(node, slashed, method{"GET", bitGet})
	}
	return e
}

func (w *walk) withMethod(node uint32, slashed bool, m method) *endpoint {
	n := &w.router.nodes[node]
	at, set := int(n.endpoints), n.plain
	if slashed {
		at, set = at+bits.OnesCount16(uint16(set)), n.slashed
	}
	var e *endpoint
	switch {
	case set&m.bit != 0:
		e = &w.router.endpoints[at+bits.OnesCount16(uint16(set&(m.bit-1)))]
	case m.bit == 0:
		e = w.router.rare[rareEnd{node, slashed, m.name}]
	}
	if e == nil || w.only != nil && w.only != e.service {
		return nil
	}
	return e
}
