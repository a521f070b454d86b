package catalog

import (
	"cmp"
	"slices"
	"strings"
)

// router is a trie over the segments of templates. At each node a path's
// segment is tried as a literal, then as a pattern (more text first), then as a
// parameter, then as the start of a rest; a branch that ends without the
// wanted method is left again. So the answer is the most literal template that
// matches, segment by segment from the left, among those with the method.
type router struct {
	root routeNode
	// texts holds each literal and method once: templates repeat them, and a
	// lookup that finds them in the processor's cache is twice as fast.
	texts map[string]string
}

type routeNode struct {
	// few are the literals while they are at most maxFew, many all of them
	// when they are more.
	few      []literalEdge
	many     map[string]*routeNode
	patterns []routeEdge
	param    *routeNode
	rests    []routeEdge
	// plain are the operations of a template that ends here, slashed those of
	// one that ends here with a slash.
	plain, slashed []endpoint
}

// maxFew is up to how many literals a comparison one by one beats a map.
const maxFew = 8

// literalEdge leads to a node by one literal.
type literalEdge struct {
	text string
	node *routeNode
}

// literal returns the node that a literal leads to, or nil.
func (n *routeNode) literal(text string) *routeNode {
	if n.many != nil {
		return n.many[text]
	}
	for i := range n.few {
		if n.few[i].text == text {
			return n.few[i].node
		}
	}
	return nil
}

// literalBytes is literal without the need to make a string.
func (n *routeNode) literalBytes(text []byte) *routeNode {
	if n.many != nil {
		return n.many[string(text)]
	}
	for i := range n.few {
		if n.few[i].text == string(text) {
			return n.few[i].node
		}
	}
	return nil
}

func (n *routeNode) addLiteral(text string) *routeNode {
	made := &routeNode{}
	switch {
	case n.many != nil:
		n.many[text] = made
	case len(n.few) < maxFew:
		n.few = append(n.few, literalEdge{text, made})
	default:
		n.many = make(map[string]*routeNode, 2*maxFew)
		for _, e := range n.few {
			n.many[e.text] = e.node
		}
		n.many[text] = made
		n.few = nil
	}
	return made
}

// once returns the router's own copy of a text.
func (r *router) once(text string) string {
	if r.texts == nil {
		r.texts = map[string]string{}
	}
	if own, ok := r.texts[text]; ok {
		return own
	}
	text = strings.Clone(text)
	r.texts[text] = text
	return text
}

// routeEdge leads to a node by the parts of a pattern or rest.
type routeEdge struct {
	parts  []string
	weight int
	node   *routeNode
}

// endpoint is an operation at the end of its template.
type endpoint struct {
	method    string
	service   *Service
	operation *Operation
}

// add puts an operation in, and returns the one that has the place already, if
// there is one: then nothing is added.
func (r *router) add(s *Service, o *Operation) *endpoint {
	segments, slash, err := parseTemplate(o.Template)
	if err != nil {
		// Load has refused such templates.
		return nil
	}
	n := &r.root
	for i := range segments {
		segments[i].text = r.once(segments[i].text)
		n = n.child(&segments[i])
	}
	list := &n.plain
	if slash {
		list = &n.slashed
	}
	for i := range *list {
		if (*list)[i].method == o.Method {
			return &(*list)[i]
		}
	}
	*list = append(*list, endpoint{r.once(o.Method), s, o})
	return nil
}

// child returns the node that a segment leads to, making it if needed.
func (n *routeNode) child(s *segment) *routeNode {
	switch s.kind {
	case segLiteral:
		if next := n.literal(s.text); next != nil {
			return next
		}
		return n.addLiteral(s.text)
	case segParameter:
		if n.param == nil {
			n.param = &routeNode{}
		}
		return n.param
	case segPattern:
		return edge(&n.patterns, s)
	}
	return edge(&n.rests, s)
}

