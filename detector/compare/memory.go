package compare

import (
	"encoding/binary"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// holder returns what the credential holds at the service, from memory where it
// can.
func (c *Comparer) holder(s *catalog.Service, declared *catalog.Credential, groups []string) *holder {
	var space [256]byte
	names := space[:0]
	for _, g := range groups {
		names = appendText(names, g)
	}
	c.mu.RLock()
	h := c.holders[holderKey{declared, s, string(names)}]
	c.mu.RUnlock()
	if h != nil {
		return h
	}
	h = newHolder(s, declared, groups, c.groups)
	if s.Dialect == schema.DialectKubernetes {
		h.unsure = otherAuthoriser(groups)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.holders) >= maxCached {
		clear(c.holders)
	}
	// The number, not the key, stands for the holder in the keys of
	// judgements; it is never given twice.
	c.numbers++
	h.number = c.numbers
	c.holders[holderKey{declared, s, string(names)}] = h
	return h
}

// holderKey says whose holder it is; groups are the presented ones, each with
// its length.
type holderKey struct {
	declared *catalog.Credential
	service  *catalog.Service
	groups   string
}

func appendNumber(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// key writes everything that a judgement depends on. Texts carry their length:
// observed ones may hold any byte.
func (h *holder) key(b []byte, r *Request, mode schema.GrantMode, epoch int) []byte {
	b = appendNumber(b, h.number)
	flags := byte(0)
	if routed(r.RouteSource) {
		flags |= 1
	}
	if r.RouteSource == schema.RouteLearned {
		flags |= 2
	}
	if r.ResourceKnown {
		flags |= 4
	}
	if r.Scopes != nil {
		flags |= 8
	}
	b = append(b, byte(r.Kind), flags, byte(mode))
	b = appendNumber(b, uint64(epoch))
	b = appendText(b, r.Operation)
	if h.byTenant {
		b = appendText(b, r.Tenant)
	}
	if h.byResource && r.ResourceKnown {
		b = appendText(b, r.Resource)
	}
	for _, s := range r.Scopes {
		b = appendText(b, s)
	}
	return b
}
