package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// step is one part of a path: a key of an object, an element of an array, or
// every element of it.
type step struct {
	key   string
	index int // -1 for a key, everyElement for [], else the element
}

const (
	notAnIndex   = -1
	everyElement = -2
)

var (
	errPathEmpty   = errors.New("the path is empty")
	errPathBracket = errors.New("the path has an open bracket; write a[0], a[] or a[\"a.b\"]")
)

// parsePath reads a path such as user.extra["a.b/c"][0] or resources[].ARN.
// Keys stand as they are written in the log; a key that contains a dot or a
// bracket goes into ["…"].
func parsePath(text string) ([]step, error) {
	var steps []step
	rest := text
	for rest != "" {
		if rest[0] == '[' {
			end, parsed, err := parseBracket(rest)
			if err != nil {
				return nil, fmt.Errorf("path %q: %w", text, err)
			}
			steps, rest = append(steps, parsed), rest[end:]
		} else {
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				return nil, fmt.Errorf("path %q: %w", text, errPathEmpty)
			}
			steps, rest = append(steps, step{rest[:end], notAnIndex}), rest[end:]
		}
		if strings.HasPrefix(rest, ".") {
			if rest = rest[1:]; rest == "" {
				return nil, fmt.Errorf("path %q: %w", text, errPathEmpty)
			}
		}
	}
	if len(steps) == 0 {
		return nil, errPathEmpty
	}
	return steps, nil
}

// parseBracket reads the bracket that text begins with and returns its length.
func parseBracket(text string) (int, step, error) {
	if strings.HasPrefix(text, "[]") {
		return 2, step{"", everyElement}, nil
	}
	if strings.HasPrefix(text, `["`) {
		end := strings.Index(text[2:], `"]`)
		if end < 0 {
			return 0, step{}, errPathBracket
		}
		return end + 4, step{text[2 : 2+end], notAnIndex}, nil
	}
	end := strings.IndexByte(text, ']')
	if end < 0 {
		return 0, step{}, errPathBracket
	}
	index, err := strconv.ParseUint(text[1:end], 10, 16)
	if err != nil {
		return 0, step{}, errPathBracket
	}
	return end + 1, step{"", int(index)}, nil
}

// node is one place in a document that some path passes through or ends at.
type node struct {
	children keyTable
	// elements is the node of every element, indexed those of single ones.
	elements *node
	indexed  []indexedNode
	// slot is where the value found here is put, -1 for none.
	slot int
	// id numbers the nodes; low and high bound the ids below this node, itself
	// included, so that a duplicate key can forget what the first one gave.
	id, low, high int
	// envelope says that an array here, in the outermost object, holds units.
	envelope bool
}

type indexedNode struct {
	index int
	*node
}

// trie is all the paths that a set of presets reads.
type trie struct {
	root  *node
	nodes int
	// slots is how many values the paths can give; nodeOf is, for a slot, the
	// id of the node that gives it.
	slots  int
	nodeOf []int
}

// trieBuilder collects paths before the lookup tables are made.
type trieBuilder struct {
	root *draftNode
}

type draftNode struct {
	keys     []string
	byKey    map[string]*draftNode
	byIndex  map[int]*draftNode
	indexes  []int
	slot     int
	envelope bool
}

func newDraftNode() *draftNode {
	return &draftNode{byKey: map[string]*draftNode{}, byIndex: map[int]*draftNode{}, slot: -1}
}

func newTrieBuilder() *trieBuilder { return &trieBuilder{newDraftNode()} }

// at returns the node of a path, made if it is new.
func (b *trieBuilder) at(steps []step) *draftNode {
	n := b.root
	for _, s := range steps {
		var next *draftNode
		if s.index == notAnIndex {
			if next = n.byKey[s.key]; next == nil {
				next = newDraftNode()
				n.byKey[s.key] = next
				n.keys = append(n.keys, s.key)
			}
		} else if next = n.byIndex[s.index]; next == nil {
			next = newDraftNode()
			n.byIndex[s.index] = next
			n.indexes = append(n.indexes, s.index)
		}
		n = next
	}
	return n
}

// build freezes the paths.
func (b *trieBuilder) build(slots int) *trie {
	t := &trie{slots: slots, nodeOf: make([]int, slots+1)}
	for i := range t.nodeOf {
		t.nodeOf[i] = -1
	}
	t.root = t.freeze(b.root)
	return t
}

