package detector

import (
	"cmp"

	"github.com/scopedrift/scopedrift/schema"
)

// Order compares two findings for the order in which they are shown: the
// gravest first, then by code, credential, object (service, operation, tenant,
// scope, session) and id.
func Order(a, b *schema.Finding) int {
	return cmp.Or(
		cmp.Compare(b.Severity, a.Severity),
		cmp.Compare(a.Code, b.Code),
		cmp.Compare(a.Credential.ID, b.Credential.ID),
		cmp.Compare(a.Service, b.Service),
		cmp.Compare(a.Operation, b.Operation),
		cmp.Compare(a.Tenant, b.Tenant),
		cmp.Compare(a.Scope, b.Scope),
		cmp.Compare(a.Session, b.Session),
		cmp.Compare(a.ID, b.ID),
	)
}
