package identify

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

var testKey = redact.NewKey([32]byte{1, 2, 3})

func secret(s string) redact.Secret { return redact.NewSecret([]byte(s)) }

func list(names ...string) (l [][]byte) {
	for _, n := range names {
		l = append(l, []byte(n))
	}
	return l
}

// jwt makes an unsigned token of a header and claims.
func jwt(header, claims string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".FAKEsig"
}

func print(kind schema.CredentialKind, s string) string {
	return testKey.Fingerprint(kind.String(), secret(s))
}

const (
	role    = "arn:aws:iam::123456789012:role/deploy/ci"
	session = "arn:aws:sts::123456789012:assumed-role/ci/run-7"
)

var (
	verifiedJWT = Claims{Issuer: []byte("https://idp.example"), AuthorizedParty: []byte("ci"), Subject: []byte("ci"), ID: []byte("j1"),
		Scopes: list("a", "b"), ScopesPresent: true}
	rawJWT = jwt(`{"alg":"RS256"}`, `{"iss":"https://idp.example","azp":"web","sub":"ann","jti":"j2","scope":"read write"}`)
)

var cases = []struct {
	name string
	ev   Evidence
	want Identity
}{
	{"nothing in a log", Evidence{}, Identity{}},
	{"nothing in a capture", Evidence{Complete: true}, Identity{Credential: schema.Credential{Kind: schema.KindAnonymous}}},
	{"key id", Evidence{KeyID: []byte("k-1"), APIClient: []byte("app")},
		Identity{Credential: schema.Credential{Kind: schema.KindAPIKey, ID: "k-1", Client: "app", Verified: true}}},
	{"key id beside a token", Evidence{KeyID: []byte("k-1"), JWT: verifiedJWT},
		Identity{Credential: schema.Credential{Kind: schema.KindAPIKey, ID: "k-1", Subject: "ci", Verified: true}, Scopes: []string{"a", "b"}}},

	{"client's own token", Evidence{JWT: verifiedJWT},
		Identity{Credential: schema.Credential{Kind: schema.KindOAuthClient, ID: "https://idp.example|ci", Issuer: "https://idp.example",
			Subject: "ci", Client: "ci", Instance: "j1", Verified: true}, Scopes: []string{"a", "b"}}},
	{"token and certificate", Evidence{JWT: verifiedJWT, PeerURISAN: []byte("spiffe://mesh/ns/shop/sa/web"), PeerFingerprint: []byte("AA:BB")},
		Identity{Credential: schema.Credential{Kind: schema.KindOAuthClient, ID: "https://idp.example|ci", Issuer: "https://idp.example",
			Subject: "ci", Client: "ci", Instance: "j1", Verified: true}, Scopes: []string{"a", "b"}, Workload: "spiffe://mesh/ns/shop/sa/web"}},
	{"client_id without subject", Evidence{JWT: Claims{Issuer: []byte("i"), ClientID: []byte("c")}},
		Identity{Credential: schema.Credential{Kind: schema.KindOAuthClient, ID: "i|c", Issuer: "i", Client: "c", Verified: true}}},
	{"user through a client", Evidence{JWT: Claims{Issuer: []byte("i"), AuthorizedParty: []byte("web"), Subject: []byte("ann")}},
		Identity{Credential: schema.Credential{Kind: schema.KindUserToken, ID: "i|web", Issuer: "i", Client: "web", Subject: "ann", Verified: true}}},
	{"client credentials say so", Evidence{JWT: Claims{Issuer: []byte("i"), AuthorizedParty: []byte("c"), Subject: []byte("0f0f"), IDType: []byte("app")}},
		Identity{Credential: schema.Credential{Kind: schema.KindOAuthClient, ID: "i|c", Issuer: "i", Client: "c", Subject: "0f0f", Verified: true}}},
	{"service account user", Evidence{JWT: Claims{Issuer: []byte("i"), AuthorizedParty: []byte("c"), Subject: []byte("0f0f"), Username: []byte("service-account-c")}},
		Identity{Credential: schema.Credential{Kind: schema.KindOAuthClient, ID: "i|c", Issuer: "i", Client: "c", Subject: "0f0f", Verified: true}}},
	{"client at clients", Evidence{JWT: Claims{Issuer: []byte("i"), AuthorizedParty: []byte("c"), Subject: []byte("c@clients")}},
		Identity{Credential: schema.Credential{Kind: schema.KindOAuthClient, ID: "i|c", Issuer: "i", Client: "c", Subject: "c@clients", Verified: true}}},
	{"token without client", Evidence{JWT: Claims{Issuer: []byte("i"), Subject: []byte("ann"), ScopesPresent: true}},
		Identity{Credential: schema.Credential{Kind: schema.KindUserToken, ID: "i|ann", Issuer: "i", Subject: "ann", Verified: true}, Scopes: []string{}}},
	{"cluster's token", Evidence{JWT: Claims{Issuer: []byte("https://kubernetes.default.svc"), Subject: []byte("system:serviceaccount:ci:deployer")}},
		Identity{Credential: schema.Credential{Kind: schema.KindServiceAccount, ID: "https://kubernetes.default.svc|system:serviceaccount:ci:deployer",
			Issuer: "https://kubernetes.default.svc", Subject: "system:serviceaccount:ci:deployer", Verified: true}}},
	{"actors", Evidence{JWT: Claims{Issuer: []byte("i"), AuthorizedParty: []byte("a"), Subject: []byte("ann"), Actors: list("svc-b", "svc-c")}},
		Identity{Credential: schema.Credential{Kind: schema.KindUserToken, ID: "i|a", Issuer: "i", Client: "a", Subject: "ann", Verified: true},
			ActorChain: []string{"svc-b", "svc-c"}}},
	{"only a token id", Evidence{JWT: Claims{ID: []byte("j")}}, Identity{}},
	{"raw token", Evidence{Authorization: secret("Bearer " + rawJWT)},
		Identity{Credential: schema.Credential{Kind: schema.KindUserToken, ID: "https://idp.example|web", Issuer: "https://idp.example",
			Subject: "ann", Client: "web", Instance: "j2"}, Scopes: []string{"read", "write"}}},
	{"raw token in the query", Evidence{QueryName: []byte("access_token"), Query: secret(strings.ReplaceAll(rawJWT, ".", "%2E"))},
		Identity{Credential: schema.Credential{Kind: schema.KindUserToken, ID: "https://idp.example|web", Issuer: "https://idp.example",
			Subject: "ann", Client: "web", Instance: "j2"}, Scopes: []string{"read", "write"}}},
	{"opaque bearer", Evidence{Authorization: secret("bearer FAKEopaque")},
		Identity{Credential: schema.Credential{Kind: schema.KindAPIKey, ID: print(schema.KindAPIKey, "FAKEopaque")}}},
	{"the same as API key", Evidence{APIKey: secret("FAKEopaque")},
		Identity{Credential: schema.Credential{Kind: schema.KindAPIKey, ID: print(schema.KindAPIKey, "FAKEopaque")}}},
	{"the same in the query", Evidence{QueryName: []byte("key"), Query: secret("FAKE%6fpaque")},
		Identity{Credential: schema.Credential{Kind: schema.KindAPIKey, ID: print(schema.KindAPIKey, "FAKEopaque")}}},
	{"session cookie", Evidence{SessionCookie: secret("FAKE")},
		Identity{Credential: schema.Credential{Kind: schema.KindSessionCookie, ID: print(schema.KindSessionCookie, "FAKE")}}},
	{"session in the query", Evidence{QueryName: []byte("sid"), Query: secret("FAKE")},
		Identity{Credential: schema.Credential{Kind: schema.KindSessionCookie, ID: print(schema.KindSessionCookie, "FAKE")}}},
	{"unknown scheme", Evidence{Authorization: secret("Turbo FAKE")},
		Identity{Credential: schema.Credential{Kind: schema.KindUnknown, ID: print(schema.KindUnknown, "Turbo FAKE")}}},
	{"basic", Evidence{Authorization: secret("Basic " + base64.StdEncoding.EncodeToString([]byte("ann:FAKE")))},
		Identity{Credential: schema.Credential{Kind: schema.KindBasic, ID: "ann"}}},
	{"basic user of a log", Evidence{BasicUser: []byte("ann")}, Identity{Credential: schema.Credential{Kind: schema.KindBasic, ID: "ann", Verified: true}}},
	{"signed request", Evidence{Authorization: secret("AWS4-HMAC-SHA256 Credential=AKIAFAKE0000FAKE0000/20261101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=FAKE")},
		Identity{Credential: schema.Credential{Kind: schema.KindCloudKey, ID: "AKIAFAKE0000FAKE0000"}}},
	{"presigned request", Evidence{QueryName: []byte("x-amz-credential"), Query: secret("ASIAFAKE0000FAKE0000%2F20261101%2Fus-east-1")},
		Identity{Credential: schema.Credential{Kind: schema.KindRoleSession, ID: "ASIAFAKE0000FAKE0000", Instance: "ASIAFAKE0000FAKE0000"}}},

	{"API client in a mesh", Evidence{APIClient: []byte("kiosk"), PeerURISAN: []byte("spiffe://mesh/ns/edge/sa/ingress")},
		Identity{Credential: schema.Credential{Kind: schema.KindAPIKey, ID: "kiosk", Verified: true}, Workload: "spiffe://mesh/ns/edge/sa/ingress"}},
	{"certificate before opaque token", Evidence{Authorization: secret("Bearer FAKE"), PeerURISAN: []byte("spiffe://mesh/a")},
		Identity{Credential: schema.Credential{Kind: schema.KindMTLS, ID: "spiffe://mesh/a", Verified: true}, Workload: "spiffe://mesh/a"}},
	{"certificate with several URIs", Evidence{PeerURISAN: []byte("https://a.example, spiffe://mesh/a"), PeerFingerprint: []byte("AB:CD")},
		Identity{Credential: schema.Credential{Kind: schema.KindMTLS, ID: "spiffe://mesh/a", Instance: "abcd", Verified: true}, Workload: "spiffe://mesh/a"}},
	{"certificate's hash", Evidence{PeerFingerprint: []byte("ABCD"), PeerSubject: []byte("CN=ci")},
		Identity{Credential: schema.Credential{Kind: schema.KindMTLS, ID: "abcd", Instance: "abcd", Subject: "CN=ci", Verified: true}}},
	{"certificate's subject", Evidence{PeerSubject: []byte("CN=ci")},
		Identity{Credential: schema.Credential{Kind: schema.KindMTLS, ID: "CN=ci", Subject: "CN=ci", Verified: true}}},
	{"XFCC", Evidence{XFCC: []byte(`By=spiffe://mesh/p;Hash=0a;URI=spiffe://mesh/far,By=spiffe://mesh/q;Hash=0B;Subject="CN=n,O=x";URI=spiffe://mesh/near`)},
		Identity{Credential: schema.Credential{Kind: schema.KindMTLS, ID: "spiffe://mesh/near", Instance: "0b"}, Workload: "spiffe://mesh/near",
			ActorChain: []string{"spiffe://mesh/far"}}},
	{"XFCC that is broken", Evidence{XFCC: []byte(`Subject="CN=`)}, Identity{}},

	{"service account", Evidence{Kubernetes: Kubernetes{User: []byte("system:serviceaccount:ci:deployer"), Groups: list("system:authenticated"),
		CredentialID: []byte("JTI=0f"), Pod: []byte("deployer-1"), Node: []byte("n1")}},
		Identity{Credential: schema.Credential{Kind: schema.KindServiceAccount, ID: "system:serviceaccount:ci:deployer", Instance: "0f",
			Groups: []string{"system:authenticated"}, Verified: true}, Workload: "ci/deployer-1"}},
	{"user with a certificate", Evidence{Kubernetes: Kubernetes{User: []byte("admin"), CredentialID: []byte("X509SHA256=ab")}},
		Identity{Credential: schema.Credential{Kind: schema.KindMTLS, ID: "admin", Instance: "ab", Verified: true}}},
	{"node", Evidence{Kubernetes: Kubernetes{User: []byte("system:node:n1")}},
		Identity{Credential: schema.Credential{Kind: schema.KindMTLS, ID: "system:node:n1", Verified: true}}},
	{"component", Evidence{Kubernetes: Kubernetes{User: []byte("system:kube-scheduler")}},
		Identity{Credential: schema.Credential{Kind: schema.KindServiceAccount, ID: "system:kube-scheduler", Verified: true}}},
	{"user of a cluster", Evidence{Kubernetes: Kubernetes{User: []byte("ann"), Node: []byte("n1")}},
		Identity{Credential: schema.Credential{Kind: schema.KindUserToken, ID: "ann", Verified: true}, Workload: "node/n1"}},
	{"anonymous", Evidence{Kubernetes: Kubernetes{User: []byte("system:anonymous"), Groups: list("system:unauthenticated")}},
		Identity{Credential: schema.Credential{Kind: schema.KindAnonymous, ID: "system:anonymous", Groups: []string{"system:unauthenticated"}}}},
	{"impersonation", Evidence{Kubernetes: Kubernetes{User: []byte("admin"), Groups: list("system:masters"), CredentialID: []byte("X509SHA256=ab"),
		Impersonated: []byte("ann"), ImpersonatedGroups: list("dev")}},
		Identity{Credential: schema.Credential{Kind: schema.KindUserToken, ID: "ann", Groups: []string{"dev"}, Verified: true}, ActorChain: []string{"admin"}}},

	{"IAM user by key", Evidence{Cloud: Cloud{Type: []byte("IAMUser"), ARN: []byte("arn:aws:iam::123456789012:user/ann"), AccountID: []byte("123456789012"),
		AccessKey: []byte("AKIAFAKE0000FAKE0000"), UserName: []byte("ann"), InvokedBy: []byte("cloudformation.amazonaws.com")}},
		Identity{Credential: schema.Credential{Kind: schema.KindCloudKey, ID: "AKIAFAKE0000FAKE0000", Issuer: "123456789012",
			Subject: "arn:aws:iam::123456789012:user/ann", Verified: true},
			Workload: "cloudformation.amazonaws.com", ActorChain: []string{"cloudformation.amazonaws.com"}}},
	{"IAM user at the console", Evidence{Cloud: Cloud{Type: []byte("IAMUser"), ARN: []byte("arn:aws:iam::123456789012:user/ann"), AccessKey: []byte("ASIAFAKE0000FAKE0000")}},
		Identity{Credential: schema.Credential{Kind: schema.KindUserToken, ID: "arn:aws:iam::123456789012:user/ann", Issuer: "123456789012",
			Instance: "ASIAFAKE0000FAKE0000", Verified: true}}},
	{"role session", Evidence{Cloud: Cloud{Type: []byte("AssumedRole"), ARN: []byte(session), AccountID: []byte("123456789012"), AccessKey: []byte("ASIAFAKE0000FAKE0000"),
		PrincipalID: []byte("AROAFAKE:run-7"), IssuerARN: []byte(role), IssuerType: []byte("Role"), SourceIdentity: []byte("ann")}},
		Identity{Credential: schema.Credential{Kind: schema.KindRoleSession, ID: role, Issuer: "123456789012", Instance: "ASIAFAKE0000FAKE0000",
			Session: "ci/run-7", Verified: true}, ActorChain: []string{"ann"}}},
	{"role session without issuer", Evidence{Cloud: Cloud{Type: []byte("AssumedRole"), ARN: []byte(session)}},
		Identity{Credential: schema.Credential{Kind: schema.KindRoleSession, ID: "arn:aws:iam::123456789012:role/ci", Issuer: "123456789012",
			Session: "ci/run-7", Verified: true}}},
	{"role session by principal", Evidence{Cloud: Cloud{Type: []byte("AssumedRole"), PrincipalID: []byte("AROAFAKE:run-7"), AccountID: []byte("1")}},
		Identity{Credential: schema.Credential{Kind: schema.KindRoleSession, ID: "AROAFAKE", Issuer: "1", Session: "run-7", Verified: true}}},
	{"role session by issuer and principal", Evidence{Cloud: Cloud{Type: []byte("AssumedRole"), PrincipalID: []byte("AROAFAKE:run-7"), IssuerARN: []byte(role)}},
		Identity{Credential: schema.Credential{Kind: schema.KindRoleSession, ID: role, Session: "ci/run-7", Verified: true}}},
	{"root by key", Evidence{Cloud: Cloud{Type: []byte("Root"), ARN: []byte("arn:aws:iam::1:root"), AccessKey: []byte("AKIAFAKE0000FAKE0000")}},
		Identity{Credential: schema.Credential{Kind: schema.KindCloudKey, ID: "AKIAFAKE0000FAKE0000", Issuer: "1", Subject: "arn:aws:iam::1:root", Verified: true}}},
	{"root at the console", Evidence{Cloud: Cloud{Type: []byte("Root"), AccountID: []byte("1")}},
		Identity{Credential: schema.Credential{Kind: schema.KindUserToken, ID: "arn:aws:iam::1:root", Issuer: "1", Verified: true}}},
	{"federated user", Evidence{Cloud: Cloud{Type: []byte("FederatedUser"), ARN: []byte("arn:aws:sts::1:federated-user/ann"), IssuerARN: []byte("arn:aws:iam::1:user/portal"),
		AccessKey: []byte("ASIAFAKE0000FAKE0000")}},
		Identity{Credential: schema.Credential{Kind: schema.KindRoleSession, ID: "arn:aws:iam::1:user/portal", Issuer: "1", Subject: "arn:aws:sts::1:federated-user/ann",
			Instance: "ASIAFAKE0000FAKE0000", Session: "federated-user/ann", Verified: true}}},
	{"SAML user", Evidence{Cloud: Cloud{Type: []byte("SAMLUser"), PrincipalID: []byte("q:ann"), UserName: []byte("ann"), Provider: []byte("q")}},
		Identity{Credential: schema.Credential{Kind: schema.KindUserToken, ID: "q|ann", Issuer: "q", Subject: "ann", Verified: true}}},
	{"web identity of a pod", Evidence{Cloud: Cloud{Type: []byte("WebIdentityUser"), UserName: []byte("system:serviceaccount:a:b"), Provider: []byte("arn:aws:iam::1:oidc-provider/x")}},
		Identity{Credential: schema.Credential{Kind: schema.KindServiceAccount, ID: "arn:aws:iam::1:oidc-provider/x|system:serviceaccount:a:b",
			Issuer: "arn:aws:iam::1:oidc-provider/x", Subject: "system:serviceaccount:a:b", Verified: true}}},
	{"AWS service", Evidence{Cloud: Cloud{Type: []byte("AWSService"), InvokedBy: []byte("ec2.amazonaws.com")}},
		Identity{Credential: schema.Credential{Kind: schema.KindServiceAccount, ID: "ec2.amazonaws.com", Verified: true}, Workload: "ec2.amazonaws.com"}},
	{"other account's role", Evidence{Cloud: Cloud{Type: []byte("AWSAccount"), PrincipalID: []byte("AROAFAKE:run"), AccountID: []byte("2")}},
		Identity{Credential: schema.Credential{Kind: schema.KindRoleSession, ID: "AROAFAKE", Issuer: "2", Session: "run", Verified: true}}},
	{"other account's user", Evidence{Cloud: Cloud{Type: []byte("AWSAccount"), PrincipalID: []byte("AIDAFAKE"), AccountID: []byte("2")}},
		Identity{Credential: schema.Credential{Kind: schema.KindUserToken, ID: "AIDAFAKE", Issuer: "2", Verified: true}}},
	{"other account", Evidence{Cloud: Cloud{Type: []byte("AWSAccount"), AccountID: []byte("2")}},
		Identity{Credential: schema.Credential{Kind: schema.KindUnknown, ID: "2", Issuer: "2", Verified: true}}},
	{"identity centre", Evidence{Cloud: Cloud{Type: []byte("IdentityCenterUser"), AccountID: []byte("1"), PrincipalID: []byte("p")}},
		Identity{Credential: schema.Credential{Kind: schema.KindUserToken, ID: "p", Issuer: "1", Verified: true}}},
	{"new type", Evidence{Cloud: Cloud{Type: []byte("NewThing"), ARN: []byte(session)}},
		Identity{Credential: schema.Credential{Kind: schema.KindRoleSession, ID: "arn:aws:iam::123456789012:role/ci", Issuer: "123456789012", Session: "ci/run-7", Verified: true}}},
	{"no type, a service", Evidence{Cloud: Cloud{InvokedBy: []byte("s3.amazonaws.com")}},
		Identity{Credential: schema.Credential{Kind: schema.KindServiceAccount, ID: "s3.amazonaws.com", Verified: true}, Workload: "s3.amazonaws.com"}},
	{"unknown type alone", Evidence{Cloud: Cloud{Type: []byte("Unknown")}}, Identity{}},

	{"secret as a name", Evidence{APIClient: []byte("AIzaSyFAKE0000000000000000000000000000")},
		Identity{Credential: schema.Credential{Kind: schema.KindAPIKey, ID: print2("AIzaSyFAKE0000000000000000000000000000"), Verified: true}}},
	{"endless name", Evidence{APIClient: []byte(strings.Repeat("n", 10_000))},
		Identity{Credential: schema.Credential{Kind: schema.KindAPIKey, ID: print2(strings.Repeat("n", 10_000)), Verified: true}}},
}

