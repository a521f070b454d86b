package catalog

import (
	"cmp"
	"slices"
	"strings"
)

// trie is the router while it is built; compile makes the router of it.
type trie struct {
	root trieNode
}

type trieNode struct {
	literals map[string]*trieNode
	patterns []trieEdge
	param    *trieNode
	rests    []trieEdge
	// plain are the operations of a template that ends here, slashed those of
	// one that ends here with a slash.
	plain, slashed []endpoint
}

// trieEdge leads to a node by the parts of a pattern or rest.
type trieEdge struct {
	parts  []string
	weight int
	node   *trieNode
}

// endpoint is an operation at the end of its template.
type endpoint struct {
	method    string
	service   *Service
	operation *Operation
}

// add puts an operation in, and returns the one that has the place already, if
// there is one: then nothing is added.
func (t *trie) add(s *Service, o *Operation) *endpoint {
	segments, slash, err := parseTemplate(o.Template)
	if err != nil {
		// Load has refused such templates.
		return nil
	}
	n := &t.root
	for i := range segments {
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
	*list = append(*list, endpoint{o.Method, s, o})
	return nil
}

// child returns the node that a segment leads to, making it if needed.
func (n *trieNode) child(s *segment) *trieNode {
	switch s.kind {
	case segLiteral:
		next := n.literals[s.text]
		if next == nil {
			if n.literals == nil {
				n.literals = map[string]*trieNode{}
			}
			next = &trieNode{}
			n.literals[s.text] = next
		}
		return next
	case segParameter:
		if n.param == nil {
			n.param = &trieNode{}
		}
		return n.param
	case segPattern:
		return edge(&n.patterns, s)
	}
	return edge(&n.rests, s)
}

// edge finds or makes the edge with these parts, keeping the edges in the
// order in which they are tried.
func edge(edges *[]trieEdge, s *segment) *trieNode {
	for i := range *edges {
		if slices.Equal((*edges)[i].parts, s.parts) {
			return (*edges)[i].node
		}
	}
	made := trieEdge{parts: s.parts, weight: s.weight(), node: &trieNode{}}
	*edges = append(*edges, made)
	slices.SortStableFunc(*edges, func(a, b trieEdge) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), slices.Compare(a.parts, b.parts))
	})
	return made.node
}

// compile lays the trie out in a few arrays. What a lookup costs is mostly the
// processor's waiting for memory, and a large specification's trie of single
// nodes and maps is several times larger than its caches.
func (t *trie) compile() *router {
	r := &router{nodes: make([]routeNode, 1)}
	texts := map[string]string{}
	once := func(text string) string {
		own, ok := texts[text]
		if !ok {
			own = strings.Clone(text)
			texts[own] = own
		}
		return own
	}
	// Breadth first: the nodes near the root, which all lookups pass, lie
	// together.
	queue := []*trieNode{&t.root}
	index := func(n *trieNode) uint32 {
		queue = append(queue, n)
		r.nodes = append(r.nodes, routeNode{})
		return uint32(len(r.nodes) - 1)
	}
	for at := 0; at < len(queue); at++ {
		from := queue[at]
		n := routeNode{literals: span{start: uint32(len(r.literals)), count: uint32(len(from.literals))}}
		for _, text := range slices.Sorted(mapKeys(from.literals)) {
			r.literals = append(r.literals, literalEdge{key: literalKey(text), node: index(from.literals[text]), text: once(text)})
		}
		slices.SortStableFunc(r.literals[n.literals.start:], func(a, b literalEdge) int { return cmp.Compare(a.key, b.key) })
		n.patterns = r.addEdges(from.patterns, index)
		if from.param != nil {
			n.param = index(from.param)
		}
		n.rests = r.addEdges(from.rests, index)
		n.plain = r.addEndpoints(from.plain, once)
		n.slashed = r.addEndpoints(from.slashed, once)
		r.nodes[at] = n
	}
	return r
}

func (r *router) addEdges(edges []trieEdge, index func(*trieNode) uint32) span {
	s := span{start: uint32(len(r.edges)), count: uint32(len(edges))}
	for _, e := range edges {
		r.edges = append(r.edges, routeEdge{parts: e.parts, node: index(e.node)})
	}
	return s
}

func (r *router) addEndpoints(list []endpoint, once func(string) string) span {
	s := span{start: uint32(len(r.endpoints)), count: uint32(len(list))}
	for _, e := range list {
		e.method = once(e.method)
		r.endpoints = append(r.endpoints, e)
	}
	return s
}
