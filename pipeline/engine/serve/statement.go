package serve

import "strings"

// kind is how a statement has to be run.
type kind int

const (
	kindEmpty   kind = iota
	kindRead         // answers rows, changes nothing: streamed
	kindInsert       // INSERT that takes rows in a format
	kindSession      // changes the session it runs in, which is then not reused
	kindOther        // everything else: runs to its end before the answer starts
)

// statement is what the server has to know about one SQL text. It is not a
// parse: the engine does that, and refuses what is wrong.
type statement struct {
	kind   kind
	sql    string // without FORMAT clause, trailing semicolon and inline rows
	format string // of the FORMAT clause; "Values" for VALUES; "" if none
	rest   string // what follows the FORMAT clause: inline rows of an INSERT
	many   bool   // more than one statement
}

// readers are the first words of statements that answer rows and change nothing.
var readers = map[string]bool{
	"SELECT": true, "WITH": true, "SHOW": true, "DESCRIBE": true, "DESC": true,
	"EXISTS": true, "EXPLAIN": true, "CHECK": true, "FROM": true, "(": true,
}

// formats are the lower-case names of the engine's formats: a word after
// "format" that is none of them makes "format" a name, not a clause.
type formats map[string]bool

// parseStatement finds the kind, the top-level FORMAT or VALUES clause and the
// end of the statement. Quotes, comments and brackets are skipped.
func parseStatement(text string, known formats) statement {
	s := statement{sql: text}
	sc := scanner{text: text}
	var words []string // the first two words
	afterInsert, afterSelect := false, false
	for {
		word, at := sc.next()
		if word == "" {
			break
		}
		upper := strings.ToUpper(word)
		if len(words) < 2 {
			words = append(words, upper)
			if len(words) == 1 {
				afterInsert = upper == "INSERT"
			}
		}
		if sc.depth > 0 {
			continue
		}
		afterSelect = afterSelect || upper == "SELECT"
		switch {
		case upper == ";":
			s.sql = text[:at]
			after := scanner{text: text[at+1:]}
			if w, _ := after.next(); w != "" {
				s.many = true
			}
			s.kind = kindOf(words)
			return s
		case upper == "FORMAT" && at > 0:
			save := sc
			name, _ := sc.next()
			if !known[strings.ToLower(name)] {
				sc = save
				continue
			}
			s.kind = kindOf(words)
			s.format = name
			s.sql = text[:at]
			s.rest = text[sc.pos:]
			if !afterInsert {
				s.finishRead()
			} else {
				s.kind = kindInsert
			}
			return s
		case upper == "VALUES" && afterInsert && !afterSelect:
			s.kind, s.format, s.sql, s.rest = kindInsert, "Values", text[:at], text[sc.pos:]
			return s
		}
	}
	s.kind = kindOf(words)
	return s
}

// finishRead handles what may follow FORMAT in a statement that answers: a
// SETTINGS clause, which moves before it, or a second statement.
func (s *statement) finishRead() {
	rest := parseStatementTail(s.rest)
	s.many = rest.many
	s.sql += " " + rest.text
	s.rest = ""
}

type tail struct {
	text string
	many bool
}

func parseStatementTail(text string) tail {
	sc := scanner{text: text}
	for {
		word, at := sc.next()
		if word == "" {
			return tail{text: text}
		}
		if word == ";" && sc.depth == 0 {
			after := scanner{text: text[at+1:]}
			w, _ := after.next()
			return tail{text: text[:at], many: w != ""}
		}
	}
}

func kindOf(words []string) kind {
	if len(words) == 0 || words[0] == ";" {
		return kindEmpty
	}
	switch first := words[0]; {
	case readers[first]:
		return kindRead
	case first == "SET" || first == "USE":
		return kindSession
	case first == "CREATE" && len(words) > 1 && (words[1] == "TEMPORARY" || words[1] == "OR"):
		return kindSession
	}
	return kindOther
}

func isLetter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// scanner walks over words and punctuation outside of quotes and comments.
type scanner struct {
	text  string
	pos   int
	depth int // open brackets
}

// next returns the next word (or single other character) and where it starts;
// "" at the end.
func (s *scanner) next() (string, int) {
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		start := s.pos
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v' || c == 0:
			s.pos++
		case c == '\'' || c == '"' || c == '`':
			s.skipQuoted(c)
			return s.text[start:s.pos], start
		case strings.HasPrefix(s.text[s.pos:], "--"), c == '#' && strings.HasPrefix(s.text[s.pos:], "#!"), strings.HasPrefix(s.text[s.pos:], "# "):
			s.skipTo("\n")
		case strings.HasPrefix(s.text[s.pos:], "/*"):
			s.pos += 2
			s.skipTo("*/")
		case c == '$':
			if !s.skipHeredoc() {
				s.pos++
			}
			return s.text[start:s.pos], start
		case isLetter(c) || c >= '0' && c <= '9' || c >= 0x80:
			for s.pos < len(s.text) && (isLetter(s.text[s.pos]) || s.text[s.pos] >= '0' && s.text[s.pos] <= '9' || s.text[s.pos] >= 0x80) {
				s.pos++
			}
			return s.text[start:s.pos], start
		case c == '(' || c == '[' || c == '{':
			s.pos++
			s.depth++
			return s.text[start:s.pos], start
		case c == ')' || c == ']' || c == '}':
			s.pos++
			s.depth = max(0, s.depth-1)
			return s.text[start:s.pos], start
		default:
			s.pos++
			return s.text[start:s.pos], start
		}
	}
	return "", s.pos
}

// skipQuoted moves behind a quoted text; a backslash escapes, a doubled quote
// is one quote.
func (s *scanner) skipQuoted(quote byte) {
	for s.pos++; s.pos < len(s.text); s.pos++ {
		switch s.text[s.pos] {
		case '\\':
			s.pos++
		case quote:
			if s.pos+1 < len(s.text) && s.text[s.pos+1] == quote {
				s.pos++
				continue
			}
			s.pos++
			return
		}
	}
	s.pos = len(s.text)
}

// skipHeredoc moves behind $tag$ … $tag$ and reports whether there was one.
func (s *scanner) skipHeredoc() bool {
	end := s.pos + 1
	for end < len(s.text) && (isLetter(s.text[end]) || s.text[end] >= '0' && s.text[end] <= '9') {
		end++
	}
	if end >= len(s.text) || s.text[end] != '$' {
		return false
	}
	tag := s.text[s.pos : end+1]
	close := strings.Index(s.text[end+1:], tag)
	if close < 0 {
		return false
	}
	s.pos = end + 1 + close + len(tag)
	return true
}

func (s *scanner) skipTo(mark string) {
	i := strings.Index(s.text[s.pos:], mark)
	if i < 0 {
		s.pos = len(s.text)
		return
	}
	s.pos += i + len(mark)
}
