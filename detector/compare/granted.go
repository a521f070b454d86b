package compare

import (
	"slices"

	"github.com/scopedrift/scopedrift/schema"
)

// granted lists what was held, nil where that is not known, from memory where
// it can.
func (e *evaluation) granted(epoch int) []string {
	var space [256]byte
	key := appendNumber(space[:0], e.h.number)
	key = append(key, byte(e.mode))
	if e.known {
		key = append(key, 1)
	}
	key = appendNumber(key, uint64(epoch))
	if e.r.Scopes != nil && e.mode != schema.GrantDeclared {
		key = append(key, 1)
		for _, s := range e.r.Scopes {
			key = appendText(key, s)
		}
		if e.mode == schema.GrantBoth {
			// Whether a presented scope is declared, too, may depend on these.
			key = appendText(appendText(key, e.r.Tenant), e.r.Resource)
			key = append(key, resourceFlag(e.r))
		}
	}
	c := e.c
	c.mu.RLock()
	list, ok := c.granted[string(key)]
	c.mu.RUnlock()
	if ok {
		return list
	}
	list = e.list()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.granted) >= maxCached {
		clear(c.granted)
	}
	c.granted[string(key)] = list
	return list
}

func resourceFlag(r *Request) byte {
	if r.ResourceKnown {
		return 1
	}
	return 0
}

// list gathers what was held.
func (e *evaluation) list() []string {
	var declared []string
	if e.mode != schema.GrantPresented && e.known {
		declared = []string{}
		for i := range e.h.entries {
			if entry := &e.h.entries[i]; entry.grant.InForce(e.r.Time) {
				declared = append(declared, entry.texts()...)
			}
		}
	}
	var out []string
	switch e.mode {
	case schema.GrantPresented:
		out = slices.Clone(e.r.Scopes)
	case schema.GrantBoth:
		if e.r.Scopes == nil || declared == nil {
			return nil
		}
		out = []string{}
		for _, s := range e.r.Scopes {
			n := e.c.needs(e.h.service.Dialect, s)
			quiet := *e
			if v := quiet.declared(&n); v.truth == yes {
				out = append(out, s)
			}
		}
	case schema.GrantEither:
		if e.r.Scopes == nil && declared == nil {
			return nil
		}
		out = append(slices.Clone(e.r.Scopes), declared...)
	default:
		out = declared
	}
	slices.Sort(out)
	return slices.Compact(out)
}