func (t *trie) freeze(d *draftNode) *node {
	n := &node{slot: d.slot, id: t.nodes, low: t.nodes, envelope: d.envelope}
	t.nodes++
	if d.slot >= 0 {
		t.nodeOf[d.slot] = n.id
	}
	children := make([]*node, len(d.keys))
	for i, key := range d.keys {
		children[i] = t.freeze(d.byKey[key])
	}
	for _, index := range d.indexes {
		child := t.freeze(d.byIndex[index])
		if index == everyElement {
			n.elements = child
		} else {
			n.indexed = append(n.indexed, indexedNode{index, child})
		}
	}
	if d.slot >= 0 {
		n.giveElements(d.slot)
	}
	n.children = newKeyTable(d.keys, children)
	n.high = t.nodes
	return n
}

// giveElements makes a list at a path's end give its elements, as a single value
// in its place would be given.
func (n *node) giveElements(slot int) {
	if n.elements == nil {
		n.elements = &node{slot: slot, id: n.id, low: n.low, high: n.low}
	}
	for _, child := range append([]indexedNode{{node: n.elements}}, n.indexed...) {
		if child.slot < 0 {
			child.slot = slot
		}
	}
}

// element returns the node of an array's element, nil if no path reads it.
func (n *node) element(index int) *node {
	for i := range n.indexed {
		if n.indexed[i].index == index {
			return n.indexed[i].node
		}
	}
	return n.elements
}

// descends reports whether some path goes on below this node.
func (n *node) descends() bool { return len(n.children.nodes) > 0 }

// keyTable finds a key among few known ones: a hash without collisions, whose
// multiplier is searched when the table is built, then one comparison.
type keyTable struct {
	nodes []*node
	keys  []string
	multiplier
	shift uint
}

type multiplier uint64

func newKeyTable(keys []string, nodes []*node) keyTable {
	if len(keys) == 0 {
		return keyTable{}
	}
	width := bits.Len(uint(2*len(keys) - 1))
	for {
		taken := newBitset(1 << width)
		m := multiplier(0x9e3779b97f4a7c15)
		for range 200 {
			t := keyTable{multiplier: m, shift: uint(64 - width)}
			if t.fits(keys, taken) {
				t.nodes, t.keys = make([]*node, 1<<width), make([]string, 1<<width)
				for i, key := range keys {
					at := m.hash([]byte(key)) >> t.shift
					t.nodes[at], t.keys[at] = nodes[i], key
				}
				return t
			}
			m = m*0xd1342543de82ef95 + 0x2545f4914f6cdd1d | 1
		}
		width++
	}
}

// fits reports whether no two keys get the same place.
func (t *keyTable) fits(keys []string, taken bitset) bool {
	clear(taken)
	for _, key := range keys {
		at := int(t.hash([]byte(key)) >> t.shift)
		if taken.has(at) {
			return false
		}
		taken.set(at)
	}
	return true
}

// find returns the node of a key, nil if no path reads it.
func (t *keyTable) find(key []byte) *node {
	if len(t.nodes) == 0 {
		return nil
	}
	at := t.hash(key) >> t.shift
	if string(key) != t.keys[at] {
		return nil
	}
	return t.nodes[at]
}

// hash mixes the first and last eight bytes and the length. Keys that agree in
// all three collide for every multiplier only if they are equal or longer than
// sixteen bytes; the table then grows and the comparison keeps it correct.
func (m multiplier) hash(key []byte) uint64 {
	var a, b uint64
	switch n := len(key); {
	case n >= 8:
		a, b = binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[n-8:])
		if n > 24 {
			a ^= binary.LittleEndian.Uint64(key[n/2-4:]) * 0xff51afd7ed558ccd
		}
	case n >= 4:
		a, b = uint64(binary.LittleEndian.Uint32(key)), uint64(binary.LittleEndian.Uint32(key[n-4:]))
	case n > 0:
		a, b = uint64(key[0])|uint64(key[n/2])<<8, uint64(key[n-1])
	}
	h := (a ^ bits.RotateLeft64(b, 29) ^ uint64(len(key))<<56) * uint64(m)
	return (h ^ h>>32) * uint64(m)
}

// bitset is a set of small numbers.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (b bitset) set(i int)      { b[i>>6] |= 1 << (i & 63) }
func (b bitset) has(i int) bool { return b[i>>6]&(1<<(i&63)) != 0 }
