package identify

import (
	"bytes"
	"encoding/base64"
	"reflect"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

func TestParseJWT(t *testing.T) {
	claims := `{"iss":"https://i","azp":"c","sub":"s","aud":["a","b"],"jti":"j","iat":1700000000,"exp":1700003600.5,
		"scope":"r w","scp":["x"],"roles":"admin,ops","permissions":["p:1"],"act":{"sub":"svc-a","iss":"i2","act":{"sub":"svc-b"}},
		"cnf":{"x5t#S256":"thumb"},"SUB":"not this","gty":"client-credentials","idtyp":"app","preferred_username":"service-account-c"}`
	c, h, ok := ParseJWT(secret(jwt(`{"alg":"RS256","kid":"k","typ":"at+jwt"}`, claims)))
	want := Claims{
		Issuer: []byte("https://i"), AuthorizedParty: []byte("c"), Subject: []byte("s"), Audience: list("a", "b"), ID: []byte("j"),
		IssuedAt: 1700000000, Expires: 1700003600, Scopes: list("r", "w", "x", "admin", "ops", "p:1"), ScopesPresent: true,
		Actors: list("i2|svc-a", "svc-b"), Confirmation: []byte("thumb"), GrantType: []byte("client-credentials"), IDType: []byte("app"),
		Username: []byte("service-account-c"),
	}
	if !ok || !reflect.DeepEqual(c, want) {
		t.Errorf("claims\n got %+v\nwant %+v", c, want)
	}
	if string(h.Algorithm) != "RS256" || string(h.KeyID) != "k" || string(h.Type) != "at+jwt" || !h.Signed {
		t.Errorf("header %+v", h)
	}
	enc := base64.RawURLEncoding.EncodeToString
	body := enc([]byte(`{"sub":"s"}`))
	for name, tt := range map[string]struct {
		token      string
		ok, signed bool
		algorithm  string
	}{
		"alg none":         {enc([]byte(`{"alg":"none"}`)) + "." + body + ".", true, false, "none"},
		"two parts":        {enc([]byte(`{"alg":"none"}`)) + "." + body, true, false, "none"},
		"padded":           {base64.URLEncoding.EncodeToString([]byte(`{"alg":"x"}`)) + "." + body + ".s", true, true, "x"},
		"white space":      {" " + enc([]byte(`{ "alg":"x"}`)) + "." + body + ".s\n", true, true, "x"},
		"empty":            {"", false, false, ""},
		"dots":             {"..", false, false, ""},
		"encrypted":        {enc([]byte(`{"alg":"dir","enc":"A256GCM"}`)) + "..a.b.c", false, false, ""},
		"no object":        {enc([]byte(`[]`)) + "." + body, false, false, ""},
		"null":             {enc([]byte(`null`)) + "." + body, false, false, ""},
		"body not JSON":    {enc([]byte(`{}`)) + "." + enc([]byte("x")), false, false, ""},
		"body cut":         {enc([]byte(`{}`)) + "." + body[:len(body)-3], false, false, ""},
		"not Base64":       {enc([]byte(`{}`)) + ".%%%", false, false, ""},
		"opaque with dots": {"mF_9.B5f-4.1JqM", false, false, ""},
		"too long":         {enc([]byte(`{}`)) + "." + strings.Repeat("A", maxToken), false, false, ""},
	} {
		_, h, ok := ParseJWT(secret(tt.token))
		if ok != tt.ok || h.Signed != tt.signed || string(h.Algorithm) != tt.algorithm {
			t.Errorf("%s: ok %v, header %+v; want %+v", name, ok, h, tt)
		}
	}
	for claims, want := range map[string]Claims{
		`{}`:                                   {},
		`{"scope":""}`:                         {ScopesPresent: true},
		`{"scope":null}`:                       {},
		`{"scope":[]}`:                         {ScopesPresent: true},
		`{"scope":"a  b"}`:                     {ScopesPresent: true, Scopes: list("a", "b")},
		`{"scope":{"a":1}}`:                    {ScopesPresent: true},
		`{"sub":7}`:                            {Subject: []byte("7")},
		`{"sub":{"a":1},"aud":"x"}`:            {Audience: list("x")},
		`{"sub":"a","sub":"b"}`:                {Subject: []byte("b")},
		`{"appid":"a","cid":"b","uti":"u"}`:    {ClientID: []byte("a"), ID: []byte("u")},
		`{"exp":-1,"iat":"1700000000"}`:        {IssuedAt: 1700000000},
		`{"exp":1e400}`:                        {},
		`{"act":"x"}`:                          {},
		`{"act":{"act":{"sub":"x"}}}`:          {},
		`{"cnf":{"jkt":"x"}}`:                  {Confirmation: []byte("x")},
		`{"permissions":["a",1,null,{"b":2}]}`: {ScopesPresent: true, Scopes: list("a", "1")},
	} {
		if got, _, ok := ParseJWT(secret(jwt(`{"alg":"x"}`, claims))); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: ok %v,\n got %+v\nwant %+v", claims, ok, got, want)
		}
	}
	deep := strings.Repeat(`{"act":`, 100) + `1` + strings.Repeat(`}`, 100)
	for range 100 {
		deep = `{"sub":"x","act":` + deep + `}`
	}
	if c, _, ok := ParseJWT(secret(jwt(`{}`, deep))); ok && len(c.Actors) > maxActors {
		t.Errorf("%d actors, want at most %d", len(c.Actors), maxActors)
	}
}