func print2(s string) string { return testKey.Fingerprint("name", secret(s)) }

func TestIdentify(t *testing.T) {
	i := New(testKey)
	for round := range 2 { // the second answers from memory
		for _, tt := range cases {
			out := Identity{Scopes: []string{"left over"}, Workload: "left over"}
			i.Identify(&tt.ev, &out)
			if !reflect.DeepEqual(out, tt.want) {
				t.Errorf("%s (round %d):\n got %+v\nwant %+v", tt.name, round, out, tt.want)
			}
		}
	}
	if f := i.Flaws(); f["malformed_xfcc"] != 2 || f["secret_in_name"] != 4 || len(f) != 2 {
		t.Errorf("flaws %v, want one broken XFCC and two names a round", f)
	}
}

// TestIdentifyMemory fills the memory several times over: answers stay the
// same, and memory stays bounded.
func TestIdentifyMemory(t *testing.T) {
	i := New(testKey)
	var out Identity
	for n := range 5 * maxKnown {
		ev := Evidence{KeyID: fmt.Appendf(nil, "k-%d", n%(3*maxKnown))}
		i.Identify(&ev, &out)
		if want := string(ev.KeyID); out.Credential.ID != want {
			t.Fatalf("id %q, want %q", out.Credential.ID, want)
		}
	}
	if n := len(i.known.young) + len(i.known.previous); n > 2*maxKnown {
		t.Errorf("%d answers are remembered, want at most %d", n, 2*maxKnown)
	}
	ev := cases[5].ev
	i.Identify(&ev, &out)
	if n := testing.AllocsPerRun(100, func() { i.Identify(&ev, &out) }); n != 0 {
		t.Errorf("a known credential costs %v allocations, want 0", n)
	}
}

