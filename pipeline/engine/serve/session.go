package serve

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"

	"github.com/scopedrift/scopedrift/pipeline/engine/chdb"
)

// maxIdle bounds the sessions that are kept for the next request.
const maxIdle = 8

// sessions hands out engine sessions. HTTP requests are stateless: a request
// gets a session with exactly its database and settings, one that is idle with
// the same ones or a new one (opening costs less than a millisecond). A session
// whose state may have changed is not used again.
type sessions struct {
	lib  *chdb.Library
	args []string // every connection must name the path of the first
	base []setting

	slots chan struct{} // one for each session in use

	mu     sync.Mutex
	idle   map[string][]*session
	count  int // of idle
	closed bool
	serial uint64
	inUse  map[*session]struct{}
}

type setting struct{ name, value string }

// session is one connection with its settings.
type session struct {
	conn *chdb.Conn
	key  string
	// mark is the log_comment of every statement of this session: the only
	// thing by which the engine lets another session name what runs here.
	mark string
}

func newSessions(lib *chdb.Library, args []string, base []setting, limit int) *sessions {
	return &sessions{
		lib: lib, args: args, base: base,
		slots: make(chan struct{}, limit),
		idle:  map[string][]*session{},
		inUse: map[*session]struct{}{},
	}
}

// key tells sessions apart that differ in database or settings.
func key(database string, settings []setting) string {
	var b strings.Builder
	b.WriteString(database)
	for _, s := range settings {
		b.WriteString("\x00" + s.name + "\x01" + s.value)
	}
	return b.String()
}

// get waits for a free slot, then returns a session of that database with
// those settings on top of the base.
func (p *sessions) get(ctx context.Context, database string, settings []setting) (*session, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s, err := p.open(database, settings)
	if err != nil {
		<-p.slots
		return nil, err
	}
	return s, nil
}

func (p *sessions) open(database string, settings []setting) (*session, error) {
	sort.Slice(settings, func(i, j int) bool { return settings[i].name < settings[j].name })
	k := key(database, settings)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, chdb.ErrClosed
	}
	if list := p.idle[k]; len(list) > 0 {
		s := list[len(list)-1]
		p.idle[k] = list[:len(list)-1]
		p.count--
		p.inUse[s] = struct{}{}
		p.mu.Unlock()
		return s, nil
	}
	p.serial++
	s := &session{key: k, mark: fmt.Sprintf("scopedrift session %d", p.serial)}
	// Claimed before it is open, so that close waits for it.
	p.inUse[s] = struct{}{}
	p.mu.Unlock()

	conn, err := p.lib.Connect(p.args...)
	if err != nil {
		p.forget(s)
		return nil, err
	}
	s.conn = conn
	if err := p.prepare(s, database, settings); err != nil {
		conn.Close()
		p.forget(s)
		return nil, err
	}
	return s, nil
}

func (p *sessions) prepare(s *session, database string, settings []setting) error {
	var set strings.Builder
	set.WriteString("SET log_comment = " + quote(s.mark))
	for _, list := range [][]setting{p.base, settings} {
		for _, x := range list {
			if !isSettingName(x.name) {
				return &chdb.Error{Code: 115, Text: fmt.Sprintf("Code: 115. DB::Exception: Unknown setting %s. (UNKNOWN_SETTING)", quote(x.name))}
			}
			if x.name == "log_comment" {
				continue // it names the session, see session.mark
			}
			set.WriteString(", " + x.name + " = " + quote(x.value))
		}
	}
	if _, _, err := s.conn.Query(set.String(), "Null"); err != nil {
		return err
	}
	if database != "" && database != "default" {
		if _, _, err := s.conn.Query("USE "+identifier(database), "Null"); err != nil {
			return err
		}
	}
	return nil
}

func (p *sessions) forget(s *session) {
	p.mu.Lock()
	delete(p.inUse, s)
	p.mu.Unlock()
}

// put gives a session back. One that is not reusable is closed.
func (p *sessions) put(s *session, reusable bool) {
	p.mu.Lock()
	keep := reusable && !p.closed
	var evicted *session
	if keep {
		if p.count >= maxIdle {
			evicted = p.evict()
		}
		p.idle[s.key] = append(p.idle[s.key], s)
		p.count++
		delete(p.inUse, s)
	}
	p.mu.Unlock()
	if !keep {
		s.conn.Close()
		p.forget(s)
	}
	if evicted != nil {
		evicted.conn.Close()
	}
	<-p.slots
}

// evict takes any idle session out. The caller holds the lock.
func (p *sessions) evict() *session {
	for k, list := range p.idle {
		if len(list) == 0 {
			delete(p.idle, k)
			continue
		}
		s := list[0]
		p.idle[k] = list[1:]
		if len(list) == 1 {
			delete(p.idle, k)
		}
		p.count--
		return s
	}
	return nil
}

// close closes every idle session and refuses new ones; sessions in use are
// closed when they come back. It reports how many those are.
func (p *sessions) close() int {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = map[string][]*session{}
	p.count = 0
	busy := len(p.inUse)
	p.mu.Unlock()
	for _, list := range idle {
		for _, s := range list {
			s.conn.Close()
		}
	}
	return busy
}

// busy is how many sessions are in use.
func (p *sessions) busy() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.inUse)
}

// quote makes a string literal.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`).Replace(s) + "'"
}

// identifier quotes the name of a database.
func identifier(s string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(s) + "`"
}

// isSettingName accepts what can be a setting's name, so that a name can stand
// in a statement unquoted.
func isSettingName(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isLetter(c) && (c < '0' || c > '9' || i == 0) {
			return false
		}
	}
	return true
}
