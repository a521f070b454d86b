package catalog

import (
	"cmp"
	"math/bits"
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
		if (*list)[i].operation.Method == o.Method {
			return &(*list)[i]
		}
	}
	*list = append(*list, endpoint{s, o})
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

// compile lays the trie out in a few arrays: a large specification's trie of
// single nodes and maps is several times larger than a processor's caches.
func (t *trie) compile() *router {
	c := compiler{
		router: &router{nodes: make([]routeNode, 1), texts: make([]string, 1), branches: make([]branches, 1), rare: map[rareEnd]*endpoint{}},
		queue:  []*trieNode{&t.root},
	}
	// Breadth first: the nodes near the root, which all lookups pass, lie
	// together.
	for at := 0; at < len(c.queue); at++ {
		from, n := c.queue[at], c.nodes[at]
		c.table(&n, from.literals)
		if from.param != nil {
			n.param = c.node(from.param)
		}
		if len(from.patterns)+len(from.rests) > 0 {
			n.branches = uint32(len(c.branches))
			c.branches = append(c.branches, branches{c.edges(from.patterns), c.edges(from.rests)})
		}
		n.endpoints = uint32(len(c.endpoints))
		n.plain = c.ends(from.plain, rareEnd{node: uint32(at)})
		n.slashed = c.ends(from.slashed, rareEnd{node: uint32(at), slashed: true})
		c.nodes[at] = n
	}
	return c.router
}

// compiler is a router in the making.
type compiler struct {
	*router
	// queue are the nodes in the order of their numbers.
	queue []*trieNode
}

// node gives a node its number.
func (c *compiler) node(n *trieNode) uint32 {
	c.queue = append(c.queue, n)
	c.nodes = append(c.nodes, routeNode{})
	c.texts = append(c.texts, "")
	return uint32(len(c.nodes) - 1)
}

// table makes a node's hash table.
func (c *compiler) table(n *routeNode, nodes map[string]*trieNode) {
	n.literals = uint32(len(c.literals))
	count := uint(len(nodes))
	switch {
	case count == 0:
		return
	case count <= 4:
		// All of them are looked at in no time: no room is left.
		n.slots = 1 << bits.Len(count-1)
	default:
		// Up to three in four slots are taken.
		n.slots = 1 << bits.Len(count+count/3)
	}
	c.literals = append(c.literals, make([]literalSlot, n.slots)...)
	slots := c.literals[n.literals:]
	for _, text := range slices.Sorted(mapKeys(nodes)) {
		key := keyOf(text)
		i := key.slot() & (n.slots - 1)
		for slots[i].node != 0 {
			i = (i + 1) & (n.slots - 1)
		}
		slots[i] = literalSlot{key, c.node(nodes[text])}
		if key.length > keyLength {
			c.texts[slots[i].node] = strings.Clone(text)
		}
	}
}

func (c *compiler) edges(edges []trieEdge) []routeEdge {
	var list []routeEdge
	for _, e := range edges {
		made := routeEdge{parts: together(e.parts), node: c.node(e.node)}
		if first := e.parts[0]; first != "" {
			made.first = first[0]
		}
		if last := e.parts[len(e.parts)-1]; last != "" {
			made.last = last[len(last)-1]
		}
		list = append(list, made)
	}
	return list
}

// together copies texts so that they lie side by side.
func together(texts []string) []string {
	all := strings.Join(texts, "")
	copies := make([]string, len(texts))
	for i, text := range texts {
		copies[i], all = all[:len(text)], all[len(text):]
	}
	return copies
}

// ends files endpoints, which have each a method of its own, and returns their
// methods' bits; end is where they stand.
func (c *compiler) ends(list []endpoint, end rareEnd) methodBits {
	var set methodBits
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b endpoint) int {
		return cmp.Compare(bitOf(a.operation.Method), bitOf(b.operation.Method))
	})
	for _, e := range list {
		if bit := bitOf(e.operation.Method); bit != 0 {
			set |= bit
			c.endpoints = append(c.endpoints, e)
			continue
		}
		end.method = e.operation.Method
		c.rare[end] = &e
	}
	return set
}
