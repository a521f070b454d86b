package decide

import (
	"bytes"

	"github.com/scopedrift/scopedrift/schema"
)

// Kubernetes maps an audit record. Code is responseStatus.code, 0 if absent;
// annotation is authorization.k8s.io/decision; reason is responseStatus's
// reason and message, or as much of them as the log has.
//
// The annotation speaks first: authorisation happened as it says. What follows
// after an "allow" (admission, storage) can refuse the call too: a quota is an
// error, any other refusal has no effect, since the right was there and needed.
func Kubernetes(code int, annotation, reason []byte) schema.Decision {
	switch {
	case code == 401:
		return schema.DecisionUnauthenticated
	case bytes.Equal(annotation, []byte("forbid")):
		return schema.DecisionDenied
	}
	allowed := bytes.Equal(annotation, []byte("allow"))
	switch {
	case code == 101, code >= 200 && code < 400:
		return schema.DecisionAllowed
	case code == 0 && allowed:
		// A stream's first stage, or an answer that was not logged: the
		// authorizer's word is all there is, and it is clear.
		return schema.DecisionAllowed
	case code == 429, code >= 500 && code < 600:
		return schema.DecisionError
	case code == 403:
		return forbidden(allowed, reason)
	case code == 404, code == 409, code == 410, code == 412, code == 422:
		return schema.DecisionNoEffect
	case code >= 400 && allowed:
		// Authorised, then found malformed: the right was needed all the same.
		return schema.DecisionNoEffect
	}
	return schema.DecisionUnknown
}

// forbidden tells apart who said 403: the authorizer, a quota, or admission.
func forbidden(allowed bool, reason []byte) schema.Decision {
	for _, quota := range [...]string{"exceeded quota", "failed quota", "insufficient quota"} {
		if contains(reason, quota) {
			return schema.DecisionError
		}
	}
	for _, authorizer := range [...]string{"cannot impersonate", "forbidden: User ", "is attempting to grant RBAC permissions"} {
		if contains(reason, authorizer) {
			return schema.DecisionDenied
		}
	}
	for _, admission := range [...]string{
		"admission webhook", "denied the request", "violates PodSecurity", "unable to validate against any",
		"ValidatingAdmissionPolicy", "because it is being terminated", "is forbidden: error looking up service account",
		"node selector", "LimitRange", "usage per Container", "usage per Pod",
	} {
		if contains(reason, admission) {
			return schema.DecisionNoEffect
		}
	}
	if allowed {
		return schema.DecisionNoEffect
	}
	return schema.DecisionDenied
}

func contains(text []byte, part string) bool { return bytes.Contains(text, []byte(part)) }
