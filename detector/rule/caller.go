package rule

import (
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// The kinds of caller, as the catalogue has them.
const (
	callerService    = "service"
	callerAgent      = "agent"
	callerCI         = "ci"
	callerThirdParty = "third_party"
	callerHuman      = "human"
)

// CallerKind says who calls with the credential: service, agent, ci, third_party
// or human, as the catalogue declares it, or empty where nobody can tell.
// inferred says that it was read off the calls instead: people sign in, machines
// hold keys, and a few issuers give tokens to build jobs only. That a caller is
// an agent or a third party no call shows.
func (s *Subject) CallerKind() (kind string, inferred bool) {
	if s.Declared != nil && s.Declared.Kind != "" {
		return s.Declared.Kind, false
	}
	for i := range s.Principals {
		one := callerOf(&s.Principals[i].Principal)
		if one == "" || kind != "" && one != kind {
			// Two kinds behind one name, or one that tells nothing: no guess.
			return "", true
		}
		kind = one
	}
	return kind, true
}

// callerOf infers from one principal.
func callerOf(p *schema.Principal) string {
	switch {
	case buildJob(p):
		return callerCI
	case p.Kind == schema.KindRoleSession:
		// People assume roles, too: the names of roles that a directory of
		// people hands out are the provider's own.
		if strings.Contains(p.ID, "AWSReservedSSO_") {
			return callerHuman
		}
		return ""
	case p.Kind.Machine():
		return callerService
	case p.Kind == schema.KindUserToken, p.Kind == schema.KindSessionCookie:
		return callerHuman
	}
	return ""
}

// buildIssuers give tokens to build jobs and to nobody else.
var buildIssuers = []string{"token.actions.githubusercontent.com", "oidc.circleci.com", "agent.buildkite.com"}

// buildJob reports whether a principal is a build job: its issuer serves only
// those, or the subject is of the form that GitLab writes for them.
func buildJob(p *schema.Principal) bool {
	host := strings.TrimPrefix(strings.TrimPrefix(p.Issuer, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	return slices.Contains(buildIssuers, host) || strings.HasPrefix(p.Subject, "project_path:")
}

// callerReason says in a finding who calls, and where that is known from.
func (s *Subject) callerReason() string {
	switch kind, inferred := s.CallerKind(); {
	case kind == "":
		return "who calls with it, a service or a person, is not known"
	case inferred:
		return "it is used by a " + callerWord(kind) + ", as its kind of credential tells (inferred, not declared)"
	default:
		return "it is declared as used by a " + callerWord(kind)
	}
}

func callerWord(kind string) string {
	switch kind {
	case callerCI:
		return "build job"
	case callerThirdParty:
		return "third party"
	case callerHuman:
		return "person"
	}
	return kind
}
