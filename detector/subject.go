package detector

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// subjects names every principal seen in the window, and every declared
// credential that was not, sorted by name. Two catalogue credentials that match
// one principal are an error (*[catalog.Ambiguous]).
func subjects(ctx context.Context, facts Facts, cat *catalog.Catalog, w schema.Window) ([]*rule.Subject, error) {
	declared := make(map[*catalog.Credential]*rule.Subject, len(cat.Credentials))
	reserved := make(map[string]bool, len(cat.Credentials))
	var list []*rule.Subject
	for _, c := range cat.Credentials {
		s := &rule.Subject{Name: c.ID, Declared: c}
		declared[c] = s
		reserved[c.ID] = true
		list = append(list, s)
	}
	observed := map[string]*rule.Subject{}
	var ambiguous *catalog.Ambiguous
	err := facts.Principals(ctx, w, func(p *rule.Principal) error {
		c, err := cat.CredentialFor(p.Principal)
		if a, ok := err.(*catalog.Ambiguous); ok {
			// All are looked at, so that the error does not depend on which
			// comes first.
			if ambiguous == nil || a.Error() < ambiguous.Error() {
				ambiguous = a
			}
			return nil
		} else if err != nil {
			return err
		}
		if c != nil {
			declared[c].Principals = append(declared[c].Principals, *p)
			return nil
		}
		name := observedName(&p.Principal, reserved)
		s := observed[name]
		if s == nil {
			s = &rule.Subject{Name: name}
			observed[name] = s
			list = append(list, s)
		}
		s.Principals = append(s.Principals, *p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the credentials seen: %w", err)
	}
	if ambiguous != nil {
		return nil, ambiguous
	}
	for _, s := range list {
		slices.SortFunc(s.Principals, func(a, b rule.Principal) int { return slices.Compare(a.Hash[:], b.Hash[:]) })
	}
	slices.SortFunc(list, func(a, b *rule.Subject) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// narrowed keeps the subjects that one of the principals belongs to.
func narrowed(list []*rule.Subject, only []schema.PrincipalHash) []*rule.Subject {
	wanted := make(map[schema.PrincipalHash]bool, len(only))
	for _, hash := range only {
		wanted[hash] = true
	}
	return slices.DeleteFunc(list, func(s *rule.Subject) bool {
		return !slices.ContainsFunc(s.Principals, func(p rule.Principal) bool { return wanted[p.Hash] })
	})
}

// active counts the subjects that were seen and stand for one caller.
func active(list []*rule.Subject) (n int) {
	for _, s := range list {
		if len(s.Principals) > 0 && s.Identifies() {
			n++
		}
	}
	return n
}

// observedName is how a credential is called that the catalogue does not
// declare: its observed id, or the word of its kind where it has none. An id
// that is also a catalogue name is marked, since the two are not the same.
func observedName(p *schema.Principal, reserved map[string]bool) string {
	name := p.ID
	if name == "" {
		name = "(" + p.Kind.String() + ")"
	}
	if reserved[name] {
		name += " (undeclared)"
	}
	return name
}

// cuts returns the times within the window, ascending, at which a grant of the
// subject may begin or end, the credential itself dies, or an approved change
// begins or ends.
func cuts(s *rule.Subject, cat *catalog.Catalog, w schema.Window) []time.Time {
	var list []time.Time
	at := func(times ...time.Time) {
		for _, t := range times {
			if t.After(w.From) && t.Before(w.To) {
				list = append(list, t.UTC())
			}
		}
	}
	add := func(grants []schema.Grant) {
		for i := range grants {
			at(grants[i].From, grants[i].To)
		}
	}
	at(rule.Deaths(s.Declared)...)
	for _, c := range s.ChangesFor(cat) {
		at(c.From, c.To)
	}
	if s.Declared != nil {
		add(s.Declared.Grants)
	}
	for i := range cat.Groups {
		add(cat.Groups[i].Grants)
	}
	slices.SortFunc(list, time.Time.Compare)
	return slices.CompactFunc(list, time.Time.Equal)
}
