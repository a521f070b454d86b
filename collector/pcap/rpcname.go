package pcap

import (
	"bytes"
	"slices"
	"strings"
)

// How the bodies of GraphQL, JSON-RPC and MCP name the operation that they ask for.
// Readers of JSON differ: some take names in any case, some the first of equal ones
// and some the last. What two of them may read differently names nothing.

// rpcNames are the members that matter, as every reader writes them.
var rpcNames = [...]string{"jsonrpc", "method", "params", "query", "operationName", "extensions"}

// rpcName returns the name of the operation that a JSON body asks for, and of which
// kind its answer is. Of several calls in one body it is the name that all have. The
// kind is told even where the text is cut, or says two things.
func rpcName(text []byte) (name string, kind bodyKind) {
	text = jsonSpace(bytes.TrimPrefix(text, []byte("\ufeff")))
	if len(text) == 0 || text[0] != '[' {
		return rpcCall(text)
	}
	first := true
	whole := jsonElements(text, func(value []byte) {
		one, of := rpcCall(value)
		if first {
			name, kind, first = one, of, false
		}
		if one != name {
			name = ""
		}
		if of != bodyNone {
			kind = of // others beside it are refused
		}
	})
	if !whole {
		name = ""
	}
	return name, kind
}

// rpcCall is rpcName of one call.
func rpcCall(text []byte) (string, bodyKind) {
	var members [len(rpcNames)][]byte
	twice := false
	whole := jsonMembers(text, func(key, value []byte) {
		for i, name := range rpcNames {
			if strings.EqualFold(string(key), name) {
				twice = twice || members[i] != nil
				members[i] = value
			}
		}
	})
	version, method, params, query, operation, extensions := members[0], members[1], members[2], members[3], members[4], members[5]
	if version, _ := jsonText(version); version == "2.0" {
		if !whole || twice {
			return "", bodyRPC
		}
		return rpcMethod(method, params), bodyRPC
	}
	document, ok := jsonText(query)
	if !ok {
		// A query that the server keeps itself, or nothing of GraphQL.
		if jsonHas(extensions, "persistedQuery") {
			return "", bodyGraphQL
		}
		return "", bodyNone
	}
	wanted, _ := jsonText(operation)
	name := graphqlName(document, wanted)
	if name == "" && !graphqlLike(document) {
		return "", bodyNone // a search
	}
	if !whole || twice {
		return "", bodyGraphQL
	}
	return name, bodyGraphQL
}

// rpcMethod returns the method of JSON-RPC, and where MCP says in the parameters what
// is called, that as well.
func rpcMethod(method, params []byte) string {
	name, ok := jsonText(method)
	if !ok || !isName(name) {
		return ""
	}
	if name != "tools/call" && name != "prompts/get" {
		return name
	}
	called, found := "", 0
	if jsonMembers(params, func(key, value []byte) {
		if strings.EqualFold(string(key), "name") {
			called, _ = jsonText(value)
			found++
		}
	}) && found == 1 && isName(called) {
		return name + " " + called
	}
	return ""
}

// rpcBeginning returns of which kind the answer of a body is whose rest is missing.
func rpcBeginning(text []byte) bodyKind {
	if _, kind := rpcName(text); kind != bodyNone {
		return kind
	}
	// The document itself may be what is cut.
	if _, rest, found := bytes.Cut(text, []byte(`"query"`)); found {
		if rest = jsonSpace(rest); len(rest) > 0 && rest[0] == ':' {
			rest = bytes.TrimPrefix(jsonSpace(rest[1:]), []byte{'"'})
			if document := strings.TrimLeft(string(rest[:min(len(rest), 256)]), " \\nrt,"); graphqlBegins(document) || graphqlSelection(document) {
				return bodyGraphQL
			}
		}
	}
	return bodyNone
}

// maxFirstPart is how much of a body in parts is looked through for one of GraphQL: it
// comes first.
const maxFirstPart = 4 << 10

// partOfGraphQL returns the part of a body in parts that says what GraphQL is asked for,
// with files behind it (the convention of GraphQL uploads), as far as it is there; nil
// where there is none.
func partOfGraphQL(b []byte) []byte {
	at := bytes.Index(b[:min(len(b), maxFirstPart)], []byte(`name="operations"`))
	if at < 0 || bytes.Count(b, []byte(`name="operations"`)) > 1 {
		return nil
	}
	_, part, found := bytes.Cut(b[at:], []byte("\r\n\r\n"))
	if !found {
		return nil
	}
	part, _, _ = bytes.Cut(part, []byte("\r\n--"))
	return part
}

// jsonHas reports whether an object has a member.
func jsonHas(object []byte, name string) (has bool) {
	jsonMembers(object, func(key, _ []byte) { has = has || string(key) == name })
	return has
}

