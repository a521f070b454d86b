package schema

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// TimeFormat is the written form of every time: RFC 3339, UTC, microseconds.
const TimeFormat = "2006-01-02T15:04:05.000000Z07:00"

// CallID identifies one call: the hash of the log's own event or audit id, else
// a keyed hash of the preset, the unit's bytes and its ordinal among equal
// units of that input. Never a request id, which spans hops.
type CallID [16]byte

// String returns the id as 32 hexadecimal digits.
func (id CallID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes the id as hexadecimal.
func (id CallID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads 32 hexadecimal digits.
func (id *CallID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(id) {
		return fmt.Errorf("call id %q has %d characters, want %d", text, len(text), 2*len(id))
	}
	_, err := hex.Decode(id[:], text)
	return err
}

// Source says where a call was read.
type Source struct {
	// Type is the preset or capture kind, such as "envoy" or "pcap".
	Type string `json:"type"`
	// Name is the input as the user named it, such as a file path. It is left
	// out of findings, which must not change when a log is split or renamed.
	Name string `json:"name,omitempty"`
}

// Reporter says who reported a call. One call seen by two reporters is two
// stored calls: verdicts use the union, counts the highest-ranking reporter.
type Reporter uint8

// The reporters, in the order of their rank for displayed counts.
const (
	ReporterGateway Reporter = iota
	ReporterServer
	ReporterAudit
	ReporterClient
)

var reporterNames = []string{"gateway", "server", "audit", "client"}

func (r Reporter) String() string { return enumName(reporterNames, r) }

// MarshalText writes the reporter's word.
func (r Reporter) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a reporter's word.
func (r *Reporter) UnmarshalText(text []byte) (err error) {
	*r, err = parseEnum[Reporter](reporterNames, "reporter", text)
	return err
}

// Decision is what became of a call, as far as authorisation is concerned.
type Decision uint8

// The decisions.
const (
	// DecisionUnknown says that the log does not tell.
	DecisionUnknown Decision = iota
	// DecisionAllowed says that the call was honoured.
	DecisionAllowed
	// DecisionNoEffect says that the call was authorised but changed and
	// returned nothing (404, 409, "no such bucket"). It keeps a scope needed,
	// but alone it proves no access.
	DecisionNoEffect
	// DecisionDenied says that authorisation refused the call.
	DecisionDenied
	// DecisionUnauthenticated says that the credential itself was refused. It
	// is never probing and never need.
	DecisionUnauthenticated
	// DecisionError says that the call failed for another reason (throttled,
	// server error).
	DecisionError
)

var decisionNames = []string{"unknown", "allowed", "no_effect", "denied", "unauthenticated", "error"}

func (d Decision) String() string { return enumName(decisionNames, d) }

// MarshalText writes the decision's word.
func (d Decision) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a decision's word.
func (d *Decision) UnmarshalText(text []byte) (err error) {
	*d, err = parseEnum[Decision](decisionNames, "decision", text)
	return err
}

// Authorised reports whether the decision proves that authorisation let the
// call pass.
func (d Decision) Authorised() bool { return d == DecisionAllowed || d == DecisionNoEffect }

// Accepted reports whether the decision proves that the credential itself was
// known and valid, whatever it was then let do: anybody can send the others.
func (d Decision) Accepted() bool { return d.Authorised() || d == DecisionDenied }

// RouteSource says who turned a concrete path into an operation.
type RouteSource uint8

// The route sources. Only RouteLearned may not decide a verdict.
const (
	// RouteNone says that no route is known: the operation is the method and
	// a grouped path, and its demand is unmapped.
	RouteNone RouteSource = iota
	// RouteFromSource says that the log named the operation itself.
	RouteFromSource
	// RouteSpec says that an OpenAPI document knows the route.
	RouteSpec
	// RouteRule says that the user's catalogue names the operation.
	RouteRule
	// RouteLearned says that the template was learned from traffic: good for
	// grouping, never for a verdict.
	RouteLearned
)

var routeSourceNames = []string{"none", "source", "spec", "rule", "learned"}

func (r RouteSource) String() string { return enumName(routeSourceNames, r) }

// MarshalText writes the route source's word.
func (r RouteSource) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a route source's word.
func (r *RouteSource) UnmarshalText(text []byte) (err error) {
	*r, err = parseEnum[RouteSource](routeSourceNames, "route source", text)
	return err
}

// Quality says how certain it is that request and answer belong together.
type Quality uint8

// The qualities. Only QualityComplete may say "this credential got 2xx there".
const (
	QualityComplete Quality = iota
	// QualityTruncated says that a part of the head is missing.
	QualityTruncated
	// QualityGap says that packets were lost near this pair.
	QualityGap
	// QualityOrphan says that the answer's request was not seen.
	QualityOrphan
	// QualityMidstream says that observation began after the connection did,
	// and the pair is not certain for that reason.
	QualityMidstream
	// QualityUnanswered says that the answer was not seen.
	QualityUnanswered
)

var qualityNames = []string{"complete", "truncated", "gap", "orphan", "midstream", "unanswered"}

func (q Quality) String() string { return enumName(qualityNames, q) }

// MarshalText writes the quality's word.
func (q Quality) MarshalText() ([]byte, error) { return []byte(q.String()), nil }

// UnmarshalText reads a quality's word.
func (q *Quality) UnmarshalText(text []byte) (err error) {
	*q, err = parseEnum[Quality](qualityNames, "quality", text)
	return err
}

// Certain reports whether request and answer surely belong together.
func (q Quality) Certain() bool { return q == QualityComplete }

// Call is one observed API request with its answer, after redaction. It holds
// no secret: a collector that cannot tell whether a value is one drops it.
//
// Strings may share memory with the batch they were read in; they are immutable.
type Call struct {
	Time     time.Time
	ID       CallID
	Source   Source
	Reporter Reporter

	Credential Credential
	// Scopes are the scopes that the call presented. Nil: the call carries no
	// scopes (not even an empty list).
	Scopes []string
	// PermissionsUsed are the rights that the log itself names as used.
	PermissionsUsed []string

	Decision Decision
	// Policy is the rule that decided, as the log names it.
	Policy string

	// Service and Operation are filled by the pipeline from the catalogue,
	// except where the source names the operation itself.
	Service     string
	Operation   string
	RouteSource RouteSource

	Method string
	Host   string
	// Path is the concrete path without query, redacted.
	Path string
	// QueryKeys are the names of the query parameters, never their values.
	QueryKeys []string
	// Resource is the concrete object where the source names one (an ARN, a
	// Kubernetes object name). Where a secret was removed from it, or from the
	// path of a call whose source names none, it ends in "#" and a keyed digest
	// of what it was, so that different objects stay different.
	Resource string

	// Status is the HTTP status, 0 where none is known.
	Status        uint16
	RequestBytes  uint64
	ResponseBytes uint64
	// DurationUS is the time from request to answer in microseconds.
	DurationUS uint64

	ClientAddress netip.Addr
	PeerAddress   netip.Addr
	// Workload is who the network says is calling (SPIFFE id, pod,
	// instance), whatever the credential says.
	Workload  string
	UserAgent string

	// Tenant is the tenant whose data is touched; for Kubernetes the namespace.
	Tenant      string
	Environment string

	RequestID string
	TraceID   string
	// ActorChain are the identities that act through this call, nearest first.
	ActorChain []string
	// Mints is the id of the credential that the answer issued.
	Mints string

	Quality Quality
}

// What stands in a path and in any other text in place of a secret.
const (
	RedactedPath = "{redacted}"
	RedactedText = "[redacted]"
)

// callJSON is the written form of a call: the contract of DESIGN 4.1.
type callJSON struct {
	Time            string      `json:"time"`
	ID              CallID      `json:"id"`
	Source          Source      `json:"source"`
	Reporter        Reporter    `json:"reporter"`
	Credential      Credential  `json:"credential"`
	Scopes          []string    `json:"scopes,omitzero"`
	PermissionsUsed []string    `json:"permissions_used,omitempty"`
	Decision        Decision    `json:"decision"`
	Policy          string      `json:"policy,omitempty"`
	Service         string      `json:"service,omitempty"`
	Operation       string      `json:"operation,omitempty"`
	RouteSource     RouteSource `json:"route_source"`
	Method          string      `json:"method,omitempty"`
	Host            string      `json:"host,omitempty"`
	Path            string      `json:"path,omitempty"`
	QueryKeys       []string    `json:"query_keys,omitempty"`
	Resource        string      `json:"resource,omitempty"`
	Status          uint16      `json:"status,omitempty"`
	RequestBytes    uint64      `json:"request_bytes,omitempty"`
	ResponseBytes   uint64      `json:"response_bytes,omitempty"`
	DurationUS      uint64      `json:"duration_us,omitempty"`
	ClientAddress   netip.Addr  `json:"client_address,omitzero"`
	PeerAddress     netip.Addr  `json:"peer_address,omitzero"`
	Workload        string      `json:"workload,omitempty"`
	UserAgent       string      `json:"user_agent,omitempty"`
	Tenant          string      `json:"tenant,omitempty"`
	Environment     string      `json:"environment,omitempty"`
	RequestID       string      `json:"request_id,omitempty"`
	TraceID         string      `json:"trace_id,omitempty"`
	ActorChain      []string    `json:"actor_chain,omitempty"`
	Mints           string      `json:"mints,omitempty"`
	Quality         Quality     `json:"quality"`
}

// MarshalJSON writes the call as the contract says: absent is left out.
func (c Call) MarshalJSON() ([]byte, error) {
	return json.Marshal(callJSON{
		c.Time.UTC().Format(TimeFormat), c.ID, c.Source, c.Reporter, c.Credential, c.Scopes, c.PermissionsUsed,
		c.Decision, c.Policy, c.Service, c.Operation, c.RouteSource, c.Method, c.Host, c.Path, c.QueryKeys,
		c.Resource, c.Status, c.RequestBytes, c.ResponseBytes, c.DurationUS, c.ClientAddress, c.PeerAddress,
		c.Workload, c.UserAgent, c.Tenant, c.Environment, c.RequestID, c.TraceID, c.ActorChain, c.Mints, c.Quality,
	})
}

// UnmarshalJSON reads a call as MarshalJSON wrote it.
func (c *Call) UnmarshalJSON(data []byte) error {
	var j callJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("read call: %w", err)
	}
	when, err := time.Parse(time.RFC3339Nano, j.Time)
	if err != nil {
		return fmt.Errorf("read call: time %q is not RFC 3339", j.Time)
	}
	*c = Call{
		when.UTC(), j.ID, j.Source, j.Reporter, j.Credential, j.Scopes, j.PermissionsUsed,
		j.Decision, j.Policy, j.Service, j.Operation, j.RouteSource, j.Method, j.Host, j.Path, j.QueryKeys,
		j.Resource, j.Status, j.RequestBytes, j.ResponseBytes, j.DurationUS, j.ClientAddress, j.PeerAddress,
		j.Workload, j.UserAgent, j.Tenant, j.Environment, j.RequestID, j.TraceID, j.ActorChain, j.Mints, j.Quality,
	}
	return nil
}