// edge finds or makes the edge with these parts, keeping the edges in the
// order in which they are tried.
func edge(edges *[]routeEdge, s *segment) *routeNode {
	for i := range *edges {
		if slices.Equal((*edges)[i].parts, s.parts) {
			return (*edges)[i].node
		}
	}
	made := routeEdge{parts: s.parts, weight: s.weight(), node: &routeNode{}}
	*edges = append(*edges, made)
	slices.SortStableFunc(*edges, func(a, b routeEdge) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), slices.Compare(a.parts, b.parts))
	})
	return made.node
}

// maxVisits bounds the nodes that one lookup visits. A path cannot make a
// lookup expensive: where the templates allow so much backtracking that the
// bound is met, the call has no route.
const maxVisits = 4096

// walk is one lookup.
type walk struct {
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
	w := walk{path: path, method: method, only: only, encoded: strings.IndexByte(path, '%') >= 0, visits: maxVisits}
	return w.from(&r.root, 0)
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

// from continues at node n; at is the offset of the slash before the next
// segment, or the path's length.
func (w *walk) from(n *routeNode, at int) *endpoint {
	if w.visits--; w.visits < 0 {
		return nil
	}
	rest := w.path[at:]
	switch rest {
	case "":
		if e := w.endpoint(n.plain); e != nil {
			return e
		}
		return w.endpoint(n.slashed)
	case "/":
		if e := w.endpoint(n.slashed); e != nil {
			return e
		}
		return w.endpoint(n.plain)
	}
	rest = rest[1:]
	next := len(w.path)
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		next = at + 1 + i
		rest = rest[:i]
	}
	if rest != "" {
		if e := w.segment(n, rest, next); e != nil {
			return e
		}
	}
	for i := range n.rests {
		if e := w.rest(&n.rests[i], at+1); e != nil {
			return e
		}
	}
	return nil
}

// segment tries the edges for one whole segment; next is the offset after it.
func (w *walk) segment(n *routeNode, segment string, next int) *endpoint {
	if (segment[0] == '.' || segment[0] == '%') && dotSegment(segment) {
		w.visits = 0
		return nil
	}
	encoded := w.encoded && strings.IndexByte(segment, '%') >= 0
	var child *routeNode
	if encoded {
		child = n.literalDecoded(segment)
	} else {
		child = n.literal(segment)
	}
	if child != nil {
		if e := w.from(child, next); e != nil {
			return e
		}
	}
	for i := range n.patterns {
		p := &n.patterns[i]
		if encoded && matchDecoded(p.parts, segment) || !encoded && matchParts(p.parts, segment) {
			if e := w.from(p.node, next); e != nil {
				return e
			}
		}
	}
	if n.param != nil {
		return w.from(n.param, next)
	}
	return nil
}

// maxDecoded is the longest segment that is compared after decoding; a longer
// one matches only as a parameter or rest.
const maxDecoded = 512

func (n *routeNode) literalDecoded(segment string) *routeNode {
	var buf [maxDecoded]byte
	length, ok := decode(buf[:], segment)
	if !ok {
		return nil
	}
	return n.literalBytes(buf[:length])
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
	if !strings.HasPrefix(w.path[start:], prefix) {
		return nil
	}
	for end := start; end < len(w.path); {
		end++
		if i := strings.IndexByte(w.path[end:], '/'); i >= 0 && !e.node.final() {
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
	return n.few == nil && n.many == nil && n.patterns == nil && n.param == nil && n.rests == nil
}

// endpoint returns the one with the walk's method; a HEAD that is no operation
// of its own is the GET's.
func (w *walk) endpoint(list []endpoint) *endpoint {
	if e := w.withMethod(list, w.method); e != nil || w.method != "HEAD" {
		return e
	}
	return w.withMethod(list, "GET")
}

func (w *walk) withMethod(list []endpoint, method string) *endpoint {
	for i := range list {
		if e := &list[i]; e.method == method && (w.only == nil || w.only == e.service) {
			return e
		}
	}
	return nil
}
