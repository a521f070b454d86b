package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// finish does what needs every file: it reads the OpenAPI documents, checks what
// refers to something else, and builds the lookups.
func (l *loader) finish() {
	for i := range l.pending {
		l.assemble(&l.pending[i])
	}
	l.checkUnused()
	l.checkScopes()
	l.checkReferences()
	l.checkChanges()
	l.decideDialects()
	// The lookups are built in any case: their conflicts are problems too.
	l.catalog.index()
	l.checkConflicts()
	slices.SortStableFunc(l.catalog.Notes, func(a, b Note) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
}

// checkUnused notes OpenAPI documents beside the catalogue that no service
// refers to.
func (l *loader) checkUnused() {
	for _, path := range slices.Sorted(mapKeys(l.documents)) {
		d := l.documents[path]
		if d != nil && !d.used && len(d.nodes) > 0 && isSpec(d.nodes[0]) {
			l.note(&d.file, 0, "no service refers to this OpenAPI document")
		}
	}
}

// checkScopes reports scopes that imply themselves, over any number of steps.
func (l *loader) checkScopes() {
	const walking, done = 1, 2
	state := make(map[string]int, len(l.scopePlaces))
	var path []string
	var walk func(name string, place *scopePlace)
	walk = func(name string, place *scopePlace) {
		switch state[name] {
		case done:
			return
		case walking:
			cycle := append(slices.Clone(path[slices.Index(path, name):]), name)
			l.problem(place.file, place.at, fmt.Sprintf("scope %q implies itself: %s", name, strings.Join(cycle, " → ")), "remove one of the steps")
			return
		}
		state[name] = walking
		path = append(path, name)
		for _, implied := range l.catalog.Scopes[name].Implies {
			walk(implied, place)
		}
		path = path[:len(path)-1]
		state[name] = done
	}
	for i := range l.scopePlaces {
		place := &l.scopePlaces[i]
		walk(place.name, place)
	}
}

// checkReferences checks the services that sources and approvals name.
func (l *loader) checkReferences() {
	names := make([]string, 0, len(l.catalog.Services))
	for _, s := range l.catalog.Services {
		names = append(names, s.Name)
	}
	for _, r := range l.references {
		if r.name == "" || slices.Contains(names, r.name) {
			continue
		}
		hint := "no service is declared"
		if len(names) > 0 {
			hint = suggest(r.name, names, "declared services")
		}
		message := fmt.Sprintf("%s service %q, which is not declared", r.by, r.name)
		if r.strict {
			l.problem(r.file, r.at, message, hint)
		} else if len(names) > 0 {
			l.note(r.file, r.at.line, message+"; "+hint)
		}
	}
}

// decideDialects gives grants without a dialect that of the services whose
// authority they name, where these agree; else they stay flat.
func (l *loader) decideDialects() {
	dialects := map[string]schema.Dialect{}
	unclear := map[string]bool{}
	for _, s := range l.catalog.Services {
		if d, ok := dialects[s.Authority]; ok && d != s.Dialect {
			unclear[s.Authority] = true
		}
		dialects[s.Authority] = s.Dialect
	}
	for _, g := range l.undecided {
		if !unclear[g.Authority] && g.Authority != "" {
			g.Dialect = dialects[g.Authority]
		}
	}
}

// checkConflicts reports operations of two services that no call tells apart.
func (l *loader) checkConflicts() {
	at := map[*Service]*pendingService{}
	for i := range l.pending {
		at[l.pending[i].service] = &l.pending[i]
	}
	for _, c := range l.catalog.hosts.conflicts {
		first, second := at[c.first.service], at[c.second.service]
		if first == second {
			// An OpenAPI document may say the same twice in two spellings; the
			// first one stands.
			l.note(second.file, second.at.line, fmt.Sprintf("operations %q and %q of service %q match the same calls; the first one is used",
				c.first.operation.Name, c.second.operation.Name, c.first.service.Name))
			continue
		}
		l.problem(second.file, second.at, fmt.Sprintf("operation %q of service %q is also %q of service %q (%s), at the same host and base path",
			c.second.operation.Name, c.second.service.Name, c.first.operation.Name, c.first.service.Name, first.file.place(first.at.line)),
			"give one of the services another host or base_path")
	}
	l.catalog.hosts.conflicts = nil
}
