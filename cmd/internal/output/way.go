package output

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/scopedrift/scopedrift/detector/investigate"
	"github.com/scopedrift/scopedrift/schema"
)

// wayWidth is how wide a drawn way is at most: it is pasted into tickets.
const wayWidth = 80

// tierWords say what links a hop to the one before.
var tierWords = [...]string{"", "signed context", "same trace", "nested in time"}

func tierWord(tier int) string {
	if tier < 0 || tier >= len(tierWords) {
		return ""
	}
	return tierWords[tier]
}

// kindWords say what a hop is.
var kindWords = map[string]string{
	"call": "called", "secret": "read a secret", "mint": "had a credential issued", "switch": "used a credential that is not its own",
}

// drawWay draws hops as a line from top to bottom, at most wayWidth wide.
func drawWay(out *bufio.Writer, hops []schema.Hop, indent string) {
	width := wayWidth - len(indent) - 5
	at := ""
	for i := range hops {
		h := &hops[i]
		if h.From != at {
			if at != "" {
				out.WriteByte('\n')
			}
			for _, line := range wrap(Safe("["+firstOf(h.From, "unknown")+"]"), width) {
				out.WriteString(indent + line + "\n")
			}
		}
		what := firstOf(kindWords[h.Kind], h.Kind)
		if h.Operation != "" {
			what += ": " + h.Operation
		}
		if h.Tenant != "" {
			what += " in " + h.Tenant
		}
		lines := wrap(Safe(fmt.Sprintf("%s  %s", h.Time.UTC().Format("2006-01-02 15:04:05"), what)), width-4)
		lines = append(lines, wrap(Safe("with "+h.Credential), width-4)...)
		if word := tierWord(h.Tier); word != "" {
			lines = append(lines, "link: "+word)
		}
		for n := range lines {
			number := "   "
			if n == 0 {
				number = fmt.Sprintf("%-3s", strconv.Itoa(i+1)+".")
			}
			lines[n] = number + " " + lines[n]
		}
		for _, line := range lines {
			out.WriteString(indent + "  | " + line + "\n")
		}
		at = firstOf(h.To, "unknown")
		out.WriteString(indent + "  v\n")
		for _, line := range wrap(Safe("["+at+"]"), width) {
			out.WriteString(indent + line + "\n")
		}
	}
}

// WriteWay draws hops as text that fits a terminal of 80 columns.
func WriteWay(w io.Writer, hops []schema.Hop) error {
	out := bufio.NewWriter(w)
	drawWay(out, hops, "  ")
	return out.Flush()
}

// WriteInvestigationDOT writes an investigation as a graph: places, credentials
// and services, what was used by whom, and the way of a movement in red.
func WriteInvestigationDOT(w io.Writer, r *investigate.Investigation) error {
	g := newGraph(investigationHead(r))
	for i := range r.Places {
		p := &r.Places[i]
		style := ""
		if p.Strange != "" {
			style = "color=red, style=dashed"
		}
		for _, c := range p.Credentials {
			g.edge(g.node("place", p.Name), g.node("credential", c), Count(p.Calls, "call")+" since "+Minute(p.First), style)
		}
	}
	type pair struct{ credential, service string }
	sums := map[pair]*investigate.Verdicts{}
	var pairs []pair
	for i := range r.Used {
		u := &r.Used[i]
		k := pair{u.Credential, firstOf(u.Service, "unknown service")}
		if sums[k] == nil {
			sums[k] = &investigate.Verdicts{}
			pairs = append(pairs, k)
		}
		sums[k].Add(u.Verdicts)
	}
	for _, k := range pairs {
		style := ""
		if sums[k].Beyond > 0 {
			style = "color=red"
		}
		g.edge(g.node("credential", k.credential), g.node("service", k.service), verdictsText(sums[k]), style)
	}
	for i := range r.Links.Edges {
		e := &r.Links.Edges[i]
		if e.Kind != "mint" && e.Kind != "cause" {
			continue
		}
		label := fmt.Sprintf("%s (%s)", e.Kind, tierWord(int(e.Tier)))
		g.edge(g.node("credential", e.From.Name), g.node("credential", e.To.Name), label, "style=dotted")
	}
	g.way(r.Links.Path)
	return g.write(w)
}

// graph is a DOT document being written.
type graph struct {
	title string
	nodes map[string]string
	lines []string
	kinds []string
}

func newGraph(title string) *graph { return &graph{title: title, nodes: map[string]string{}} }

var dotShapes = map[string]string{"place": "box", "credential": "ellipse", "service": "hexagon"}

// node returns the name of a node within the document, and declares it once.
func (g *graph) node(kind, label string) string {
	key := kind + "\x00" + label
	if id, ok := g.nodes[key]; ok {
		return id
	}
	id := fmt.Sprintf("n%d", len(g.nodes)+1)
	g.nodes[key] = id
	g.kinds = append(g.kinds, fmt.Sprintf("  %s [shape=%s, label=%s];", id, dotShapes[kind], dotText(label)))
	return id
}

func (g *graph) edge(from, to, label, style string) {
	line := fmt.Sprintf("  %s -> %s [label=%s", from, to, dotText(label))
	if style != "" {
		line += ", " + style
	}
	line += "];"
	if !slices.Contains(g.lines, line) {
		g.lines = append(g.lines, line)
	}
}

// way adds hops: who acted, with which credential, on what.
func (g *graph) way(hops []schema.Hop) {
	for i := range hops {
		h := &hops[i]
		kind := "service"
		if h.Kind == "mint" {
			kind = "credential"
		}
		label := fmt.Sprintf("%d. %s %s with %s", i+1, h.Time.UTC().Format("15:04:05"), firstOf(h.Operation, h.Kind), h.Credential)
		g.edge(g.node("place", firstOf(h.From, "unknown")), g.node(kind, firstOf(h.To, "unknown")), label, "color=red, penwidth=2")
	}
}

func (g *graph) write(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "digraph scopedrift {\n  rankdir=LR;\n  label=%s;\n", dotText(g.title))
	for _, line := range append(g.kinds, g.lines...) {
		out.WriteString(line + "\n")
	}
	out.WriteString("}\n")
	return out.Flush()
}

// dotText quotes an observed string for DOT: nothing in it ends the string or is
// taken for an escape.
func dotText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(Safe(s)) + `"`
}
