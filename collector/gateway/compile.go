package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// fieldName is a canonical field: a part of a call or of the evidence of who is
// calling, whatever the log calls it.
type fieldName uint8

const (
	fTime fieldName = iota
	fMethod
	fTarget
	fRequest
	fHost
	fStatus
	fGRPCStatus
	fDuration
	fFinished
	fRequestBytes
	fResponseBytes
	fClient
	fForwardedFor
	fPeer
	fUserAgent
	fRequestID
	fTraceID
	fTenant
	fOperation
	fResource
	fPolicy
	fMints
	fPermissions
	fErrorCode
	fErrorMessage
	fAnnotation
	fLocation

	fKeyID
	fAPIClient
	fJWTIssuer
	fJWTAuthorizedParty
	fJWTClientID
	fJWTSubject
	fJWTID
	fJWTAudience
	fJWTScopes
	fJWTIssuedAt
	fJWTExpires
	fJWTActors
	fAuthorization
	fAPIKey
	fSessionCookie
	fBasicUser
	fXFCC
	fPeerURISAN
	fPeerSubject
	fPeerFingerprint
	fK8sUser
	fK8sGroups
	fK8sCredentialID
	fK8sImpersonated
	fK8sImpersonatedGroups
	fK8sPod
	fK8sNode
	fCloudType
	fCloudARN
	fCloudAccount
	fCloudPrincipal
	fCloudUser
	fCloudAccessKey
	fCloudInvokedBy
	fCloudIssuerARN
	fCloudIssuerType
	fCloudProvider
	fCloudSourceIdentity
	fieldCount0
)

// callFields and credentialFields are the words of a preset's two lists.
var callFields = []string{
	fTime: "time", fMethod: "method", fTarget: "target", fRequest: "request", fHost: "host", fStatus: "status",
	fGRPCStatus: "grpc_status", fDuration: "duration", fFinished: "finished", fRequestBytes: "request_bytes",
	fResponseBytes: "response_bytes", fClient: "client", fForwardedFor: "forwarded_for", fPeer: "peer",
	fUserAgent: "user_agent", fRequestID: "request_id", fTraceID: "trace_id", fTenant: "tenant",
	fOperation: "operation", fResource: "resource", fPolicy: "policy", fMints: "mints", fPermissions: "permissions",
	fErrorCode: "error_code", fErrorMessage: "error_message", fAnnotation: "annotation", fLocation: "location",
}

var credentialFields = []string{
	fKeyID: "key_id", fAPIClient: "api_client", fJWTIssuer: "jwt_issuer", fJWTAuthorizedParty: "jwt_authorized_party",
	fJWTClientID: "jwt_client_id", fJWTSubject: "jwt_subject", fJWTID: "jwt_id", fJWTAudience: "jwt_audience",
	fJWTScopes: "jwt_scopes", fJWTIssuedAt: "jwt_issued_at", fJWTExpires: "jwt_expires", fJWTActors: "jwt_actors",
	fAuthorization: "authorization", fAPIKey: "api_key", fSessionCookie: "session_cookie", fBasicUser: "basic_user",
	fXFCC: "xfcc", fPeerURISAN: "peer_uri_san", fPeerSubject: "peer_subject", fPeerFingerprint: "peer_fingerprint",
	fK8sUser: "k8s_user", fK8sGroups: "k8s_groups", fK8sCredentialID: "k8s_credential_id",
	fK8sImpersonated: "k8s_impersonated", fK8sImpersonatedGroups: "k8s_impersonated_groups", fK8sPod: "k8s_pod",
	fK8sNode: "k8s_node", fCloudType: "cloud_type", fCloudARN: "cloud_arn", fCloudAccount: "cloud_account",
	fCloudPrincipal: "cloud_principal", fCloudUser: "cloud_user", fCloudAccessKey: "cloud_access_key",
	fCloudInvokedBy: "cloud_invoked_by", fCloudIssuerARN: "cloud_issuer_arn", fCloudIssuerType: "cloud_issuer_type",
	fCloudProvider: "cloud_provider", fCloudSourceIdentity: "cloud_source_identity",
}

// field is where a canonical field stands, compiled.
type field struct {
	sources  []source
	constant []byte
	unit     int64
}

// source is a slot, or a composed value where slot is -1.
type source struct {
	slot     int
	composed composed
}