func TestParseXFCC(t *testing.T) {
	for header, want := range map[string][]XFCCElement{
		`Hash=ab`: {{Hash: []byte("ab")}},
		`By=spiffe://m/p;Hash=ab;URI=spiffe://m/c`: {{By: list("spiffe://m/p"), Hash: []byte("ab"), URI: list("spiffe://m/c")}},
		`hash=ab; subject="CN=a,OU=b;c=\"d\""; dns=x.example;DNS=y.example`: {
			{Hash: []byte("ab"), Subject: []byte(`CN=a,OU=b;c="d"`), DNS: list("x.example", "y.example")}},
		`Hash=a;URI=u1;URI=u2,Hash=b;Subject=""`:                            {{Hash: []byte("a"), URI: list("u1", "u2")}, {Hash: []byte("b")}},
		`Hash=a, Hash=b ,Hash=c`:                                            {{Hash: []byte("a")}, {Hash: []byte("b")}, {Hash: []byte("c")}},
		`Hash=a;Cert="-----BEGIN%20CERTIFICATE-----%0AFAKE%3D";Chain="x,y"`: {{Hash: []byte("a")}},
		`Subject="CN=a";`:                                                   {{Subject: []byte("CN=a")}},
		`URI=http://h/a?b=c`:                                                {{URI: list("http://h/a?b=c")}},
		`Unknown=x;Hash=a`:                                                  {{Hash: []byte("a")}},
		`By=a;By=b;URI=x,URI=y`:                                             {{By: list("a", "b"), URI: list("x")}, {URI: list("y")}},
	} {
		got, err := ParseXFCC([]byte(header))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: error %v,\n got %+v\nwant %+v", header, err, got, want)
		}
	}
	for header, want := range map[string]error{
		"": errXFCCNone, " , ;": errXFCCNone, "Hash": errXFCCPair, "Hash;URI=x": errXFCCPair, `Subject="CN=a`: errXFCCQuote, `Subject="CN=a\"`: errXFCCQuote,
		`Subject="a"b`: errXFCCQuote, `Cert="x"`: errXFCCNone, `Hash=`: errXFCCNone, strings.Repeat("Hash=a,", 40): errXFCCMany,
		strings.Repeat("a", maxXFCC+1): errXFCCLong,
	} {
		if got, err := ParseXFCC([]byte(header)); err != want {
			t.Errorf("%.40s: %+v, error %v; want %v", header, got, err, want)
		}
	}
}

