package gateway

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/schema"
)

// Reasons that the engine gives; the framer and the builder have theirs.
const (
	reasonNoFormat = "no_format"
	reasonEmpty    = notACall + "empty"
	reasonPartial  = notACall + "partial_line"
	reasonStage    = notACall + "earlier_stage"
	reasonAppLog   = notACall + "application_log"
	reasonProgram  = notACall + "other_program"
	reasonHeader   = notACall + "header"
	reasonControl  = notACall + "control_message"
)

// controlMessage begins what CloudWatch Logs sends to see whether somebody
// listens.
var controlMessage = []byte("CWL CONTROL MESSAGE")

// maxNesting bounds how often a unit may stand inside another.
const maxNesting = 4

// engine reads one input.
type engine struct {
	g      *Gateway
	f      *format
	in     collector.Input
	b      *builder
	sink   collector.Sink
	s      *scanner
	u      unit
	report InputReport
	chosen sampling

	batch    *collector.Batch
	nextUnit uint64
	inner    [maxNesting][]byte // units inside units, without their escapes
	partial  [2]partialLine
	stages   stages
	slotSeen bitset
	// recognised counts units by preset, kinds calls by credential.
	recognised []uint64
	kinds      [256]uint64
	special    specialSlots
	at         frame // the unit at hand, for its dead letter
	// units are the units of this input, for the ids of calls.
	units *recent
	// mute says that the units were accounted for before: they are read again
	// for what they leave behind, and leave no dead letters.
	mute bool
}

// partialLine is a line that a container runtime cut.
type partialLine struct {
	data   []byte
	micros int64
}

func newEngine(g *Gateway, f *format, in collector.Input, b *builder, sink collector.Sink) *engine {
	e := &engine{
		g: g, f: f, in: in, b: b, sink: sink, s: newScanner(f.trie), slotSeen: newBitset(f.slots + 1),
		report: InputReport{
			Input: in, NotACall: map[string]uint64{}, Bad: map[string]uint64{}, Formats: map[string]uint64{},
			Missing: map[string]uint64{}, Shows: Shows{Credential: map[string]uint64{}},
		},
		chosen: sampling{forced: in.Format, byFormat: map[string]int{}},
	}
	e.u.s, e.u.scrub = e.s, b.scrub
	e.recognised = make([]uint64, len(f.presets))
	e.special = f.special
	e.units = &recent{}
	e.resume()
	e.newBatch()
	return e
}

// resume gives the builder to this engine, for who has several of them.
func (e *engine) resume() {
	e.b.source, e.b.tenant, e.b.ids.units = e.in.Name, e.f.tenantKey, e.units
}

func (e *engine) newBatch() {
	calls := e.b.calls.Take(e.g.cfg.BatchSize)
	e.batch = &collector.Batch{
		Input: e.in, FirstUnit: e.nextUnit, Skipped: map[string]uint64{}, Calls: calls,
		Free: func() { e.b.calls.Give(calls) },
	}
}

// maxSpare bounds the batches that wait to be used again.
const maxSpare = 8

// read reads the whole input.
func (e *engine) read(ctx context.Context, s *stream) (*InputReport, error) {
	fr := newFramer(s)
	for n := 0; ; n++ {
		if n&63 == 0 {
			if err := ctx.Err(); err != nil {
				return e.finish(fr), err
			}
		}
		u, ok := fr.next(e.s)
		if !ok {
			break
		}
		e.one(u)
		if len(e.batch.Calls) >= e.g.cfg.BatchSize || e.nextUnit-e.batch.FirstUnit >= 1<<16 {
			if err := e.flush(ctx, s, false); err != nil {
				return e.finish(fr), err
			}
		}
	}
	e.endPartial()
	e.release()
	err := e.flush(ctx, s, true)
	report := e.finish(fr)
	if err != nil {
		return report, err
	}
	return report, report.unreadable(e.in.Format, s.foreign)
}