// format is a set of presets compiled together: one trie reads all their paths
// in one pass.
type format struct {
	trie    *trie
	json    []*reader
	text    []*reader
	presets []*reader
	slots   int
	// wrappers are places of a unit inside a unit, in the order tried.
	wrappers []wrapper
	// slotPaths is what each slot is called in the log.
	slotPaths []string
	special   specialSlots
	tenantKey []byte // a query key that holds the tenant, nil for none
}

// reader is one compiled preset.
type reader struct {
	*Preset
	index    int    // among the format's presets
	reads    bitset // the slots of its fields
	fields   [fieldCount0]field
	match    [][]int // slots
	missing  [][]byte
	lines    []*lineForm
	rules    []rule
	reporter schema.Reporter
	reports  []report
	expand   []expansion
	unitID   int // slot, -1 for none
	same     []int
	stage    int // slot, -1 for none
	early    [][]byte
	label    string // of this preset's call ids
	event    string // of ids made from the log's own
}

type rule struct {
	why    string
	slot   int // -1 for none
	in     [][]byte
	absent []int
}

type report struct {
	slot   int
	prefix []byte
	is     schema.Reporter
}

type expansion struct {
	slot int
	node *node
}

// wrapper is a place where a unit carries another one.
type wrapper struct {
	path string
	slot int
}

// wrapperPaths are where envelopes put the unit that they carry: EventBridge,
// LookupEvents, Azure, Google, Docker, Fluent Bit, journald, Splunk, Loki, and
// the arrays that envelopeKeys names where they stand inside another unit.
var wrapperPaths = []string{
	"detail", "CloudTrailEvent", "properties.log", "jsonPayload", "textPayload", "log", "log_processed", "message",
	"@message", "_raw", "event.original", "MESSAGE", "line", "body",
}

// envelopeKeys are arrays of units at the top of a document: CloudTrail files,
// Azure and Firehose, Kubernetes EventList, CloudWatch Logs subscriptions,
// LookupEvents.
var envelopeKeys = []string{"Records", "records", "items", "logEvents", "Events", "events"}

// specialSlots are log fields that the engine itself looks at: a container
// runtime's, and those by which an application's own log is known.
type specialSlots struct{ time, stream, level, severity int }

type compiler struct {
	f        *format
	builder  *trieBuilder
	jsonSlot map[string]int
	textSlot map[string]int
	draft    map[string]*draftNode
	tenant   tenantRule
}

// tenantRule is the user's own word on where the tenant stands.
type tenantRule struct{ where, name string }

var errTenantRule = errors.New("write header:NAME, query:NAME or field:NAME after --tenant")

func parseTenantRule(text string) (tenantRule, error) {
	if text == "" {
		return tenantRule{}, nil
	}
	where, name, _ := strings.Cut(text, ":")
	if name == "" || where != "header" && where != "query" && where != "field" {
		return tenantRule{}, fmt.Errorf("tenant %q: %w", text, errTenantRule)
	}
	return tenantRule{where, name}, nil
}

// paths are the log fields that the rule names. A header is logged under many
// names, all made of its own.
func (t tenantRule) paths(kind string) []string {
	switch t.where {
	case "field":
		return []string{t.name}
	case "header":
		lower := strings.ToLower(t.name)
		under := strings.ReplaceAll(lower, "-", "_")
		if kind == "text" {
			return []string{under, "http_" + under}
		}
		quote := func(s string) string { return `["` + s + `"]` }
		return []string{
			quote(under), quote(lower), quote(t.name), quote("http_" + under), quote("request_" + t.name),
			"request.headers" + quote(lower), "request.headers" + quote(t.name), "headers" + quote(lower), "headers" + quote(t.name),
		}
	}
	return nil
}

// compile makes one format of presets, in the order given.
func compile(presets []*Preset, tenant string) (*format, error) {
	rule, err := parseTenantRule(tenant)
	if err != nil {
		return nil, err
	}
	c := &compiler{
		f: &format{}, builder: newTrieBuilder(), jsonSlot: map[string]int{}, textSlot: map[string]int{},
		draft: map[string]*draftNode{}, tenant: rule,
	}
	if rule.where == "query" {
		c.f.tenantKey = []byte(rule.name)
	}
	for _, key := range envelopeKeys {
		c.builder.at([]step{{key, notAnIndex}}).envelope = true
	}
	type late struct {
		r *reader
		p *Preset
	}
	var readers []late
	for _, p := range presets {
		r, err := c.reader(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.file, err)
		}
		readers = append(readers, late{r, p})
	}
	for _, path := range append(slices.Clone(wrapperPaths), envelopeKeys...) {
		slot, err := c.slot("json", path)
		if err != nil {
			return nil, err
		}
		c.f.wrappers = append(c.f.wrappers, wrapper{path: path, slot: slot})
	}
	special := &c.f.special
	for path, slot := range map[string]*int{
		"time": &special.time, "stream": &special.stream, "level": &special.level, "severity": &special.severity,
	} {
		if *slot, err = c.slot("json", path); err != nil {
			return nil, err
		}
	}
	c.f.slots = len(c.f.slotPaths)
	c.f.trie = c.builder.build(c.f.slots)
	for _, l := range readers {
		if err := c.finish(l.r, l.p); err != nil {
			return nil, fmt.Errorf("%s: %w", l.p.file, err)
		}
	}
	return c.f, nil
}