// TestNoSecretComesOut looks for secrets in everything that identity says.
func TestNoSecretComesOut(t *testing.T) {
	i := New(testKey)
	for _, needle := range []string{
		"FAKEneedleFAKE", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.FAKE", "ghp_FAKE0000fakeFAKE0000fakeFAKE0000fake", "sk_live_FAKE0000fakeFAKE",
	} {
		basic := base64.StdEncoding.EncodeToString([]byte("ann:" + needle))
		key := base64.StdEncoding.EncodeToString([]byte(needle + ":"))
		evs := []Evidence{
			{Authorization: secret("Bearer " + needle)}, {Authorization: secret(needle)}, {Authorization: secret("Basic " + basic)}, {Authorization: secret("Basic " + needle)},
			{Authorization: secret(`Digest username="ann", response="` + needle + `"`)}, {Authorization: secret("Negotiate " + needle)}, {APIKey: secret(needle)},
			{SessionCookie: secret(needle)}, {QueryName: []byte("key"), Query: secret(needle)}, {QueryName: []byte("x-amz-credential"), Query: secret("/" + needle)},
		}
		if strings.Contains(needle, "_") || strings.HasPrefix(needle, "ey") {
			name := []byte(needle)
			evs = append(evs, Evidence{KeyID: name}, Evidence{APIClient: name}, Evidence{BasicUser: name}, Evidence{JWT: Claims{Issuer: name, Subject: name, AuthorizedParty: name, ID: name, Actors: [][]byte{name},
				Scopes: [][]byte{name}}}, Evidence{PeerURISAN: name}, Evidence{PeerSubject: name}, Evidence{XFCC: []byte("URI=" + needle + ";Hash=" + needle)}, Evidence{Kubernetes: Kubernetes{User: name, Groups: [][]byte{name}, Pod: name, CredentialID: name}},
				Evidence{Cloud: Cloud{ARN: name, UserName: name, PrincipalID: name, AccessKey: name, InvokedBy: name, SourceIdentity: name}}, Evidence{Authorization: secret("Basic " + key)})
		}
		for n, ev := range evs {
			var out Identity
			i.Identify(&ev, &out)
			text, err := json.Marshal(out)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), needle) || strings.Contains(string(text), basic) || strings.Contains(string(text), needle[8:]) {
				t.Errorf("evidence %d: %s", n, text)
			}
		}
	}
}

func BenchmarkIdentify(b *testing.B) {
	i := New(testKey)
	var out Identity
	for _, bb := range []struct {
		name string
		ev   Evidence
	}{
		{"claims", Evidence{JWT: verifiedJWT, PeerURISAN: []byte("spiffe://mesh/ns/shop/sa/web"), PeerFingerprint: []byte(strings.Repeat("ab", 32))}},
		{"token", Evidence{Authorization: secret("Bearer " + rawJWT + strings.Repeat("s", 600)), Complete: true}},
		{"cloud", cases[len(cases)-15].ev},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				i.Identify(&bb.ev, &out)
			}
		})
	}
	b.Run("new token", func(b *testing.B) {
		token := []byte("Bearer " + rawJWT + strings.Repeat("s", 600))
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			copy(token[len(token)-10:], fmt.Appendf(nil, "%010d", n))
			ev := Evidence{Authorization: redact.NewSecret(token)}
			i.Identify(&ev, &out)
		}
	})
}