// flush hands the batch to the sink.
func (e *engine) flush(ctx context.Context, s *stream, done bool) error {
	e.batch.NextUnit, e.batch.Done = e.nextUnit, done
	e.batch.Input.Format = e.chosen.name()
	if err := e.sink.Put(ctx, e.batch); err != nil {
		return fmt.Errorf("hand on calls of %s: %w", e.in.Name, err)
	}
	if e.g.cfg.Progress != nil {
		e.g.cfg.Progress(e.in.Name, s.raw.n, e.in.Size, e.report.Calls)
	}
	// What the sink got is the sink's: batch, calls and the arena of strings.
	e.b.texts.arena = nil
	e.newBatch()
	return nil
}

// one accounts for one frame: a call, no call, or unreadable.
func (e *engine) one(u frame) {
	e.at = u
	e.u.begin()
	switch u.kind {
	case frameBlank:
		e.skip(reasonEmpty)
	case frameBad:
		e.bad(u.reason)
	case frameJSON:
		e.json(u.data, 0)
	case frameText:
		e.text(u.data, 0)
	}
}

// skip counts a unit that is no call.
func (e *engine) skip(reason string) {
	e.nextUnit++
	e.report.Units++
	e.report.NotACall[reason]++
	e.batch.Skipped[reason]++
}

// bad counts a unit that cannot be read, and leaves a dead letter.
func (e *engine) bad(reason string) {
	if d := e.g.cfg.DeadLetter; d != nil && !e.mute {
		digest := e.g.cfg.Key.Sum("bad", e.at.data)
		d.Bad(e.in.Name, e.nextUnit, e.at.offset, e.at.length, reason, digest, shapeOf(e.at.data))
	}
	e.nextUnit++
	e.report.Units++
	e.report.Bad[reason]++
	e.batch.Skipped[reason]++
}

// json reads a document whose values are in the scanner.
func (e *engine) json(data []byte, depth int) {
	for _, r := range e.f.json {
		if e.u.matches(r) {
			e.u.raw = data
			e.call(r)
			return
		}
	}
	if depth < maxNesting && e.unwrap(depth) {
		return
	}
	e.u.missing = nil
	if e.ownWords() {
		if len(e.f.presets) == 1 { // the user's word: if nothing fits, this is why
			e.lacking()
		}
		e.skip(reasonAppLog)
		return
	}
	e.noFormat()
}

// text reads a line of text.
func (e *engine) text(line []byte, depth int) {
	p, prefixed := linePrefix(line, e.in.Modified)
	if !prefixed {
		e.plain(line)
		return
	}
	if p.micros != 0 {
		e.u.frameTime = p.micros
	}
	rest := line[p.length:]
	if p.cri {
		if rest = e.join(rest, p.stream, p.partial, p.micros); rest == nil {
			return
		}
	}
	switch {
	case len(bytes.TrimSpace(rest)) == 0:
		e.skip(reasonEmpty)
	case rest[0] == '{' && depth < maxNesting:
		e.nested(rest, depth)
	case p.syslog && !e.fits(rest):
		e.skip(reasonProgram)
	case depth < maxNesting:
		e.text(rest, depth+1)
	default:
		e.plain(rest)
	}
}

// plain reads a line without prefixes.
func (e *engine) plain(line []byte) {
	for _, r := range e.f.text {
		for _, form := range r.lines {
			if form.needsTime && e.u.frameTime == 0 || !form.match(line, e.s) {
				continue
			}
			if form.notACall != "" {
				e.skip(notACall + form.notACall)
				return
			}
			e.u.raw = line
			e.call(r)
			return
		}
	}
	switch {
	case string(line) == "[]" || string(line) == "{}":
		e.skip(reasonEmpty)
		return
	case bytes.HasPrefix(line, controlMessage):
		e.skip(reasonControl)
		return
	}
	e.s.reset()
	e.noFormat()
}

// fits reports whether some form reads the line.
func (e *engine) fits(line []byte) bool {
	for _, r := range e.f.text {
		for _, form := range r.lines {
			if form.match(line, e.s) {
				return true
			}
		}
	}
	return false
}

