package catalog

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Change is an approved change: what somebody was allowed to do differently for
// a time. A maintenance window is a change that names nobody, and so means
// everybody.
type Change struct {
	ID string
	// Credentials and Workloads are globs in the sense of [Glob] of who may do
	// it: the credential's name or an observed id of it, and its workload as
	// declared or as the network names it. Nil is anybody, and both must match
	// where both are given.
	Credentials, Workloads []string
	// Services, Scopes, Tenants and Environments are globs in the sense of
	// [Glob], Operations in that of [PathGlob]. Nil is any; all that are given
	// must match.
	Services, Operations, Scopes, Tenants, Environments []string
	// Networks are where from; nil is anywhere.
	Networks []netip.Prefix
	// From is inclusive, To exclusive; both are set.
	From, To time.Time
	// Reason and By say why and who approved it.
	Reason, By string
	// File and Line say where it is declared.
	File string
	Line int
}

// longest is how long an approved change may last: what goes on for longer is
// no change but a purpose, and belongs into what is approved for a credential.
const longest = 366 * 24 * time.Hour

// longestWindow is how long a maintenance window may last, since it silences
// what anybody does.
const longestWindow = 14 * 24 * time.Hour

func (l *loader) change(file *sourceFile, n *node) {
	f, ok := l.fields(file, n, "change", "id", "who", "what", "from", "to", "reason", "by")
	if !ok {
		return
	}
	c := Change{ID: f.required("id"), Reason: f.required("reason"), By: f.required("by"), File: file.path, Line: n.line}
	c.From, c.To = f.period("from", "to")
	for _, bound := range []string{"from", "to"} {
		if n.get(bound) == nil {
			l.problem(file, n, fmt.Sprintf("a change needs the key %q", bound), "an approval has a begin and an end")
		}
	}
	if !c.From.IsZero() && !c.To.IsZero() && c.To.Sub(c.From) > longest {
		l.problem(file, n.get("to"), fmt.Sprintf("change %q lasts longer than a year", c.ID), `what stays belongs into "approved" of the credential`)
	}
	if n.get("who") == nil && c.To.Sub(c.From) > longestWindow && !c.From.IsZero() && !c.To.IsZero() {
		l.problem(file, n, fmt.Sprintf("change %q names nobody and lasts longer than 14 days, which would silence everybody for so long", c.ID), `say who it is for under "who"`)
	}
	if who := f.value("who"); who != nil {
		l.who(file, who, &c)
	}
	if what := f.value("what"); what != nil {
		l.what(file, what, &c)
	}
	if c.ID != "" && l.once(file, n, "change", c.ID) {
		l.catalog.Changes = append(l.catalog.Changes, c)
	}
}

// who reads who may do it.
func (l *loader) who(file *sourceFile, n *node, c *Change) {
	f, ok := l.fields(file, n, `change's "who"`, "credentials", "workloads")
	if !ok {
		return
	}
	c.Credentials, c.Workloads = l.some(&f, "credentials"), l.some(&f, "workloads")
	if n.get("credentials") == nil && n.get("workloads") == nil {
		l.problem(file, n, `"who" names nobody`, "give credentials or workloads, or leave who out for a maintenance window that concerns everybody")
	}
}

// what reads what they may do.
func (l *loader) what(file *sourceFile, n *node, c *Change) {
	f, ok := l.fields(file, n, `change's "what"`, "services", "operations", "scopes", "tenants", "environments", "networks")
	if !ok {
		return
	}
	c.Services, c.Operations, c.Scopes = l.some(&f, "services"), l.some(&f, "operations"), l.some(&f, "scopes")
	c.Tenants, c.Environments = l.some(&f, "tenants"), l.some(&f, "environments")
	if networks := f.items("networks"); networks != nil {
		for _, item := range networks {
			if p, ok := l.network(file, item); ok {
				c.Networks = append(c.Networks, p)
			}
		}
		if len(networks) == 0 {
			l.problem(file, n.get("networks"), `"networks" is empty, so the change would allow nothing`, "remove the key or name some")
		}
	}
}

// some reads a list of texts that, if it is there, is not empty: nobody approves
// nothing.
func (l *loader) some(f *fields, key string) []string {
	list := f.texts(key, false)
	if n := f.n.get(key); n.is(kindList) && len(n.items) == 0 {
		l.problem(f.file, n, fmt.Sprintf("%q is empty, so the change would allow nothing", key), "remove the key or name some")
	}
	return list
}

// checkChanges notes patterns of changes that nothing declared has: such a
// change mostly covers nothing, and its author does not know.
func (l *loader) checkChanges() {
	var services, credentials, workloads []string
	for _, s := range l.catalog.Services {
		services = append(services, s.Name)
	}
	for _, c := range l.catalog.Credentials {
		credentials, workloads = append(credentials, c.ID), append(workloads, c.Workload)
	}
	for i := range l.catalog.Changes {
		c := &l.catalog.Changes[i]
		check := func(patterns []string, what string, declared []string) {
			for _, p := range patterns {
				if len(declared) > 0 && !anyGlob([]string{p}, declared...) {
					l.catalog.Notes = append(l.catalog.Notes, Note{c.File, c.Line,
						fmt.Sprintf("change %q is for %s %q, which is none that is declared; it covers only what is seen under that name", c.ID, what, p)})
				}
			}
		}
		check(c.Services, "service", services)
		check(c.Credentials, "credential", credentials)
		check(c.Workloads, "workload", workloads)
	}
}

// For reports whether the change is for a credential: names are all it is known
// by, workloads all that it was seen at or is declared for. It says nothing of
// what is done.
func (c *Change) For(names, workloads []string) bool {
	return (c.Credentials == nil || anyGlob(c.Credentials, names...)) &&
		(c.Workloads == nil || anyGlob(c.Workloads, workloads...))
}

// anyGlob reports whether one of the patterns matches one of the texts.
func anyGlob(patterns []string, texts ...string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return slices.ContainsFunc(texts, func(s string) bool { return s != "" && Glob(p, s) })
	})
}

// Act is what a change may cover. A field that is empty is not known, and no
// list covers it.
type Act struct {
	Service, Operation, Scope, Tenant, Environment string
	Address                                        netip.Addr
	// First and Last are when it was done, both inclusive.
	First, Last time.Time
}

// Covers reports whether the change allows an act as a whole. It says nothing of
// who does it.
func (c *Change) Covers(a *Act) bool {
	allows := func(list []string, value string) bool { return list == nil || anyGlob(list, value) }
	return !a.First.Before(c.From) && a.Last.Before(c.To) &&
		allows(c.Services, a.Service) && allows(c.Scopes, a.Scope) && allows(c.Tenants, a.Tenant) && allows(c.Environments, a.Environment) &&
		(c.Operations == nil || a.Operation != "" && slices.ContainsFunc(c.Operations, func(p string) bool { return PathGlob(p, a.Operation) })) &&
		(c.Networks == nil || a.Address.IsValid() && slices.ContainsFunc(c.Networks, func(p netip.Prefix) bool { return p.Contains(a.Address.Unmap().WithZone("")) }))
}