// graphqlQuery is rpcName for GraphQL in a query string.
func graphqlQuery(target []byte) (string, bodyKind) {
	_, query, _ := bytes.Cut(target, []byte{'?'})
	if !bytes.Contains(query, []byte("%7")) && bytes.IndexByte(query, '{') < 0 {
		return "", bodyNone // neither a document nor JSON goes without a brace
	}
	var documents, wanted []string
	kind, odd := bodyNone, false
	for part := range bytes.SplitSeq(query, []byte{'&'}) {
		key, value, _ := bytes.Cut(part, []byte{'='})
		name, sound := queryText(key)
		text, soundToo := queryText(value)
		odd = odd || !sound || !soundToo
		switch {
		case name == "query":
			if graphqlLike(text) || graphqlName(text, "") != "" {
				kind = bodyGraphQL
			}
			documents = append(documents, text)
		case name == "operationName":
			wanted = append(wanted, text)
		case name == "extensions" && jsonHas([]byte(text), "persistedQuery"):
			kind = bodyGraphQL
		}
	}
	if kind == bodyNone || odd || len(documents) != 1 || len(wanted) > 1 {
		return "", kind
	}
	return graphqlName(documents[0], slices.Concat(wanted, []string{""})[0]), kind
}

// queryText undoes the escapes of a query value, and reports whether all were some.
func queryText(b []byte) (text string, sound bool) {
	out := make([]byte, 0, len(b))
	sound = true
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			high, low, ok := byte(0), byte(0), i+2 < len(b)
			if ok {
				var first, second bool
				high, first = unhex(b[i+1])
				low, second = unhex(b[i+2])
				ok = first && second
			}
			if sound = sound && ok; ok {
				c = high<<4 | low
				i += 2
			}
		}
		out = append(out, c)
	}
	return string(out), sound
}

// isName reports whether a text can be the name of a method or tool.
func isName(name string) bool {
	if name == "" || len(name) > maxID {
		return false
	}
	for _, c := range []byte(name) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("_-./:", rune(c)) {
			return false
		}
	}
	return true
}

// graphqlLike reports whether a text is a GraphQL document rather than what
// somebody searches for.
func graphqlLike(text string) bool {
	text = strings.Trim(text, " \t\r\n,\ufeff")
	return graphqlSelection(text) || strings.HasSuffix(text, "}") && graphqlBegins(text)
}

// graphqlBegins reports whether a text begins as a GraphQL document does that does not
// begin with a selection.
func graphqlBegins(text string) bool {
	for _, word := range [...]string{"query", "mutation", "subscription", "fragment", "#"} {
		if strings.HasPrefix(text, word) {
			return true
		}
	}
	return false
}

// graphqlSelection reports whether a text is a selection of GraphQL. JSON and the
// selectors of Prometheus and Loki begin with a brace as well, but then come quotes, or
// a name that something is.
func graphqlSelection(text string) bool {
	if !strings.HasPrefix(text, "{") {
		return false
	}
	rest := strings.TrimLeft(text[1:], " \t\r\n,")
	if rest == "" || !graphqlWord(rest[0]) && rest[0] != '.' && rest[0] != '#' {
		return false
	}
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '=':
			return false
		case '"':
			n := jsonString([]byte(rest[i:]))
			if n == 0 {
				return true
			}
			i += n - 1
		}
	}
	return true
}

// graphqlName returns "query NAME" (or mutation, subscription) of the operation
// that a document asks for: the one with the wanted name, or the only one. It is
// empty where that has no name, or where the document does not say which.
func graphqlName(document, wanted string) string {
	found, operations := "", 0
	depth := 0
	for i := 0; i < len(document); {
		switch c := document[i]; {
		case c == '#':
			for i < len(document) && document[i] != '\n' && document[i] != '\r' {
				i++
			}
		case strings.HasPrefix(document[i:], `"""`):
			n := graphqlBlock(document[i:])
			if n == 0 {
				return ""
			}
			i += n
		case c == '"':
			n := jsonString([]byte(document[i:]))
			if n == 0 {
				return ""
			}
			i += n
		case c == '{' || c == '(' || c == '[':
			if c == '{' && depth == 0 {
				// A selection without a word in front is a query without a name;
				// behind one it was counted already.
				if before := strings.TrimRight(document[:i], " \t\r\n,"); before == "" || before[len(before)-1] == '}' {
					operations++
				}
			}
			depth++
			i++
		case c == '}' || c == ')' || c == ']':
			if depth--; depth < 0 {
				return ""
			}
			i++
		case graphqlWord(c):
			word := graphqlWordAt(document[i:])
			i += len(word)
			if depth > 0 || word != "query" && word != "mutation" && word != "subscription" {
				continue
			}
			operations++
			rest := strings.TrimLeft(document[i:], " \t\r\n,")
			if rest == "" || !graphqlWord(rest[0]) {
				continue
			}
			name := graphqlWordAt(rest)
			i = len(document) - len(rest) + len(name)
			if len(name) > maxID {
				return ""
			}
			if wanted == "" || name == wanted {
				if found != "" && wanted != "" {
					return ""
				}
				found = word + " " + name
			}
		default:
			i++
		}
	}
	if depth != 0 || wanted == "" && operations != 1 {
		return ""
	}
	return found
}

// graphqlBlock returns the length of the block string at a text's beginning, 0 if it
// does not end. Three quotes behind a backslash do not end it.
func graphqlBlock(text string) int {
	for i := 3; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], `\"""`):
			i += 3
		case strings.HasPrefix(text[i:], `"""`):
			return i + 3
		}
	}
	return 0
}

func graphqlWord(c byte) bool {
	return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
}

func graphqlWordAt(text string) string {
	n := 0
	for n < len(text) && graphqlWord(text[n]) {
		n++
	}
	return text[:n]
}
