package rule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// unlock is what a scope opens: where its use would be seen.
type unlock struct {
	// services are those where it would be used, sorted.
	services []string
	// points and terms weigh the worst operation it opens.
	points int
	terms  []string
	// reason says what it opens.
	reason string
	// why says why its use could not be seen, empty if it could.
	why string
}

type unlockKey struct {
	authority, scope string
	dialect          schema.Dialect
	kinds            string
}

// opens finds what a held scope opens. In most dialects that are the services
// with an operation that needs it: where the catalogue knows none, its use
// could not be told from any other call. IAM and Kubernetes name their
// operations in the scope itself, so every service of the authority counts.
func (e *Env) opens(s *Subject, h *holding) unlock {
	key := unlockKey{h.authority, h.scope, h.entries[0].Dialect, ""}
	kinds := s.Kinds()
	for _, k := range kinds {
		key.kinds += k.String() + " "
	}
	if u, ok := e.unlocks[key]; ok {
		return u
	}
	if e.unlocks == nil {
		e.unlocks = map[unlockKey]unlock{}
	}
	u := e.findOpened(h, kinds)
	e.unlocks[key] = u
	return u
}

func (e *Env) findOpened(h *holding, kinds []schema.CredentialKind) (u unlock) {
	matching := 0
	var names []string
	var worst weight
	for _, s := range e.Catalog.Services {
		if h.authority != "" && s.Authority != h.authority {
			continue
		}
		matching++
		if s.DemandOperation || s.Dialect == schema.DialectIAM || s.Dialect == schema.DialectKubernetes {
			if s.DemandOperation || s.Dialect == h.entries[0].Dialect || h.entries[0].Dialect == schema.DialectFlat {
				u.services = append(u.services, s.Name)
			}
			continue
		}
		before := len(names)
		for _, o := range s.Operations {
			if !e.needs(h, s, o, kinds) {
				continue
			}
			names = append(names, o.Name+onService(s.Name))
			if w := e.weigh(s.Name, o.Name); w.points > worst.points || len(worst.terms) == 0 {
				worst = w
			}
		}
		if len(names) > before {
			u.services = append(u.services, s.Name)
		}
	}
	slices.Sort(u.services)
	slices.Sort(names)
	switch {
	case matching == 0 && h.authority != "":
		u.why = "the catalogue has no service whose scopes " + h.authority + " decides"
	case len(u.services) == 0:
		u.why = "the catalogue knows no operation that needs it, so its use could not be recognised"
	case len(names) > 0:
		u.reason = fmt.Sprintf("it opens %s: %s", count(len(names), "operation"), some(names, 5))
		u.points, u.terms = worst.points, []string{"the worst it opens: " + strings.Join(worst.terms, ", ")}
	default:
		class := classOfScope(h.scope)
		u.points = classPoints(class)
		if term := classTerm(class, false); term != "" {
			u.terms = []string{term}
		}
	}
	if u.why == "" && h.entries[0].Dialect == schema.DialectIAM && unlogged(h.scope) {
		u.why = "trails do not log its use as a call of its own"
	}
	if u.why == "" && len(u.services) > 0 && dataPlane(h.scope) && !e.Coverage.All(u.services).Known {
		u.why = "trails log data access only where they are told to, and the catalogue does not say what these logs cover"
	}
	return u
}

// needs reports whether the scope takes part in what the operation needs.
func (e *Env) needs(h *holding, s *catalog.Service, o *catalog.Operation, kinds []schema.CredentialKind) bool {
	if len(kinds) == 0 {
		// A declared credential that never called has no observed kind: any
		// will do.
		for i := range o.Demand.Alternatives {
			kinds = append(kinds, o.Demand.Alternatives[i].Kinds...)
		}
		kinds = append(kinds, schema.KindOAuthClient)
	}
	for _, kind := range kinds {
		for i := range h.entries {
			if e.Compare.Uses(h.entries[i], &compare.Request{Kind: kind, Service: s.Name, Operation: o.Name, RouteSource: o.RouteSource,
				Time: e.Window.To.Add(-time.Microsecond)}) {
				return true
			}
		}
	}
	return false
}

// classOfScope tells from a scope's name what it lets do, for severities only.
func classOfScope(scope string) schema.Class {
	if verb, rest, ok := strings.Cut(scope, " "); ok {
		if verb == "*" || rest == "*" {
			return schema.ClassAdmin
		}
		return ClassByName(scope)
	}
	_, action, ok := strings.Cut(scope, ":")
	switch {
	case scope == "*" || ok && action == "*":
		return schema.ClassAdmin
	case strings.HasPrefix(scope, "iam:") && ClassByName(scope) != schema.ClassRead:
		return schema.ClassAdmin
	case strings.HasPrefix(scope, "secretsmanager:Get"):
		return schema.ClassSecret
	}
	return ClassByName(scope)
}

// unlogged reports whether an IAM action is one whose use no trail shows: rights
// that are asked for beside another call, and calls that are not logged.
func unlogged(scope string) bool {
	scope = strings.ToLower(scope)
	switch scope {
	case "iam:passrole", "sts:tagsession", "sts:setsourceidentity", "s3:bypassgovernanceretention",
		"logs:putlogevents", "cloudwatch:putmetricdata":
		return true
	}
	service, _, _ := strings.Cut(scope, ":")
	switch service {
	case "execute-api", "ssmmessages", "ec2messages", "xray":
		return true
	}
	return false
}

// dataPlane reports whether an IAM action touches data rather than
// configuration: those are in a trail only if it was set up to log them.
func dataPlane(scope string) bool {
	service, action, ok := strings.Cut(strings.ToLower(scope), ":")
	if !ok {
		return false
	}
	var parts []string
	switch service {
	case "s3":
		parts = []string{"object"}
	case "lambda":
		parts = []string{"invoke"}
	case "dynamodb":
		parts = []string{"item", "query", "scan", "partiql", "transact"}
	case "sqs", "sns", "kinesis", "firehose":
		parts = []string{"message", "publish", "record"}
	}
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(action, p) })
}
