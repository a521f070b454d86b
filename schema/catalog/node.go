package catalog

// nodeKind says what a node of a document is.
type nodeKind uint8

const (
	kindNull nodeKind = iota
	kindText
	kindNumber
	kindBool
	kindList
	kindMap
)

// String returns the kind in the words of an error message.
func (k nodeKind) String() string {
	return [...]string{"nothing", "text", "a number", "true or false", "a list", "a mapping"}[k]
}

// node is one value of a YAML or JSON document, with its place. An alias is the
// very node of its anchor: a document of a few lines that would unfold to
// billions of values stays as small as it is written.
type node struct {
	kind nodeKind
	// line and column count from 1.
	line, column int
	// text is the value of a text, and the written form of a number or bool.
	text string
	// entries are the keys and values of a mapping in their order; a key may
	// occur twice, and what that means is up to the reader.
	entries []entry
	// merged are entries that came through a YAML merge key ("<<"), where the
	// mapping has no key of that name itself.
	merged []entry
	items  []*node
}

// entry is one key of a mapping and its value.
type entry struct {
	key          string
	line, column int
	value        *node
}

// get returns the value of a key, or nil. Where a key occurs twice it is the
// last one, as JSON readers have it.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for i := len(n.entries) - 1; i >= 0; i-- {
		if n.entries[i].key == key {
			return n.entries[i].value
		}
	}
	for i := range n.merged {
		if n.merged[i].key == key {
			return n.merged[i].value
		}
	}
	return nil
}

// textOf returns the text of a key's value, or "" where it is no text.
func (n *node) textOf(key string) string {
	if v := n.get(key); v != nil && v.kind == kindText {
		return v.text
	}
	return ""
}

// all returns own and merged entries.
func (n *node) all() []entry {
	if len(n.merged) == 0 {
		return n.entries
	}
	return append(append(make([]entry, 0, len(n.entries)+len(n.merged)), n.entries...), n.merged...)
}

// is reports whether the node is there and of the kind.
func (n *node) is(kind nodeKind) bool { return n != nil && n.kind == kind }

// documentError is why a document cannot be read, and where.
type documentError struct {
	line, column  int
	message, hint string
}
