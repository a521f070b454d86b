package compare

import (
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

// TestHeldDenied holds "denied" to what is certain: a pattern of which a part
// may be left is not denied.
func TestHeldDenied(t *testing.T) {
	const services = `
services:
  - {name: shop, hosts: [shop], authority: idp}
  - {name: s3, hosts: [s3], authority: aws, scope_dialect: iam}
  - {name: k8s, hosts: [k8s], authority: prod, scope_dialect: kubernetes}
credentials:
  - id: x
    match: [{client: x}]
    grants:
      - `
	for _, test := range []struct {
		allow, deny string
		want        bool
	}{
		{"scopes: [a]", "scopes: [a]", true},
		{"scopes: [a]", "scopes: [b]", false},
		{"authority: idp, scopes: [a]", "scopes: [a]", true},
		{"scopes: [a]", "authority: idp, scopes: [a]", false},
		{"authority: idp, scopes: [a]", "authority: idp, scopes: [a], conditional: true", false},
		{"authority: idp, scopes: [a]", "authority: idp, scopes: [a], namespaces: [acme]", false},
		{"authority: idp, scopes: [a]", "authority: idp, scopes: [a], to: 2026-04-10", false},
		{"authority: idp, scopes: [a]", "authority: idp, scopes: [a], from: 2026-04-10", true},
		{"authority: idp, scopes: [a]", "authority: idp, except: [b]", true},
		{"authority: idp, except: [b]", "authority: idp, scopes: [a]", false},
		{"authority: aws, dialect: iam, scopes: ['s3:GetObject']", "authority: aws, dialect: iam, scopes: ['s3:Get*']", true},
		{"authority: aws, dialect: iam, scopes: ['s3:Get*']", "authority: aws, dialect: iam, scopes: ['s3:Get?']", false},
		{"authority: aws, dialect: iam, scopes: ['s3:Get*']", "authority: aws, dialect: iam, scopes: ['s3:GetObject']", false},
		{"authority: aws, dialect: iam, scopes: ['s3:Get*']", "authority: aws, dialect: iam, scopes: ['*']", true},
		{"authority: aws, dialect: iam, scopes: ['s3:GetObject']", "authority: aws, dialect: iam, scopes: ['s3:*'], resources: ['arn:aws:s3:::x/*']", false},
		{"authority: prod, dialect: kubernetes, scopes: [get pods]", "authority: prod, dialect: kubernetes, scopes: ['* *']", true},
		{"authority: prod, dialect: kubernetes, scopes: [get]", "authority: prod, dialect: kubernetes, scopes: [get pods]", false},
	} {
		cat := loadText(t, services+"{"+test.allow+"}\n      - {effect: deny, "+test.deny+"}\n")
		held := New(cat).Held(declaredAs(t, cat, "x"), nil, schema.Window{From: day("2026-04-01"), To: day("2026-05-01")})
		if len(held) != 1 || strings.HasPrefix(held[0].Scope, "not ") || held[0].Denied != test.want {
			t.Errorf("%s, but not %s: %+v, want denied %t", test.allow, test.deny, held, test.want)
		}
	}
}
