package grant

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

var errNoBinding = errors.New("no RoleBinding or ClusterRoleBinding in these documents; give roles and bindings together: kubectl get clusterroles,clusterrolebindings,roles,rolebindings -A -o yaml")

// RBAC reads Kubernetes ClusterRoles, Roles and their bindings, in YAML or JSON,
// one or more objects or lists a document, in any order over all documents. The
// grants it makes are those of the authority given (that of the cluster's
// service in the catalogue; empty is any).
//
// A group that is a subject becomes a group, a user or service account a
// credential that is recognised by its user name. Aggregated roles are filled
// from the roles that their selectors fit. A binding whose role is not among
// the documents becomes a conditional entry, since its rights are not known.
func RBAC(authority string, documents ...[]byte) (*Import, error) {
	r := rbac{
		authority: authority, out: &Import{},
		roles: map[roleKey]*manifest{}, groups: map[string][]schema.Grant{}, users: map[string][]schema.Grant{},
	}
	var bindings []manifest
	skipped := map[string]int{}
	for i, d := range documents {
		objects, err := manifests(d)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		for _, m := range objects {
			switch m.Kind {
			case "ClusterRole", "Role":
				r.addRole(m)
			case "ClusterRoleBinding", "RoleBinding":
				bindings = append(bindings, m)
			default:
				skipped[m.Kind]++
			}
		}
	}
	if len(bindings) == 0 {
		return nil, errNoBinding
	}
	for _, kind := range sortedKeys(skipped) {
		r.out.note("%d objects of kind %q are no part of RBAC and were passed over", skipped[kind], kind)
	}
	for i := range bindings {
		r.bind(&bindings[i])
	}
	r.finish()
	return r.out, nil
}

type roleKey struct{ kind, namespace, name string }

// rbac is an import in the making.
type rbac struct {
	authority     string
	out           *Import
	roles         map[roleKey]*manifest
	order         []roleKey
	groups, users map[string][]schema.Grant
}

func (r *rbac) addRole(m manifest) {
	k := roleKey{m.Kind, m.Metadata.Namespace, m.Metadata.Name}
	if m.Kind == "ClusterRole" {
		k.namespace = ""
	}
	if had := r.roles[k]; had != nil {
		r.out.note("%s %q is given twice; its rules were put together", m.Kind, m.Metadata.Name)
		had.Rules = append(had.Rules, m.Rules...)
		return
	}
	r.roles[k] = &m
	r.order = append(r.order, k)
}

// rules returns a role's rules with those it aggregates.
func (r *rbac) rules(k roleKey, seen map[roleKey]bool) []policyRule {
	m := r.roles[k]
	if m == nil || seen[k] {
		return nil
	}
	seen[k] = true
	rules := slices.Clone(m.Rules)
	if m.AggregationRule == nil || k.kind != "ClusterRole" {
		return rules
	}
	for _, other := range r.order {
		if other.kind != "ClusterRole" {
			continue
		}
		for i := range m.AggregationRule.Selectors {
			if m.AggregationRule.Selectors[i].matches(r.roles[other].Metadata.Labels) {
				rules = append(rules, r.rules(other, seen)...)
				break
			}
		}
	}
	return rules
}

// bind gives a role's rules to the subjects of a binding.
func (r *rbac) bind(b *manifest) {
	source := b.Kind + " " + b.Metadata.Name
	k := roleKey{b.RoleRef.Kind, "", b.RoleRef.Name}
	var namespaces []string
	if b.Kind == "RoleBinding" {
		if b.Metadata.Namespace == "" {
			r.out.note("%s names no namespace; it was taken for that of %q, as kubectl would", source, "default")
			b.Metadata.Namespace = "default"
		}
		namespaces = []string{b.Metadata.Namespace}
		source += " in " + b.Metadata.Namespace
		if k.kind == "Role" {
			k.namespace = b.Metadata.Namespace
		}
	}
	source += ", " + b.RoleRef.Kind + " " + b.RoleRef.Name
	base := schema.Grant{Authority: r.authority, Dialect: schema.DialectKubernetes, Namespaces: namespaces, Source: source}
	var grants []schema.Grant
	if r.roles[k] == nil {
		r.out.note("%s: the role is not among the documents, so what it gives is not known", source)
		g := base
		g.Scopes, g.Conditional = []string{"*"}, true
		grants = append(grants, g)
	}
	for _, rule := range r.rules(k, map[roleKey]bool{}) {
		for _, g := range r.grants(base, &rule) {
			grants = appendGrant(grants, g)
		}
	}
	if len(grants) == 0 {
		// The subject holds nothing by this binding, and that is known.
		g := base
		g.Scopes = []string{}
		grants = append(grants, g)
	}
	for _, s := range b.Subjects {
		r.give(&s, b, source, grants)
	}
	if len(b.Subjects) == 0 {
		r.out.note("%s has no subjects", source)
	}
}

