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

// TestNothingIsTakenFromBeside states that whoever proves himself by a header cannot pass
// for another by what he puts beside it.
func TestNothingIsTakenFromBeside(t *testing.T) {
	victim := jwt(`{"alg":"none"}`, `{"iss":"https://idp.example","azp":"victim","sub":"victim"}`)
	for name, ev := range map[string]Evidence{
		"a token and a cookie":          {Authorization: secret("Bearer FAKE"), SessionCookie: secret(victim)},
		"a token and a key":             {Authorization: secret("Bearer FAKE"), APIKey: secret(victim)},
		"a token and a query":           {Authorization: secret("Bearer FAKE"), QueryName: []byte("access_token"), Query: secret(victim)},
		"a token and a signed query":    {Authorization: secret("Bearer FAKE"), QueryName: []byte("x-amz-credential"), Query: secret("AKIAFAKE0000FAKE0000/d/r")},
		"a user and a cookie":           {Authorization: secret("Basic YW5uOkZBS0U="), SessionCookie: secret(victim)},
		"a user and a signed query":     {Authorization: secret("Digest username=\"ann\""), QueryName: []byte("awsaccesskeyid"), Query: secret("AKIAFAKE0000FAKE0000")},
		"a token and a certificate":     {Authorization: secret("Bearer FAKE"), ClientSubject: []byte("CN=victim")},
		"a key and a cookie":            {APIKey: secret("FAKE"), SessionCookie: secret(victim)},
		"an unknown scheme and a query": {Authorization: secret("Turbo FAKE"), Query: secret(victim), QueryName: []byte("access_token")},
	} {
		var beside, alone Identity
		New(testKey).Identify(&ev, &beside)
		ev = Evidence{Authorization: ev.Authorization, APIKey: ev.APIKey}
		if !ev.Authorization.Empty() {
			ev.APIKey = secret("")
		}
		New(testKey).Identify(&ev, &alone)
		if beside.Credential.ID != alone.Credential.ID || beside.Credential.Kind != alone.Credential.Kind {
			t.Errorf("%s: %+v, alone %+v", name, beside.Credential, alone.Credential)
		}
	}
	// Where no header proves anything, the others do.
	for name, ev := range map[string]Evidence{
		"a cookie":              {SessionCookie: secret(victim)},
		"a query and a cookie":  {QueryName: []byte("code"), Query: secret("FAKE"), SessionCookie: secret(victim)},
		"no token and a cookie": {Authorization: secret("Bearer undefined"), SessionCookie: secret(victim)},
	} {
		var out Identity
		if New(testKey).Identify(&ev, &out); out.Credential.ID != "https://idp.example|victim" {
			t.Errorf("%s: %+v", name, out.Credential)
		}
	}
}
