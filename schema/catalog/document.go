package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxDepth is how deep mappings and lists may be nested. Published documents
// stay below 100; a document made to exhaust the stack does not.
const maxDepth = 500

// maxMerged bounds how many entries merge keys may copy in one document.
const maxMerged = 10_000

// readDocuments reads a file's YAML documents, or its one JSON document.
func readDocuments(data []byte) ([]*node, *documentError) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if err := checkText(data); err != nil {
		return nil, err
	}
	// JSON is YAML, but the JSON reader is faster, and knows JSON's escapes.
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		n, err := readJSON(data)
		if err == nil {
			return []*node{n}, nil
		}
		if !json.Valid(data) {
			// A trailing comma or a comment: good enough for YAML.
			if documents, problem := readYAML(data); problem == nil {
				return documents, nil
			}
		}
		return nil, err
	}
	return readYAML(data)
}

// checkText refuses what is no UTF-8 text.
func checkText(data []byte) *documentError {
	line := 1
	for rest := data; len(rest) > 0; line++ {
		text, after, _ := bytes.Cut(rest, []byte("\n"))
		if !utf8.Valid(text) {
			return &documentError{line: line, message: "not UTF-8 text", hint: "save the file as UTF-8"}
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return &documentError{line: line, message: "not a text file: it holds a zero byte", hint: "save the file as UTF-8"}
		}
		rest = after
	}
	return nil
}

// readYAML reads a file's YAML documents; empty ones are left out.
func readYAML(data []byte) ([]*node, *documentError) {
	// The parser counts a line at each of CR and LF.
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	tokens := lexer.Tokenize(text)
	if err := checkDepth(tokens); err != nil {
		return nil, err
	}
	file, err := parse(joinPlain(tokens))
	if err != nil {
		return nil, err
	}
	var documents []*node
	for _, document := range file.Docs {
		if document.Body == nil {
			continue
		}
		c := converter{anchors: map[string]*node{}}
		n := c.convert(document.Body, 0)
		if c.err != nil {
			return nil, c.err
		}
		if n.kind != kindNull {
			documents = append(documents, n)
		}
	}
	return documents, nil
}

// checkDepth refuses nesting that would exhaust the parser's stack.
func checkDepth(tokens token.Tokens) *documentError {
	flow, lineOpeners, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, lineOpeners = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			lineOpeners++
		case token.CollectEntryType:
			lineOpeners = 0
		}
		// Blocks deepen by one column a line at least, so the column bounds
		// them.
		if flow > maxDepth || lineOpeners > maxDepth || t.Position.Column > 4*maxDepth && t.Position.IndentNum > 4*maxDepth {
			return &documentError{line: t.Position.Line, column: t.Position.Column,
				message: fmt.Sprintf("nested deeper than %d levels", maxDepth), hint: "is this the right file?"}
		}
	}
	return nil
}

// joinPlain mends what the lexer does to lists inside flow mappings: it takes
// each ":" there for the end of a key, while in YAML a ":" without a space
// behind it is part of the text. Scopes are mostly written so:
// {scopes: [orders:read, s3:Get*]}.
func joinPlain(tokens token.Tokens) token.Tokens {
	var open []token.Type
	var out token.Tokens
	changed := false
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open = append(open, t.Type)
		case token.SequenceEndType, token.MappingEndType:
			open = open[:max(0, len(open)-1)]
		}
		if len(open) > 1 && open[len(open)-1] == token.SequenceStartType {
			if text, end := plainText(tokens, i); end > i {
				t = token.String(text, text, t.Position)
				i = end
				changed = true
			}
		}
		out = append(out, t)
	}
	if !changed {
		return tokens
	}
	// The tokens are linked to their neighbours, too.
	var linked token.Tokens
	linked.Add(out...)
	return linked
}

// plainText returns the text that begins at token i and that the lexer has cut
// at a ":", and its last token; or i where it is none.
func plainText(tokens token.Tokens, i int) (string, int) {
	first := tokens[i]
	if first.Indicator != token.NotIndicator || i+2 >= len(tokens) {
		return "", i
	}
	colon, after := tokens[i+1], tokens[i+2]
	if colon.Type != token.MappingValueType || strings.TrimRight(first.Origin, " \t\r\n") != first.Origin ||
		colon.Origin != ":" || after.Origin == "" || strings.ContainsAny(after.Origin[:1], " \t\r\n,[]{}") {
		return "", i
	}
	text := strings.TrimLeft(first.Origin, " \t\r\n")
	end := i
	for j := i + 1; j < len(tokens); j++ {
		t := tokens[j]
		switch t.Type {
		case token.CollectEntryType, token.SequenceEndType, token.SequenceStartType, token.MappingStartType,
			token.MappingEndType, token.CommentType:
			if strings.ContainsAny(text, "\r\n") {
				// A line break in a plain text is one space.
				text = strings.Join(strings.Fields(text), " ")
			}
			return strings.TrimSpace(text), end
		case token.MappingValueType:
			// A key after all: {[a:b: c]}.
			if j+1 < len(tokens) && strings.TrimLeft(tokens[j+1].Origin, " \t\r\n") != tokens[j+1].Origin {
				return "", i
			}
		}
		text += t.Origin
		end = j
	}
	return "", i
}