// slot returns the slot of a path (json) or a field (text).
func (c *compiler) slot(kind, path string) (int, error) {
	known := c.jsonSlot
	if kind == "text" {
		known = c.textSlot
	}
	if slot, ok := known[path]; ok {
		return slot, nil
	}
	slot := len(c.f.slotPaths)
	if kind == "json" {
		steps, err := parsePath(path)
		if err != nil {
			return 0, err
		}
		d := c.builder.at(steps)
		if d.slot < 0 {
			d.slot = slot
		} else {
			slot = d.slot // the same place, written in another way
		}
		c.draft[path] = d
	}
	known[path] = slot
	if slot == len(c.f.slotPaths) {
		c.f.slotPaths = append(c.f.slotPaths, path)
	}
	return slot, nil
}

// reader compiles what needs no finished trie.
func (c *compiler) reader(p *Preset) (*reader, error) {
	r := &reader{Preset: p, unitID: -1, stage: -1, label: "unit:" + p.Name, event: "event:" + p.Name}
	for _, m := range p.Missing {
		r.missing = append(r.missing, []byte(m))
	}
	if err := c.fields(r, p.Fields, callFields); err != nil {
		return nil, err
	}
	if err := c.fields(r, p.Credential, credentialFields); err != nil {
		return nil, err
	}
	if err := c.tenantSources(r); err != nil {
		return nil, err
	}
	for i := range p.Lines {
		form, err := parseLineForm(&p.Lines[i], func(name string) int {
			slot, _ := c.slot("text", name)
			return slot
		})
		if err != nil {
			return nil, fmt.Errorf("lines: form %d: %w", i+1, err)
		}
		r.lines = append(r.lines, form)
	}
	for _, set := range p.Match {
		for _, path := range set {
			if _, err := c.slot(p.Kind, path); err != nil {
				return nil, fmt.Errorf("match: %w", err)
			}
		}
	}
	if err := c.rules(r, p); err != nil {
		return nil, err
	}
	r.index = len(c.f.presets)
	c.f.presets = append(c.f.presets, r)
	if p.Kind == "json" {
		c.f.json = append(c.f.json, r)
	} else {
		c.f.text = append(c.f.text, r)
	}
	return r, nil
}

// fields compiles one list of fields.
func (c *compiler) fields(r *reader, specs map[string]fieldSpec, words []string) error {
	for name, spec := range specs {
		id := slices.Index(words, name)
		f := field{unit: unitOf(spec.Unit)}
		if spec.Value != "" {
			f.constant = []byte(spec.Value)
		}
		for _, from := range spec.From {
			s, err := c.source(r.Kind, from)
			if err != nil {
				return fmt.Errorf("line %d: %s: %w", spec.line, name, err)
			}
			f.sources = append(f.sources, s)
		}
		r.fields[id] = f
	}
	return nil
}

func (c *compiler) source(kind, from string) (source, error) {
	if !strings.Contains(from, "{") {
		slot, err := c.slot(kind, from)
		return source{slot: slot}, err
	}
	parts, err := parseComposed(from, func(path string) (int, error) { return c.slot(kind, path) })
	return source{-1, parts}, err
}

// tenantSources puts the user's rule before the preset's own places.
func (c *compiler) tenantSources(r *reader) error {
	var own []source
	for _, path := range c.tenant.paths(r.Kind) {
		slot, err := c.slot(r.Kind, path)
		if err != nil {
			return fmt.Errorf("tenant: %w", err)
		}
		own = append(own, source{slot: slot})
	}
	f := &r.fields[fTenant]
	f.sources = append(own, f.sources...)
	return nil
}

