package gateway

// guess is a key with its quotes and colon, as it stood in the last line.
type guess struct {
	token  [maxGuess]byte
	length uint8
	child  *node
}

// maxGuess and maxGuesses bound what is remembered of an object's keys.
const (
	maxGuess   = 56
	maxGuesses = 64
)

// member reads a key and its colon, and returns where the value begins and the
// key's node.
func (s *scanner) member(pos int, n *node, index int) (int, *node) {
	if n == nil {
		return s.longMember(pos, nil, index)
	}
	if guesses := s.guesses[n.id]; index < len(guesses) {
		g := &guesses[index]
		if token := g.token[:g.length]; len(token) > 0 && len(s.data)-pos > len(token) && string(s.data[pos:pos+len(token)]) == string(token) {
			return s.space(pos + len(token)), g.child
		}
	}
	return s.longMember(pos, n, index)
}

// longMember reads a key that was not guessed, and remembers it.
func (s *scanner) longMember(pos int, n *node, index int) (int, *node) {
	if s.data[pos] != '"' {
		return s.fail(pos), nil
	}
	start := pos
	end, escaped := s.str(pos)
	if end < 0 {
		return end, nil
	}
	if pos = s.space(end); pos >= len(s.data) {
		return scanIncomplete, nil
	}
	if s.data[pos] != ':' {
		return s.fail(pos), nil
	}
	pos++
	if n == nil {
		return s.space(pos), nil
	}
	key := s.data[start+1 : end-1]
	if escaped {
		s.key = unescapeJSON(s.key[:0], key)
		key = s.key
	}
	child := n.children.find(key)
	if !escaped && pos-start <= maxGuess && index < maxGuesses {
		for len(s.guesses[n.id]) <= index {
			s.guesses[n.id] = append(s.guesses[n.id], guess{})
		}
		g := &s.guesses[n.id][index]
		g.length, g.child = uint8(copy(g.token[:], s.data[start:pos])), child
	}
	return s.space(pos), child
}

// meet notes that an object has a key. One that it had before makes the scanner
// forget what that gave.
func (s *scanner) meet(n *node, object uint64) {
	if s.owner[n.id] == object {
		s.forget(n)
	}
	s.owner[n.id], s.mark[n.id] = object, int32(len(s.vals))
}
