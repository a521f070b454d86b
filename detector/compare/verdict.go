package compare

import "github.com/scopedrift/scopedrift/schema"

// VerdictOf turns what was decided about a call, and whether its credential
// held what it needs, into a verdict.
//
//   - denied is denied, whatever was held.
//   - allowed and no_effect with a held scope exercise it. That request and
//     answer belong together need not be certain: it only keeps a scope.
//   - allowed without the scope is beyond, if request and answer surely belong
//     together. A no_effect proves no access, so it is never beyond.
//   - everything else is unmapped: an unknown holding, an unknown decision, an
//     error (authorisation may not have been asked), and unauthenticated, which
//     says nothing about scopes and is never need.
func VerdictOf(d schema.Decision, certain bool, h Holding) schema.Verdict {
	switch {
	case d == schema.DecisionDenied:
		return schema.VerdictDenied
	case d.Authorised() && h == Holds:
		return schema.VerdictExercised
	case d == schema.DecisionAllowed && h == Lacks && certain:
		return schema.VerdictBeyond
	}
	return schema.VerdictUnmapped
}