func TestParseARN(t *testing.T) {
	a, ok := ParseARN([]byte("arn:aws-us-gov:sts:us-east-1:123456789012:assumed-role/ci/a:b/c"))
	if !ok || string(a.Partition) != "aws-us-gov" || string(a.Region) != "us-east-1" || string(a.Resource) != "assumed-role/ci/a:b/c" {
		t.Errorf("%+v, %v", a, ok)
	}
	role, session, ok := a.AssumedRole()
	if !ok || string(role) != "arn:aws-us-gov:iam::123456789012:role/ci" || string(session) != "ci/a:b/c" {
		t.Errorf("role %s, session %s, %v", role, session, ok)
	}
	for _, bad := range []string{"", "arn", "arn:aws:iam::1", "arn:aws:iam::1:", "arn::iam::1:x", "ARN:aws:iam::1:x", "x arn:aws:iam::1:y"} {
		if _, ok := ParseARN([]byte(bad)); ok {
			t.Errorf("%q is an ARN", bad)
		}
	}
	for _, bad := range []string{"arn:aws:iam::1:role/x", "arn:aws:sts::1:assumed-role/", "arn:aws:sts::1:federated-user/x"} {
		a, _ := ParseARN([]byte(bad))
		if _, _, ok := a.AssumedRole(); ok {
			t.Errorf("%q is an assumed role", bad)
		}
	}
}