// parse calls the YAML parser. A panic of the parser is an unreadable document,
// not the end of the program: documents come from anywhere.
func parse(tokens token.Tokens) (file *ast.File, problem *documentError) {
	defer func() {
		if recover() != nil {
			file, problem = nil, &documentError{message: "not valid YAML: the parser gave up", hint: "check the file with another YAML tool"}
		}
	}()
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err == nil {
		return file, nil
	}
	problem = &documentError{message: "not valid YAML: " + firstLine(err.Error())}
	var positioned yaml.Error
	if errors.As(err, &positioned) {
		problem.message = "not valid YAML: " + firstLine(positioned.GetMessage())
		if t := positioned.GetToken(); t != nil && t.Position != nil {
			problem.line, problem.column = t.Position.Line, t.Position.Column
		}
	}
	problem.hint = syntaxHint(problem.message)
	return nil, problem
}

// syntaxHint says what mostly lies behind a message of the YAML parser.
func syntaxHint(message string) string {
	switch {
	case strings.Contains(message, "character '\t'"):
		return "indent with spaces"
	case strings.Contains(message, "must be specified") || strings.Contains(message, "could not find"):
		return "a text that holds { } [ ] or a comma must be in quotes"
	case strings.Contains(message, "cannot start any token"):
		return "put the text in quotes"
	}
	return "check the indentation"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// converter turns the parser's tree into nodes, resolving anchors.
type converter struct {
	anchors map[string]*node
	merged  int
	err     *documentError
}

func (c *converter) fail(t *token.Token, message, hint string) *node {
	if c.err == nil {
		c.err = &documentError{message: message, hint: hint}
		if t != nil && t.Position != nil {
			c.err.line, c.err.column = t.Position.Line, t.Position.Column
		}
	}
	return &node{}
}

func (c *converter) convert(a ast.Node, depth int) *node {
	if a == nil {
		return &node{}
	}
	t := a.GetToken()
	if depth > maxDepth {
		return c.fail(t, fmt.Sprintf("nested deeper than %d levels", maxDepth), "is this the right file?")
	}
	n := &node{}
	if t != nil && t.Position != nil {
		n.line, n.column = t.Position.Line, t.Position.Column
	}
	switch a := a.(type) {
	case *ast.StringNode:
		n.kind, n.text = kindText, a.Value
	case *ast.LiteralNode:
		n.kind, n.text = kindText, a.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		n.kind, n.text = kindNumber, t.Value
	case *ast.BoolNode:
		n.kind, n.text = kindBool, t.Value
	case *ast.NullNode, *ast.CommentGroupNode, *ast.CommentNode:
		n.kind = kindNull
	case *ast.SequenceNode:
		n.kind = kindList
		for _, value := range a.Values {
			n.items = append(n.items, c.convert(value, depth+1))
		}
	case *ast.MappingNode:
		c.mapping(n, a.Values, depth)
	case *ast.MappingValueNode:
		c.mapping(n, []*ast.MappingValueNode{a}, depth)
	case *ast.AnchorNode:
		// Registered after its value is read: an anchor that refers to itself
		// is therefore an unknown one.
		n = c.convert(a.Value, depth+1)
		if a.Name != nil {
			c.anchors[a.Name.GetToken().Value] = n
		}
	case *ast.AliasNode:
		return c.alias(a, t)
	case *ast.TagNode:
		n = c.convert(a.Value, depth+1)
		if t.Value == "!!str" && (n.kind == kindNumber || n.kind == kindBool || n.kind == kindNull) {
			n.kind = kindText
		}
	default:
		return c.fail(t, fmt.Sprintf("%s cannot stand here", a.Type()), "")
	}
	return n
}

func (c *converter) alias(a *ast.AliasNode, t *token.Token) *node {
	name := ""
	if a.Value != nil && a.Value.GetToken() != nil {
		name = a.Value.GetToken().Value
	}
	n, ok := c.anchors[name]
	if !ok {
		return c.fail(t, fmt.Sprintf("alias %q has no anchor before it", "*"+name), "")
	}
	return n
}

// mapping fills n with the entries of a mapping. An entry's place is that of
// its key, and the mapping's that of its first key.
func (c *converter) mapping(n *node, values []*ast.MappingValueNode, depth int) {
	n.kind = kindMap
	n.entries = make([]entry, 0, len(values))
	var merges []*node
	for i, value := range values {
		key := value.Key.GetToken()
		if i == 0 && key != nil && key.Position != nil && (n.line == 0 || key.Position.Line <= n.line) {
			n.line, n.column = key.Position.Line, key.Position.Column
		}
		if value.Key.IsMergeKey() {
			merges = append(merges, c.convert(value.Value, depth+1))
			continue
		}
		e := c.key(value.Key)
		e.value = c.convert(value.Value, depth+1)
		if e.value.line == 0 {
			e.value.line, e.value.column = e.line, e.column
		}
		n.entries = append(n.entries, e)
	}
	for _, m := range merges {
		c.merge(n, m)
	}
}

// key reads the key of an entry.
func (c *converter) key(key ast.MapKeyNode) entry {
	var a ast.Node = key
	for {
		switch k := a.(type) {
		case *ast.MappingKeyNode:
			a = k.Value
		case *ast.AnchorNode:
			a = k.Value
		case *ast.TagNode:
			a = k.Value
		case *ast.StringNode:
			return entryAt(k.Value, k.Token)
		case *ast.LiteralNode:
			return entryAt(k.Value.Value, k.Start)
		case *ast.AliasNode:
			return entryAt(c.alias(k, k.GetToken()).text, k.GetToken())
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
			return entryAt(a.GetToken().Value, a.GetToken())
		case nil:
			return entry{}
		default:
			c.fail(a.GetToken(), "a key must be text", "")
			return entryAt("", a.GetToken())
		}
	}
}

func entryAt(key string, t *token.Token) entry {
	e := entry{key: key}
	if t != nil && t.Position != nil {
		e.line, e.column = t.Position.Line, t.Position.Column
	}
	return e
}

// merge takes over the entries of from that n has not itself.
func (c *converter) merge(n, from *node) {
	if from.kind == kindList {
		for _, item := range from.items {
			c.merge(n, item)
		}
		return
	}
	if from.kind != kindMap {
		if c.err == nil {
			c.err = &documentError{line: from.line, column: from.column,
				message: "a merge key (<<) needs a mapping", hint: "refer to an anchor of a mapping"}
		}
		return
	}
	for _, e := range from.all() {
		if c.merged++; c.merged > maxMerged {
			if c.err == nil {
				c.err = &documentError{line: n.line, column: n.column,
					message: fmt.Sprintf("merge keys (<<) copy more than %d entries", maxMerged), hint: "write the entries out"}
			}
			return
		}
		if n.get(e.key) == nil {
			n.merged = append(n.merged, e)
		}
	}
}

// readJSON reads a JSON document, keeping lines.
func readJSON(data []byte) (*node, *documentError) {
	r := jsonReader{data: data, decoder: json.NewDecoder(bytes.NewReader(data)), line: 1}
	r.decoder.UseNumber()
	n := r.value(0)
	if r.err == nil && r.decoder.More() {
		r.fail("more than one JSON value")
	}
	return n, r.err
}

// jsonReader builds nodes from the decoder's tokens; offsets only ever grow, so
// counting lines costs one pass over the data.
type jsonReader struct {
	data    []byte
	decoder *json.Decoder
	// at is the offset up to which lines are counted, start that of the line.
	at, start, line int
	err             *documentError
}

func (r *jsonReader) fail(message string) {
	if r.err == nil {
		r.place(&node{})
		r.err = &documentError{line: r.line, message: "not valid JSON: " + message}
	}
}

// place notes line and column of the token that ends at the decoder's offset.
func (r *jsonReader) place(n *node) {
	end := min(int(r.decoder.InputOffset()), len(r.data))
	for {
		i := bytes.IndexByte(r.data[r.at:end], '\n')
		if i < 0 {
			break
		}
		r.at += i + 1
		r.start = r.at
		r.line++
	}
	r.at = end
	n.line, n.column = r.line, 0
}

func (r *jsonReader) value(depth int) *node {
	n := &node{}
	t, err := r.decoder.Token()
	if err != nil {
		r.fail(err.Error())
		return n
	}
	r.place(n)
	switch t := t.(type) {
	case string:
		n.kind, n.text = kindText, t
	case json.Number:
		n.kind, n.text = kindNumber, t.String()
	case bool:
		n.kind, n.text = kindBool, fmt.Sprint(t)
	case json.Delim:
		if depth > maxDepth {
			r.fail(fmt.Sprintf("nested deeper than %d levels", maxDepth))
			return n
		}
		r.composite(n, t, depth)
	}
	return n
}

func (r *jsonReader) composite(n *node, open json.Delim, depth int) {
	n.kind = kindList
	if open == '{' {
		n.kind = kindMap
	}
	for r.err == nil && r.decoder.More() {
		if n.kind == kindList {
			n.items = append(n.items, r.value(depth+1))
			continue
		}
		key := r.value(depth + 1)
		if r.err != nil {
			return
		}
		value := r.value(depth + 1)
		n.entries = append(n.entries, entry{key: key.text, line: key.line, column: key.column, value: value})
	}
	if r.err != nil {
		return
	}
	if _, err := r.decoder.Token(); err != nil {
		r.fail(err.Error())
	}
}
