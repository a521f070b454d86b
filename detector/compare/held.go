package compare

import (
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Held lists every declared allow scope of the credential, and of the groups
// given, that was in force at some time in the window, in the order of the
// catalogue.
func (c *Comparer) Held(declared *catalog.Credential, groups []string, w schema.Window) []HeldScope {
	return nil
}

// Uses tells whether a held scope takes part in satisfying the request.
func (c *Comparer) Uses(h HeldScope, r *Request) bool { return false }
