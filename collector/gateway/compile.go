package gateway

import (
	"fmt"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

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
	// written is set for those that writtenPaths names, envelope for those that
	// envelopeKeys names, common for places that an application's own log has too.
	written, envelope, common bool
}

// wrapperPaths are where envelopes put the unit that they carry: EventBridge,
// LookupEvents, Azure, Google, Docker, Fluent Bit, Filebeat, journald, Splunk and
// its collector, Loki, Elasticsearch, and the arrays that envelopeKeys names
// where they stand inside another unit.
var wrapperPaths = []string{
	"detail", "CloudTrailEvent", "properties.log", "jsonPayload", "textPayload", "log", "log_processed", "message",
	"@message", "_raw", "event.original", "MESSAGE", "line", "body", "result._raw", "_source", "event", "json", "properties",
}

// writtenPaths hold the unit as it was written. Where one of them does, an
// object in another place tells about the unit: Filebeat's "log" is where it
// read the line.
var writtenPaths = []string{"message", "@message", "event.original"}

// commonPaths may be parts of what an application says about itself.
var commonPaths = []string{"event", "json", "properties"}

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
		c.f.wrappers = append(c.f.wrappers, wrapper{
			path: path, slot: slot, written: slices.Contains(writtenPaths, path), envelope: slices.Contains(envelopeKeys, path),
			common: slices.Contains(commonPaths, path),
		})
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

// validReason reports whether why can stand as a reason in an account.
func validReason(why string) bool {
	return why != "" && len(why) <= 40 && !strings.ContainsFunc(why, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	})
}