func (r *rbac) give(s *subject, b *manifest, source string, grants []schema.Grant) {
	to, name := r.users, s.Name
	switch s.Kind {
	case "Group":
		to = r.groups
	case "User":
	case "ServiceAccount":
		namespace := s.Namespace
		if namespace == "" {
			namespace = b.Metadata.Namespace
		}
		if namespace == "" || s.Name == "" {
			r.out.note("%s: service account %q names no namespace, so it binds no one", source, s.Name)
			return
		}
		name = "system:serviceaccount:" + namespace + ":" + s.Name
	default:
		r.out.note("%s: subject kind %q is not known; %q was passed over", source, s.Kind, s.Name)
		return
	}
	if name == "" {
		r.out.note("%s: a subject of kind %s has no name", source, s.Kind)
		return
	}
	to[name] = append(to[name], grants...)
}

// grants turns one rule into entries: what RBAC itself would never match is
// left out.
func (r *rbac) grants(base schema.Grant, rule *policyRule) []schema.Grant {
	base.Scopes = r.usable(base.Source, "verb", rule.Verbs, func(s string) bool { return s != "" && !strings.ContainsAny(s, " \t") })
	if len(base.Scopes) == 0 {
		return nil
	}
	var out []schema.Grant
	if len(rule.NonResourceURLs) > 0 && base.Namespaces == nil {
		g := base
		for _, u := range r.usable(base.Source, "nonResourceURL", rule.NonResourceURLs, func(s string) bool { return s == "*" || strings.HasPrefix(s, "/") }) {
			if u == "*" {
				u = "/*"
			}
			g.Resources = append(g.Resources, u)
		}
		if g.Resources != nil {
			out = append(out, g)
		}
	}
	if len(rule.Resources) == 0 {
		return out
	}
	g := base
	g.APIGroups = r.usable(base.Source, "apiGroup", rule.APIGroups, func(s string) bool { return s != "core" })
	g.Resources = r.usable(base.Source, "resource", rule.Resources, func(s string) bool {
		return s != "" && !strings.ContainsAny(s, ". \t") && !strings.HasPrefix(s, "/") && !strings.HasSuffix(s, "/")
	})
	if len(g.APIGroups) == 0 || len(g.Resources) == 0 {
		return out
	}
	if len(rule.ResourceNames) > 0 {
		g.Names = rule.ResourceNames
	}
	return append(out, g)
}

// usable keeps what can match a request at all.
func (r *rbac) usable(source, what string, list []string, ok func(string) bool) []string {
	var kept []string
	for _, s := range list {
		if ok(s) {
			kept = append(kept, s)
		} else {
			r.out.note("%s: %s %q matches no request", source, what, s)
		}
	}
	return kept
}

func (r *rbac) finish() {
	for _, name := range sortedKeys(r.groups) {
		r.out.Groups = append(r.out.Groups, catalog.Group{Name: name, Grants: r.groups[name]})
	}
	for _, name := range sortedKeys(r.users) {
		if strings.ContainsAny(name, "*?") {
			r.out.note("user %q was passed over: a name with * or ? cannot be matched exactly", name)
			continue
		}
		c := catalog.Credential{ID: name, Match: []catalog.Match{{ID: name}}, Grants: r.users[name]}
		if strings.HasPrefix(name, "system:") {
			c.Kind = "service"
		}
		r.out.Credentials = append(r.out.Credentials, c)
	}
	r.out.sort()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