func TestParseAuthorization(t *testing.T) {
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	long := strings.Repeat("FAKE", 6)
	for _, tt := range []struct {
		value, scheme      string
		kind               schema.CredentialKind
		name, issuer, want string
	}{
		{"", "", schema.KindUnknown, "", "", ""},
		{"   ", "", schema.KindUnknown, "", "", ""},
		{"FAKE", "", schema.KindAPIKey, "", "", "FAKE"},
		{"Bearer FAKE", "bearer", schema.KindAPIKey, "", "", "FAKE"},
		{"BEARER   FAKE ", "bearer", schema.KindAPIKey, "", "", "FAKE"},
		{"DPoP FAKE", "dpop", schema.KindAPIKey, "", "", "FAKE"},
		{"token FAKE", "token", schema.KindAPIKey, "", "", "FAKE"},
		{`Token token="FAKE", x=1`, "token", schema.KindAPIKey, "", "", "FAKE"},
		{"SSWS FAKE", "ssws", schema.KindAPIKey, "", "", "FAKE"},
		{basic("ann:FAKE"), "basic", schema.KindBasic, "ann", "", ""},
		{basic("ann:"), "basic", schema.KindBasic, "ann", "", ""},
		{basic("ann:a:b"), "basic", schema.KindBasic, "ann", "", ""},
		{strings.TrimRight(basic("ann:FAK"), "="), "basic", schema.KindBasic, "ann", "", ""},
		{basic(long + ":"), "basic", schema.KindAPIKey, "", "", long},
		{basic(long + ":x-oauth-basic"), "basic", schema.KindAPIKey, "", "", long},
		{basic("x-access-token:" + long), "basic", schema.KindAPIKey, "", "", long},
		{basic(":" + long), "basic", schema.KindBasic, "", "", basic(":" + long)},
		{basic("token:FAKE"), "basic", schema.KindBasic, "token", "", ""},
		{"Basic %%%", "basic", schema.KindBasic, "", "", "Basic %%%"},
		{basic("nocolon"), "basic", schema.KindBasic, "", "", basic("nocolon")},
		{`Digest username="ann", realm="r,x", response="FAKE"`, "digest", schema.KindBasic, "ann", "r,x", ""},
		{`Digest realm="r", Username=ann`, "digest", schema.KindBasic, "ann", "r", ""},
		{`Digest username="ann`, "digest", schema.KindBasic, "", "", `Digest username="ann`},
		{"AWS4-HMAC-SHA256 Credential=AKIAFAKE0000FAKE0000/d/r/s/aws4_request, SignedHeaders=host, Signature=FAKE", "aws4-hmac-sha256", schema.KindCloudKey, "AKIAFAKE0000FAKE0000", "", ""},
		{"AWS4-HMAC-SHA256 Credential=ASIAFAKE0000FAKE0000/d,SignedHeaders=host,Signature=FAKE", "aws4-hmac-sha256", schema.KindRoleSession, "ASIAFAKE0000FAKE0000", "", ""},
		{"AWS AKIAFAKE0000FAKE0000:FAKE", "aws", schema.KindCloudKey, "AKIAFAKE0000FAKE0000", "", ""},
		{"GOOG4-RSA-SHA256 Credential=sa@p.iam.gserviceaccount.com/d/auto/storage/goog4_request, Signature=FAKE", "goog4-rsa-sha256", schema.KindServiceAccount, "sa@p.iam.gserviceaccount.com", "", ""},
		{`Signature keyId="k1",algorithm="x",signature="FAKE"`, "signature", schema.KindAPIKey, "k1", "", ""},
		{`Hawk id="h1", mac="FAKE"`, "hawk", schema.KindAPIKey, "h1", "", ""},
		{`OAuth oauth_consumer_key="c1", oauth_token="FAKE"`, "oauth", schema.KindOAuthClient, "c1", "", ""},
		{"OAuth FAKE", "oauth", schema.KindAPIKey, "", "", "FAKE"},
		{"Negotiate FAKE", "negotiate", schema.KindUnknown, "", "", "Negotiate FAKE"},
		{"Bearer\tFAKE", "bearer", schema.KindAPIKey, "", "", "FAKE"},
		{"Bearer", "", schema.KindUnknown, "", "", ""},
		{"Bearer ", "", schema.KindUnknown, "", "", ""},
		{"Bearer undefined", "bearer", schema.KindUnknown, "", "", ""},
		{"null", "", schema.KindUnknown, "", "", ""},
		{"SharedKey account1:FAKE=", "sharedkey", schema.KindAPIKey, "account1", "", ""},
		{"SharedKey FakeAccount:FAKE=", "sharedkey", schema.KindUnknown, "", "", "SharedKey FakeAccount:FAKE="},
		{"AWS4-HMAC-SHA256 Credential=" + secretForID + "/d/r/s/aws4_request, Signature=FAKE", "aws4-hmac-sha256", schema.KindCloudKey, "", "", secretForID},
		{"hmac key-1:FAKE", "hmac", schema.KindUnknown, "", "", "hmac key-1:FAKE"},
		{`hmac username="ann", algorithm="hmac-sha256", signature="FAKE"`, "hmac", schema.KindAPIKey, "ann", "", ""},
		{"TC3-HMAC-SHA256 Credential=AKIDFAKE0000FAKE/2026-01-01/cvm/tc3_request, SignedHeaders=host, Signature=FAKE", "tc3-hmac-sha256", schema.KindCloudKey, "AKIDFAKE0000FAKE", "", ""},
		{"Turbo FAKE", "other", schema.KindUnknown, "", "", "Turbo FAKE"},
	} {
		a := ParseAuthorization(secret(tt.value))
		if a.Scheme != tt.scheme || a.Kind != tt.kind || string(a.Name) != tt.name || string(a.Issuer) != tt.issuer || string(a.Token.Reveal()) != tt.want {
			t.Errorf("%s: scheme %s kind %v name %q issuer %q token %q; want %+v", tt.value, a.Scheme, a.Kind, a.Name, a.Issuer, a.Token.Reveal(), tt)
		}
	}
}

func FuzzParseJWT(f *testing.F) {
	for _, seed := range []string{"", "a.b.c", rawJWT, jwt(`{"alg":"none"}`, `{"act":{"sub":"x"}}`), "e30.e30", "e30.e30."} {
		f.Add([]byte(seed))
	}
	i := New(testKey)
	f.Fuzz(func(t *testing.T, token []byte) {
		before := bytes.Clone(token)
		c, _, ok := ParseJWT(secret(string(token)))
		if !ok && !reflect.DeepEqual(c, Claims{}) {
			t.Fatalf("claims %+v of what is no token", c)
		}
		if len(c.Scopes) > maxScopes || len(c.Actors) > maxActors {
			t.Fatalf("%d scopes, %d actors", len(c.Scopes), len(c.Actors))
		}
		identifyAll(t, i, &Evidence{Authorization: secret("Bearer " + string(token)), Complete: true})
		if !bytes.Equal(before, token) {
			t.Fatal("the token was changed")
		}
	})
}

