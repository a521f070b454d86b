package identify

import (
	"testing"

	"github.com/scopedrift/scopedrift/collector/redact"
)

// TestTokensOfOneClient: tokens differ in their ids only, and whatever order
// they come in, each call has its own.
func TestTokensOfOneClient(t *testing.T) {
	i := New(redact.NewKey([32]byte{3}))
	ask := func(id string) (out Identity) {
		ev := Evidence{JWT: Claims{Issuer: []byte("https://idp.example.com"), AuthorizedParty: []byte("ci"), ID: []byte(id)}}
		i.Identify(&ev, &out)
		return out
	}
	const secret = "AKIAIOSFODNN7EXAMPLE+ghp_0123456789abcdefghijABCDEFGHIJ012345"
	for range 2 {
		for _, id := range []string{"one", "two", "", "one", secret, "two", secret, "caf\xe9"} {
			want := New(redact.NewKey([32]byte{3}))
			ev := Evidence{JWT: Claims{Issuer: []byte("https://idp.example.com"), AuthorizedParty: []byte("ci"), ID: []byte(id)}}
			var fresh Identity
			want.Identify(&ev, &fresh)
			got := ask(id)
			if got.Credential.Instance != fresh.Credential.Instance || got.Credential.ID != fresh.Credential.ID {
				t.Errorf("%q is %+v, to one who never saw another token %+v", id, got.Credential, fresh.Credential)
			}
			if id != secret && id != "caf\xe9" && got.Credential.Instance != id {
				t.Errorf("%q has the instance %q", id, got.Credential.Instance)
			}
			if id == secret && got.Credential.Instance == secret {
				t.Error("a secret is an instance")
			}
		}
	}
	if n := i.Flaws()["secret_in_name"]; n != 4 {
		t.Errorf("%d ids with secrets are counted, want 4", n)
	}
}
