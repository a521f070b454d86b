package enrich

import (
	"net/http"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// Again completes a stored call as another catalogue does: what an earlier one
// filled in is taken away first. The result is that of [Enricher.Call] on the
// call as it was collected, but for a tenant that the log itself named and that
// the path or host shows as well: it counts as the catalogue's, and goes where
// the new catalogue names no tenant.
func (e *Enricher) Again(c *schema.Call) {
	c.Service, c.Environment = "", ""
	if c.RouteSource == schema.RouteFromSource {
		e.Call(c)
		return
	}
	unrouted := c.RouteSource == schema.RouteLearned || c.RouteSource == schema.RouteNone
	if unrouted && c.Decision == schema.DecisionUnknown && noEffect(int(c.Status)) {
		// What Call made of it where no route was known.
		c.Decision = schema.DecisionNoEffect
	}
	if c.Tenant != "" && shows(c, c.Tenant) {
		c.Tenant = ""
	}
	c.Operation, c.RouteSource = "", schema.RouteNone
	e.Call(c)
}

// noEffect are the statuses of an authorised call that changed nothing.
func noEffect(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusConflict, http.StatusGone, http.StatusPreconditionFailed, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// shows reports whether a value stands in the call's path, as a segment or a part
// of one, or in its host: where a catalogue's templates take tenants from.
func shows(c *schema.Call, value string) bool {
	return strings.Contains(c.Path, value) || strings.Contains(strings.ToLower(c.Host), strings.ToLower(value))
}
