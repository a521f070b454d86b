package world

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// catalogue writes what the company says about itself, as YAML.
func (w *world) catalogue() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What the simulated company %s says about itself. Nothing here exists.\nservices:\n", w.domain)
	for _, s := range append(slices.Clone(w.services), w.portal) {
		fmt.Fprintf(&b, "  - name: %s\n    environment: %s\n    hosts: [%q]\n    authority: idp\n", s.name, s.env, s.host)
		if s.tenanted {
			b.WriteString("    tenant: {path: \"/tenants/{tenant}\"}\n")
		}
		b.WriteString("    operations:\n")
		for _, o := range s.operations {
			fmt.Fprintf(&b, "      - {operation: %q, scopes: [[%q]], class: %s, sensitivity: %d}\n", o.name, o.scope, o.class, o.sensitivity)
		}
	}
	fmt.Fprintf(&b, "  - {name: cluster, environment: production, hosts: [kubernetes.default.svc], authority: cluster, scope_dialect: kubernetes, grant: declared}\n")
	fmt.Fprintf(&b, "  - {name: aws, environment: production, hosts: [\"*.amazonaws.com\"], authority: aws/%s, scope_dialect: iam, grant: declared}\n", w.account)
	b.WriteString("scopes:\n")
	for _, s := range w.services {
		var all []string
		for _, o := range s.operations {
			if !strings.HasSuffix(o.scope, ":secrets") {
				all = add(all, o.scope)
			}
		}
		fmt.Fprintf(&b, "  - {name: %q, implies: %s, sensitivity: 4}\n", s.name+":admin", list(all))
	}
	rare := map[string]string{}
	for _, c := range w.credentials {
		for s, why := range c.rare {
			rare[s] = why
		}
	}
	for _, s := range sorted(rare) {
		fmt.Fprintf(&b, "  - {name: %q, rare: %q}\n", s, rare[s])
	}
	w.declare(&b)
	var names []string
	for _, s := range w.services {
		names = append(names, s.name)
	}
	names = append(names, w.portal.name)
	complete, sample := w.cfg.Missing == 0, fmt.Sprintf("%.2f", 1-w.cfg.Missing)
	fmt.Fprintf(&b, "sources:\n  - {name: mesh, services: %s, complete: %v, sample: %s, from: %s}\n", list(names), complete, sample, w.start.Format(time.DateOnly))
	fmt.Fprintf(&b, "  - {name: cluster audit, services: [cluster], complete: %v, sample: %s, from: %s}\n", complete, sample, w.start.Format(time.DateOnly))
	fmt.Fprintf(&b, "  - {name: cloud trail, services: [aws], complete: %v, sample: %s, from: %s}\n", complete, sample, w.start.Format(time.DateOnly))
	w.approvals(&b)
	return b.String()
}

// declare writes the credentials.
func (w *world) declare(b *strings.Builder) {
	b.WriteString("credentials:\n")
	for _, c := range w.credentials {
		if c.undeclared {
			continue
		}
		w.truth.Credentials++
		fmt.Fprintf(b, "  - id: %s\n    match: [%s]\n    kind: %s\n    owner: %s\n    purpose: %s\n", c.name, w.match(c), c.kind, c.owner, c.purpose)
		if c.workload != "" {
			fmt.Fprintf(b, "    workload: %s\n", c.workload)
		}
		if !c.issued.IsZero() {
			fmt.Fprintf(b, "    issued: %s\n", c.issued.Format(time.DateOnly))
		}
		if !c.expires.IsZero() {
			fmt.Fprintf(b, "    expires: %s\n", c.expires.Format(time.RFC3339))
		}
		if !w.cfg.Grants {
			b.WriteString("    grants:\n")
			w.grants(b, c)
		}
		if c.networks != nil || c.services != nil {
			b.WriteString("    approved:\n")
			for _, part := range []struct {
				key   string
				items []string
			}{{"networks", c.networks}, {"services", c.services}, {"operations", c.operations}} {
				if part.items != nil {
					fmt.Fprintf(b, "      %s: %s\n", part.key, list(part.items))
				}
			}
		}
	}
}

func (w *world) match(c *credential) string {
	switch c.auth {
	case "key":
		return fmt.Sprintf("{kind: api_key, id: %s}", c.client)
	case "basic":
		return fmt.Sprintf("{kind: basic, id: %s}", c.client)
	case "user":
		return fmt.Sprintf("{kind: cloud_key, id: %s}", c.key)
	case "role":
		return fmt.Sprintf("{kind: role_session, id: %q}", w.roleARN(c))
	case "account":
		return fmt.Sprintf("{kind: service_account, id: \"system:serviceaccount:%s:%s\"}", c.namespace, c.name)
	}
	kind := "oauth_client"
	if c.subjects != nil {
		kind = "user_token"
		return fmt.Sprintf("{issuer: %q, client: %s}", w.issuer(), c.client)
	}
	return fmt.Sprintf("{kind: %s, issuer: %q, client: %s}", kind, w.issuer(), c.client)
}

// grants writes what a credential holds. What comes later is a grant of its own
// with a beginning.
func (w *world) grants(b *strings.Builder, c *credential) {
	switch c.auth {
	case "user", "role":
		fmt.Fprintf(b, "      - {authority: aws/%s, dialect: iam, scopes: %s, source: policy}\n", w.account, list(c.scopes))
		return
	case "account":
		for _, s := range c.scopes {
			verb, resource, _ := strings.Cut(s, " ")
			fmt.Fprintf(b, "      - {authority: cluster, dialect: kubernetes, scopes: [%s], api_groups: [\"\"], resources: [%s], namespaces: [%s], source: role}\n", verb, resource, c.namespace)
		}
		return
	}
	fmt.Fprintf(b, "      - {authority: idp, scopes: %s, source: export of the identity provider}\n", list(c.scopes))
	for _, s := range laterNames(c) {
		fmt.Fprintf(b, "      - {authority: idp, scopes: [%q], from: %s, source: access request}\n", s, c.later[s].Format(time.RFC3339))
	}
}

// approvals writes the approved changes.
func (w *world) approvals(b *strings.Builder) {
	if !w.cfg.Changes || len(w.changes) == 0 {
		return
	}
	b.WriteString("changes:\n")
	for _, c := range w.changes {
		fmt.Fprintf(b, "  - {id: %s, who: {credentials: [%s]}, from: %s, to: %s, reason: %s, by: team-change}\n",
			c.id, c.credential, c.from.Format(time.RFC3339), c.to.Format(time.RFC3339), c.reason)
	}
}

func list(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func laterNames(c *credential) []string { return sorted(c.later) }