func (c *compiler) rules(r *reader, p *Preset) error {
	optional := func(path string) (int, error) {
		if path == "" {
			return -1, nil
		}
		return c.slot(p.Kind, path)
	}
	for _, spec := range p.NotACall {
		if !validReason(spec.Why) || spec.Field == "" && len(spec.Absent) == 0 || spec.Field != "" && len(spec.In) == 0 {
			return fmt.Errorf("not_a_call: %q: give why in lower-case words with underscores, and field with in, or absent", spec.Why)
		}
		slot, err := optional(spec.Field)
		if err != nil {
			return err
		}
		compiled := rule{why: notACall + spec.Why, slot: slot, in: byteLists(spec.In)}
		for _, path := range spec.Absent {
			slot, err := c.slot(p.Kind, path)
			if err != nil {
				return err
			}
			compiled.absent = append(compiled.absent, slot)
		}
		r.rules = append(r.rules, compiled)
	}
	if p.UnitID != nil {
		var err error
		if r.unitID, err = c.slot(p.Kind, p.UnitID.From); err != nil {
			return fmt.Errorf("unit_id: %w", err)
		}
		for _, path := range p.UnitID.Same {
			slot, err := c.slot(p.Kind, path)
			if err != nil {
				return fmt.Errorf("unit_id: %w", err)
			}
			r.same = append(r.same, slot)
		}
	}
	if p.Stages != nil {
		var err error
		if r.stage, err = c.slot(p.Kind, p.Stages.Field); err != nil {
			return fmt.Errorf("stages: %w", err)
		}
		r.early = byteLists(p.Stages.Early)
	}
	for _, path := range p.Expand {
		if _, err := c.slot(p.Kind, path); err != nil {
			return fmt.Errorf("expand: %w", err)
		}
	}
	return c.reports(r, p)
}

func (c *compiler) reports(r *reader, p *Preset) error {
	word := func(text string, into *schema.Reporter) error {
		if text == "" {
			return nil
		}
		if err := into.UnmarshalText([]byte(text)); err != nil {
			return fmt.Errorf("reporter: %w", err)
		}
		return nil
	}
	if err := word(p.Reporter.Default, &r.reporter); err != nil {
		return err
	}
	for _, spec := range p.Reporter.Rules {
		slot, err := c.slot(p.Kind, spec.Field)
		if err != nil {
			return fmt.Errorf("reporter: %w", err)
		}
		compiled := report{slot: slot, prefix: []byte(spec.Prefix)}
		if err := word(spec.Is, &compiled.is); err != nil {
			return err
		}
		r.reports = append(r.reports, compiled)
	}
	return nil
}

// finish compiles what needs the trie's node numbers.
func (c *compiler) finish(r *reader, p *Preset) error {
	r.reads = newBitset(c.f.slots)
	for i := range r.fields {
		for _, s := range r.fields[i].sources {
			if s.slot >= 0 {
				r.reads.set(s.slot)
			}
		}
	}
	for _, set := range p.Match {
		var slots []int
		for _, path := range set {
			slot, err := c.slot(p.Kind, path)
			if err != nil {
				return err
			}
			slots = append(slots, slot)
		}
		r.match = append(r.match, slots)
		for _, slot := range slots {
			r.reads.set(slot)
		}
	}
	for _, path := range p.Expand {
		slot, err := c.slot(p.Kind, path)
		if err != nil {
			return err
		}
		steps, err := parsePath(path)
		if err != nil {
			return err
		}
		if n := c.f.trie.find(steps); n != nil {
			r.expand = append(r.expand, expansion{slot, n})
		}
	}
	return nil
}

// find returns the node of a path, nil if the trie does not read it.
func (t *trie) find(steps []step) *node {
	n := t.root
	for _, s := range steps {
		if n == nil {
			return nil
		}
		if s.index == notAnIndex {
			n = n.children.find([]byte(s.key))
		} else {
			n = n.element(s.index)
		}
	}
	return n
}

func byteLists(texts []string) [][]byte {
	var lists [][]byte
	for _, t := range texts {
		lists = append(lists, []byte(t))
	}
	return lists
}

func validReason(why string) bool {
	return why != "" && len(why) <= 40 && !bytes.ContainsFunc([]byte(why), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	})
}

// nearest returns the word that is most like name.
func nearest(name string, words []string) string {
	best, least := "", 1<<30
	for _, w := range words {
		if w == "" {
			continue
		}
		if d := editDistance(name, w); d < least {
			best, least = w, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}
