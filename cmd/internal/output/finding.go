package output

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// WriteFindings writes findings alone, without what they stand on: text, table,
// JSON (an array), JSON lines, CSV or SARIF.
func WriteFindings(w io.Writer, format Format, version string, findings []schema.Finding, o Options) error {
	r := &Report{Version: version, Findings: findings}
	r.Tidy()
	switch format {
	case JSON:
		return Document(w, r.Findings)
	case Text:
		p := newProse(w, o)
		for i := range r.Findings {
			p.finding(&r.Findings[i])
		}
		if len(r.Findings) == 0 {
			p.out.WriteString("No findings.\n")
		}
		return p.out.Flush()
	case Grid:
		return findingTable(r.Findings).Print(w, o.Columns, o.Paint)
	}
	return Write(w, format, r, o)
}

// Explain writes everything about one finding: the sentence, what the detection
// means, why it fired, what would make it harmless, and the calls.
func Explain(w io.Writer, f *schema.Finding, o Options) error {
	p := newProse(w, o)
	p.head(f.Title)
	p.out.WriteByte('\n')
	p.whole("finding", string(f.ID))
	detection := Detection{Code: f.Code, Name: f.Detection}
	for _, d := range o.Detections {
		if d.Code == f.Code {
			detection = d
		}
	}
	p.label("detection", strings.TrimSpace(f.Code+" "+f.Detection))
	p.label("means", detection.Short)
	p.label("fires when", detection.Help)
	p.label("severity", f.Severity.String()+", confidence "+fmt.Sprintf("%.2f", f.Confidence)+", "+f.Status.String())
	p.credential(&f.Credential)
	p.label("session", f.Session)
	p.label("service", f.Service)
	p.label("operation", f.Operation)
	p.label("scope", f.Scope)
	for i, reason := range f.Reasons {
		p.label(map[bool]string{true: "why"}[i == 0], reason)
	}
	e := &f.Evidence
	p.label("needs", Demand(e.Demand))
	if e.Granted != nil {
		p.label("granted", listOr(e.Granted, "nothing"))
	}
	p.list("usual", e.Usual)
	p.list("seen", e.Seen)
	if len(e.Hops) == 0 {
		p.list("path", e.Path)
	}
	p.label("when", span(f))
	if e.Coverage != nil {
		p.label("coverage", CoverageText(e.Coverage))
	}
	p.label("harmless if", trimStop(e.BenignIf))
	p.label("frameworks", strings.Join(f.Frameworks, ", "))
	// That it can be explained needs no telling here.
	p.commands(slices.DeleteFunc(slices.Clone(f.Next), func(c string) bool { return c == "scopedrift explain "+string(f.ID) }))
	if len(e.Hops) > 0 {
		fmt.Fprintf(p.out, "\n%s\n", p.paint.Strong("The way"))
		drawWay(p.out, e.Hops, "  ")
	}
	if len(e.Calls) > 0 {
		fmt.Fprintf(p.out, "\n%s\n", p.paint.Strong(fmt.Sprintf("Calls (%s of %s, the earliest first)",
			Number(uint64(len(e.Calls))), Number(max(f.Calls, uint64(len(e.Calls)))))))
		if err := p.out.Flush(); err != nil {
			return err
		}
		return CallTable(e.Calls).Print(w, o.Columns, o.Paint)
	}
	return p.out.Flush()
}

func (p *prose) credential(c *schema.FindingCredential) {
	line := c.ID
	if c.Kind != "" {
		line += ", " + c.Kind
	}
	if c.Workload != "" {
		line += ", workload " + c.Workload
	}
	if c.Owner != "" {
		line += ", owner " + c.Owner
	} else {
		line += ", no owner known"
	}
	p.label("credential", line)
	if len(c.Observed) > 0 && (len(c.Observed) > 1 || c.Observed[0] != c.ID) {
		p.label("observed as", listOr(c.Observed, ""))
	}
}

// CallTable is the short form of calls for people.
func CallTable(calls []schema.Call) *Table {
	t := &Table{Columns: []Column{
		{Name: "time"}, {Name: "credential", Keep: 12}, {Name: "service", Keep: 8}, {Name: "operation", Keep: 12},
		{Name: "object", Keep: 12, Spare: 4}, {Name: "tenant", Keep: 6, Spare: 3}, {Name: "decision"},
		{Name: "status", Right: true, Spare: 2}, {Name: "client", Keep: 7, Spare: 1},
	}}
	for i := range calls {
		c := &calls[i]
		status, client := "", ""
		if c.Status != 0 {
			status = fmt.Sprint(c.Status)
		}
		if c.ClientAddress.IsValid() {
			client = c.ClientAddress.String()
		}
		t.Add(c.Time.UTC().Format("2006-01-02 15:04:05"), CredentialName(&c.Credential), firstOf(c.Service, c.Host),
			firstOf(c.Operation, c.Method), firstOf(c.Resource, c.Path), c.Tenant, c.Decision.String(), status, client)
	}
	return t
}

// CredentialName is the id of an observed credential, else its kind.
func CredentialName(c *schema.Credential) string {
	return firstOf(c.ID, c.Kind.String())
}

// CallCSV has every flat field of the calls.
func CallCSV(calls []schema.Call) *Table {
	t := &Table{}
	for _, name := range []string{
		"time", "id", "source", "reporter", "credential_kind", "credential", "subject", "client", "session", "scopes",
		"decision", "policy", "service", "operation", "route_source", "method", "host", "path", "resource", "status",
		"request_bytes", "response_bytes", "duration_us", "client_address", "peer_address", "workload", "user_agent",
		"tenant", "environment", "request_id", "trace_id", "actor_chain", "mints", "quality",
	} {
		t.Columns = append(t.Columns, Column{Name: name})
	}
	for i := range calls {
		c := &calls[i]
		client, peer := "", ""
		if c.ClientAddress.IsValid() {
			client = c.ClientAddress.String()
		}
		if c.PeerAddress.IsValid() {
			peer = c.PeerAddress.String()
		}
		t.Add(Stamp(c.Time), c.ID.String(), c.Source.Name, c.Reporter.String(), c.Credential.Kind.String(), c.Credential.ID,
			c.Credential.Subject, c.Credential.Client, c.Credential.Session, join(c.Scopes), c.Decision.String(), c.Policy,
			c.Service, c.Operation, c.RouteSource.String(), c.Method, c.Host, c.Path, c.Resource, fmt.Sprint(c.Status),
			fmt.Sprint(c.RequestBytes), fmt.Sprint(c.ResponseBytes), fmt.Sprint(c.DurationUS), client, peer, c.Workload,
			c.UserAgent, c.Tenant, c.Environment, c.RequestID, c.TraceID, join(c.ActorChain), c.Mints, c.Quality.String())
	}
	return t
}
