// Package grant turns what other systems say about rights into catalogue
// entries.
//
// What you want: [RBAC] for Kubernetes roles and bindings, [IAM] for AWS
// policies, then [Import.YAML] for a file to lay into the catalogue.
//
// What it promises: an import never says less than its source. What the
// catalogue cannot express (a condition, a role that is not among the
// documents, a permissions boundary) becomes an entry that is conditional, so
// that nothing is judged lacking because of it, and a note says so. What the
// source itself ignores is left out, with a note. No import invents since when
// a grant holds: it has no "from".
//
// # Limitations
//
// It sees only the documents it is given: other bindings of the same subject,
// resource-based policies, organisation policies and session policies are not
// known to it.
package grant

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// maxInput bounds one document that is read, in bytes.
const maxInput = 64 << 20

// Import is what was read: catalogue sections, sorted by name.
type Import struct {
	Groups      []catalog.Group
	Credentials []catalog.Credential
	// Notes are sentences about what was passed over, or is less certain than
	// it looks.
	Notes []string
}

func (i *Import) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(i.Notes, n) {
		i.Notes = append(i.Notes, n)
	}
}

func (i *Import) sort() {
	slices.SortFunc(i.Groups, func(a, b catalog.Group) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(i.Credentials, func(a, b catalog.Credential) int { return strings.Compare(a.ID, b.ID) })
}

// YAML writes the import as a file of the catalogue, notes as comments first.
// The same import is written the same way, byte for byte.
func (i *Import) YAML(w io.Writer) error {
	var b bytes.Buffer
	for _, n := range i.Notes {
		b.WriteString("# note: " + printable(n) + "\n")
	}
	if len(i.Groups) > 0 {
		b.WriteString("groups:\n")
	}
	for _, g := range i.Groups {
		b.WriteString("  - name: " + quote(g.Name) + "\n")
		writeGrants(&b, g.Grants)
	}
	if len(i.Credentials) > 0 {
		b.WriteString("credentials:\n")
	}
	for _, c := range i.Credentials {
		b.WriteString("  - id: " + quote(c.ID) + "\n    match:\n")
		for _, m := range c.Match {
			writeMatch(&b, m)
		}
		if c.Kind != "" {
			b.WriteString("    kind: " + c.Kind + "\n")
		}
		writeGrants(&b, c.Grants)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func writeMatch(b *bytes.Buffer, m catalog.Match) {
	var f fields
	if m.Kind != nil {
		f.word("kind", m.Kind.String())
	}
	f.text("id", m.ID)
	f.text("issuer", m.Issuer)
	f.text("subject", m.Subject)
	f.text("client", m.Client)
	b.WriteString("      - " + f.String() + "\n")
}

func writeGrants(b *bytes.Buffer, grants []schema.Grant) {
	b.WriteString("    grants:\n")
	for i := range grants {
		g := &grants[i]
		var f fields
		f.text("authority", g.Authority)
		f.word("dialect", g.Dialect.String())
		if g.Effect != schema.EffectAllow {
			f.word("effect", g.Effect.String())
		}
		if g.Scopes == nil && len(g.Except) > 0 {
			f.list("except", g.Except)
		} else {
			f.list("scopes", append([]string{}, g.Scopes...))
		}
		f.list("api_groups", g.APIGroups)
		f.list("resources", g.Resources)
		f.list("namespaces", g.Namespaces)
		f.list("names", g.Names)
		if g.Conditional {
			f.word("conditional", "true")
		}
		f.text("source", g.Source)
		b.WriteString("      - " + f.String() + "\n")
	}
}

// fields is a flow mapping in the making.
type fields []string

func (f *fields) word(key, value string) { *f = append(*f, key+": "+value) }

func (f *fields) text(key, value string) {
	if value != "" {
		f.word(key, quote(value))
	}
}

func (f *fields) list(key string, values []string) {
	if values == nil {
		return
	}
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	f.word(key, "["+strings.Join(quoted, ", ")+"]")
}

// String writes the mapping.
func (f fields) String() string { return "{" + strings.Join(f, ", ") + "}" }

// quote writes a text in double quotes, as JSON does, which is YAML too.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""` // A string is always encoded.
	}
	// YAML counts these among the characters that must be escaped.
	return strings.NewReplacer("\u007f", `\u007f`, "\u0085", `\u0085`, "\ufeff", `\ufeff`).Replace(strings.TrimSuffix(b.String(), "\n"))
}

// printable keeps a note on its line: what could end it or act on a terminal
// becomes a blank.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufeff' {
			return ' '
		}
		return r
	}, s)
}

// appendGrant adds a grant that is not there yet.
func appendGrant(list []schema.Grant, g schema.Grant) []schema.Grant {
	for i := range list {
		if equalGrants(&list[i], &g) {
			return list
		}
	}
	return append(list, g)
}

func equalGrants(a, b *schema.Grant) bool {
	same := func(x, y []string) bool { return (x == nil) == (y == nil) && slices.Equal(x, y) }
	return a.Authority == b.Authority && a.Dialect == b.Dialect && a.Effect == b.Effect && a.Conditional == b.Conditional &&
		a.Source == b.Source && same(a.Scopes, b.Scopes) && same(a.Except, b.Except) && same(a.APIGroups, b.APIGroups) &&
		same(a.Resources, b.Resources) && same(a.Namespaces, b.Namespaces) && same(a.Names, b.Names)
}