// join puts a line together that a container runtime cut; nil says that more
// follows.
func (e *engine) join(line []byte, stream byte, partial bool, micros int64) []byte {
	p := &e.partial[0]
	if stream == 'e' { // of stderr
		p = &e.partial[1]
	}
	if !partial && len(p.data) == 0 {
		return line
	}
	if len(p.data) == 0 {
		p.micros = micros
	}
	if len(p.data)+len(line) > maxDocument {
		p.data = p.data[:0]
		e.bad(reasonTooLong)
		return nil
	}
	p.data = append(p.data, line...)
	if partial {
		e.skip(reasonPartial)
		return nil
	}
	whole := p.data
	p.data = p.data[:0]
	e.u.frameTime = p.micros
	return whole
}

// endPartial counts a cut line whose end never came.
func (e *engine) endPartial() {
	for i := range e.partial {
		if data := e.partial[i].data; len(data) > 0 {
			e.at = frame{kind: frameBad, data: data, length: int64(len(data))}
			e.bad(reasonTruncatedInput)
		}
	}
}

// call makes a call of a recognised unit.
func (e *engine) call(r *reader) {
	e.recognised[r.index]++
	if e.chosen.sampled < sampleSize || e.recognised[r.index] == 1 {
		e.chosen.add(r, &e.u)
	}
	for i := range e.s.vals {
		if v := &e.s.vals[i]; !e.slotSeen.has(int(v.slot)) && !e.u.isMissing(v) {
			e.slotSeen.set(int(v.slot))
		}
	}
	n := len(e.batch.Calls)
	if n == cap(e.batch.Calls) {
		e.batch.Calls = append(e.batch.Calls, schema.Call{})
	}
	e.batch.Calls = e.batch.Calls[:n+1]
	c := &e.batch.Calls[n]
	*c = schema.Call{} // a sink may have given the memory back with calls in it
	if reason := e.b.build(r, &e.u, c); reason != "" {
		*c = schema.Call{}
		e.batch.Calls = e.batch.Calls[:n]
		e.refused(r, reason)
		return
	}
	if r.stage >= 0 && !e.stages.take(r, &e.u, c) {
		*c = schema.Call{}
		e.batch.Calls = e.batch.Calls[:n]
		e.settle()
		return
	}
	if r.stage >= 0 {
		byOutcome(c)
	}
	e.settle()
	e.nextUnit++
	e.report.Units++
	e.count(c)
}

// refused accounts for a recognised unit that gives no call.
func (e *engine) refused(r *reader, reason string) {
	if strings.HasPrefix(reason, notACall) {
		e.skip(reason)
		return
	}
	if lacks := map[string]fieldName{reasonNoTime: fTime, reasonNoMethod: fMethod, reasonNoTarget: fTarget}[reason]; reason != reasonBadTime {
		if f := &r.fields[lacks]; len(f.sources) > 0 && f.sources[0].slot >= 0 {
			e.report.Missing[r.Name+" "+e.f.slotPaths[f.sources[0].slot]]++
		}
	}
	e.bad(reason)
}

// count adds a call to the report.
func (e *engine) count(c *schema.Call) {
	r := &e.report
	r.Calls++
	r.Shows.Time++
	e.kinds[c.Credential.Kind]++
	add := func(n *uint64, yes bool) {
		if yes {
			*n++
		}
	}
	add(&r.Shows.Operation, c.Operation != "" || c.Method != "" && c.Path != "")
	add(&r.Shows.Scopes, c.Scopes != nil)
	add(&r.Shows.Decision, c.Decision != schema.DecisionUnknown)
	add(&r.Shows.Tenant, c.Tenant != "")
	add(&r.Shows.Client, c.ClientAddress.IsValid())
	add(&r.Shows.Workload, c.Workload != "")
}

// settle counts the units whose call a later stage replaced.
func (e *engine) settle() {
	for ; e.stages.superseded > 0; e.stages.superseded-- {
		e.skip(reasonStage)
	}
}

// release hands on the calls that waited for a stage that never came.
func (e *engine) release() {
	e.settle()
	for _, id := range e.stages.order {
		c, waits := e.stages.held[id]
		if !waits {
			continue
		}
		delete(e.stages.held, id)
		byOutcome(&c)
		e.batch.Calls = append(e.batch.Calls, c)
		e.nextUnit++
		e.report.Units++
		e.count(&c)
	}
	e.stages.order = nil
}