func FuzzParseXFCC(f *testing.F) {
	for _, seed := range []string{"", `By=a;Hash=b;URI=c,Hash=d`, `Subject="CN=a,O=\"b\"";DNS=x`, `Cert="x"`, `Hash=a;`, `,`, `="`} {
		f.Add([]byte(seed))
	}
	i := New(testKey)
	f.Fuzz(func(t *testing.T, header []byte) {
		elements, err := ParseXFCC(header)
		if (err == nil) == (len(elements) == 0) {
			t.Fatalf("%d elements, error %v", len(elements), err)
		}
		if len(elements) > maxXFCCElements {
			t.Fatalf("%d elements", len(elements))
		}
		identifyAll(t, i, &Evidence{XFCC: header})
	})
}

func FuzzParseARN(f *testing.F) {
	for _, seed := range []string{"", session, role, "arn:aws:iam::1:root", "arn:aws:sts::1:federated-user/x", "arn::::::"} {
		f.Add([]byte(seed), []byte("AssumedRole"))
	}
	i := New(testKey)
	f.Fuzz(func(t *testing.T, arn, kind []byte) {
		if a, ok := ParseARN(arn); ok {
			again := bytes.Join([][]byte{[]byte("arn"), a.Partition, a.Service, a.Region, a.Account, a.Resource}, []byte(":"))
			if !bytes.Equal(again, arn) {
				t.Fatalf("%q became %q", arn, again)
			}
			a.AssumedRole()
		}
		identifyAll(t, i, &Evidence{Cloud: Cloud{Type: kind, ARN: arn, PrincipalID: arn, IssuerARN: arn}})
	})
}

func FuzzParseAuthorization(f *testing.F) {
	for _, seed := range []string{
		"", "Bearer x", "Basic YTpi", `Digest username="a"`, "AWS4-HMAC-SHA256 Credential=AKIAFAKE0000FAKE0000/x", "AWS a:b", "Basic ====", `Hawk id="`, "OAuth a=", "x",
	} {
		f.Add([]byte(seed))
	}
	i := New(testKey)
	f.Fuzz(func(t *testing.T, value []byte) {
		a := ParseAuthorization(secret(string(value)))
		if len(a.Name) > 0 && !a.Token.Empty() {
			t.Fatalf("name %q and a token", a.Name)
		}
		if len(bytes.TrimSpace(value)) > 0 && len(a.Name) == 0 && a.Token.Empty() && a.Scheme != "bearer" && len(value) > 32 {
			t.Fatalf("%q gives neither name nor token", value)
		}
		identifyAll(t, i, &Evidence{Authorization: secret(string(value)), Complete: true})
	})
}

// identifyAll holds the laws of any answer: the same evidence, the same answer;
// a name where there is a kind; no name that never ends.
func identifyAll(t *testing.T, i *Identifier, ev *Evidence) {
	t.Helper()
	var first, second, fresh Identity
	i.Identify(ev, &first)
	i.Identify(ev, &second)
	New(testKey).Identify(ev, &fresh)
	if !reflect.DeepEqual(first, second) || !reflect.DeepEqual(first, fresh) {
		t.Fatalf("answers differ:\n%+v\n%+v\n%+v", first, second, fresh)
	}
	if shared := i.Shared(ev); !reflect.DeepEqual(first, *shared) {
		t.Fatalf("the shared answer differs:\n%+v\n%+v", first, *shared)
	}
	c := first.Credential
	if c.Kind != schema.KindUnknown && c.Kind != schema.KindAnonymous && c.ID == "" {
		t.Fatalf("kind %v without a name", c.Kind)
	}
	for _, s := range append([]string{c.ID, c.Issuer, c.Subject, c.Client, c.Instance, c.Session, first.Workload}, first.Scopes...) {
		if len(s) > 3*maxNameSize {
			t.Fatalf("a name of %d bytes", len(s))
		}
	}
}

// secretForID is the secret where its id should be.
const secretForID = "FakeK3yFakeK3yFakeK3yFakeK3yFakeK3yFakeK"
