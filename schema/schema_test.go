package schema

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// fullCall has every field set, each to something that tells it apart.
func fullCall() Call {
	return Call{
		Time: time.Date(2026, 3, 2, 4, 11, 0, 123456000, time.UTC), ID: CallID{1, 2, 15: 0xff},
		Source: Source{Type: "envoy", Name: "a.log"}, Reporter: ReporterServer,
		Credential: Credential{
			Kind: KindOAuthClient, ID: "iss|azp", Issuer: "iss", Subject: "sub", Client: "azp", Instance: "jti", Session: "s",
			Groups: []string{"g"}, Verified: true,
		},
		Scopes: []string{"a", "b"}, PermissionsUsed: []string{"p"}, Decision: DecisionNoEffect, Policy: "policy",
		Service: "orders", Operation: "GET /o/{id}", RouteSource: RouteSpec, Method: "GET", Host: "h", Path: "/o/1",
		QueryKeys: []string{"q"}, Resource: "r", Status: 404, RequestBytes: 1, ResponseBytes: 2, DurationUS: 3,
		ClientAddress: netip.MustParseAddr("203.0.113.7"), PeerAddress: netip.MustParseAddr("2001:db8::1"), Workload: "w",
		UserAgent: "u", Tenant: "t", Environment: "e", RequestID: "rid", TraceID: "tid", ActorChain: []string{"x"}, Mints: "m",
		Quality: QualityGap,
	}
}

func TestCallJSON(t *testing.T) {
	call := fullCall()
	value := reflect.ValueOf(call)
	for i := range value.NumField() {
		if value.Field(i).IsZero() {
			t.Errorf("field %s is not set by the test", value.Type().Field(i).Name)
		}
	}
	text, err := json.Marshal(call)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"time":"2026-03-02T04:11:00.123456Z","id":"010200000000000000000000000000ff",` +
		`"source":{"type":"envoy","name":"a.log"},"reporter":"server",` +
		`"credential":{"kind":"oauth_client","id":"iss|azp","issuer":"iss","subject":"sub","client":"azp","instance":"jti","session":"s","groups":["g"],"verified":true},` +
		`"scopes":["a","b"],"permissions_used":["p"],"decision":"no_effect","policy":"policy","service":"orders","operation":"GET /o/{id}",` +
		`"route_source":"spec","method":"GET","host":"h","path":"/o/1","query_keys":["q"],"resource":"r","status":404,"request_bytes":1,` +
		`"response_bytes":2,"duration_us":3,"client_address":"203.0.113.7","peer_address":"2001:db8::1","workload":"w","user_agent":"u",` +
		`"tenant":"t","environment":"e","request_id":"rid","trace_id":"tid","actor_chain":["x"],"mints":"m","quality":"gap"}`
	if string(text) != want {
		t.Errorf("wrote\n%s\nwant\n%s", text, want)
	}
	var back Call
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, call) {
		t.Errorf("read back\n%+v\nwant\n%+v", back, call)
	}
}

func TestCallJSONTellsNoScopesFromEmpty(t *testing.T) {
	for _, test := range []struct {
		scopes []string
		want   string
	}{{nil, ""}, {[]string{}, `"scopes":[]`}} {
		text, err := json.Marshal(Call{Scopes: test.scopes})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"scopes"`) != (test.want != "") || !strings.Contains(string(text), test.want) {
			t.Errorf("scopes %#v became %s", test.scopes, text)
		}
		var back Call
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if (back.Scopes == nil) != (test.scopes == nil) {
			t.Errorf("scopes %#v were read back as %#v", test.scopes, back.Scopes)
		}
	}
}

// TestWords holds every enumeration to the words of the contract: none may be
// renamed, none may move, since numbers are stored.
func TestWords(t *testing.T) {
	for name, words := range map[string][2][]string{
		"credential kind": {credentialKindNames, strings.Fields("unknown anonymous api_key oauth_client user_token mtls service_account cloud_key role_session basic session_cookie")},
		"decision":        {decisionNames, strings.Fields("unknown allowed no_effect denied unauthenticated error")},
		"reporter":        {reporterNames, strings.Fields("gateway server audit client")},
		"route source":    {routeSourceNames, strings.Fields("none source spec rule learned")},
		"quality":         {qualityNames, strings.Fields("complete truncated gap orphan midstream unanswered")},
		"dialect":         {dialectNames, strings.Fields("flat wildcard iam kubernetes url")},
		"verdict":         {verdictNames, strings.Fields("unmapped exercised beyond denied dormant")},
		"severity":        {severityNames, strings.Fields("low medium high critical")},
		"status":          {statusNames, strings.Fields("open resolved suppressed")},
		"class":           {classNames[1:], strings.Fields("read write delete admin secret mint")},
	} {
		if !reflect.DeepEqual(words[0], words[1]) {
			t.Errorf("%s has the words %q, the contract has %q", name, words[0], words[1])
		}
	}
	var d Decision
	if err := d.UnmarshalText([]byte("permitted")); err == nil || !strings.Contains(err.Error(), "allowed") {
		t.Errorf("an unknown word gave %v, want an error that lists the known ones", err)
	}
	if got := Decision(77).String(); got != "unknown(77)" {
		t.Errorf("a number from the future is written %q", got)
	}
}

func TestPrincipalHash(t *testing.T) {
	p := Principal{Kind: KindAPIKey, ID: "ab", Issuer: "c"}
	if p.Hash() == (Principal{Kind: KindAPIKey, ID: "a", Issuer: "bc"}).Hash() {
		t.Error("fields that run together have one hash")
	}
	// Frozen: stores and topics are keyed by it.
	if got, want := p.Hash().String(), "6f2473cfa4b6466ca3d9b2eaf542bf3f"; got != want {
		t.Errorf("hash is %s, want %s", got, want)
	}
}

func TestGrantInForce(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2026, 1, d, 0, 0, 0, 0, time.UTC) }
	g := Grant{From: day(2), To: day(4)}
	for _, test := range []struct {
		at   time.Time
		want bool
	}{{day(2).Add(-1), false}, {day(2), true}, {day(4).Add(-1), true}, {day(4), false}} {
		if g.InForce(test.at) != test.want {
			t.Errorf("in force at %s: %t", test.at, !test.want)
		}
	}
	if !(&Grant{}).InForce(day(1)) {
		t.Error("an unbounded grant is not in force")
	}
}

func TestDay(t *testing.T) {
	d := DayOf(time.Date(2026, 10, 31, 23, 59, 59, 0, time.UTC))
	if d.String() != "2026-10-31" {
		t.Errorf("day is %s", d)
	}
}
