package pcap

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

// TestWhoCalls reads requests whose credential is not where it mostly is, in both
// versions of HTTP.
func TestWhoCalls(t *testing.T) {
	for _, c := range []struct {
		name, path string
		fields     []string
		kind       schema.CredentialKind
		quality    schema.Quality
	}{
		{"nothing", "/a", nil, schema.KindAnonymous, schema.QualityComplete},
		{"a token of no text", "/a", []string{"authorization", "Bearer "}, schema.KindAnonymous, schema.QualityComplete},
		{"a token that a script forgot", "/a", []string{"authorization", "Bearer undefined"}, schema.KindAnonymous, schema.QualityComplete},
		{"two credentials", "/a", []string{"authorization", "Bearer fake-1", "authorization", "Bearer fake-2"}, schema.KindAPIKey, schema.QualityGap},
		{"two certificates", "/a", []string{"x-forwarded-client-cert", "Hash=aa", "x-forwarded-client-cert", "Hash=bb"}, schema.KindMTLS, schema.QualityGap},
		{"one certificate twice", "/a", []string{"x-forwarded-client-cert", "Hash=aa", "x-forwarded-client-cert", "Hash=aa"}, schema.KindMTLS, schema.QualityComplete},
		{"two sessions", "/a", []string{"cookie", "session=fake-1; session=fake-2"}, schema.KindSessionCookie, schema.QualityGap},
		{"two sessions in pieces", "/a", []string{"cookie", "session=fake-1", "cookie", "session=fake-2"}, schema.KindSessionCookie, schema.QualityGap},
		{"two in the query", "/a?access_token=fake-1&access_token=fake-2", nil, schema.KindAPIKey, schema.QualityGap},
		{"in the query, its name in escapes", "/a?acc%65ss_token=fake-1", nil, schema.KindAPIKey, schema.QualityComplete},
		{"signed in the query", "/a?X-Amz-Credential=AKIAFAKE0000FAKE0000%2F20260101%2Feu%2Fs3%2Faws4_request&X-Amz-Signature=fake", nil, schema.KindCloudKey, schema.QualityComplete},
		{"a header that nobody knows", "/a", []string{"x-acme-token", "fake"}, schema.KindUnknown, schema.QualityComplete},
		{"a signature of a webhook", "/a", []string{"x-acme-signature", "fake"}, schema.KindUnknown, schema.QualityComplete},
		{"a proof against forgery", "/a", []string{"x-csrf-token", "fake"}, schema.KindAnonymous, schema.QualityComplete},
		{"a key of something else", "/a", []string{"idempotency-key", "fake"}, schema.KindAnonymous, schema.QualityComplete},
		{"a form", "/token", []string{"content-type", "application/x-www-form-urlencoded"}, schema.KindUnknown, schema.QualityComplete},
		{"a cookie that may be a session", "/a", []string{"cookie", "lang=en; .aspnetcore.cookies=fake-fake-fake-fake"}, schema.KindUnknown, schema.QualityComplete},
		{"cookies that are none", "/a", []string{"cookie", "lang=en; _ga=GA1.2.1234567890.1234567890"}, schema.KindAnonymous, schema.QualityComplete},
		{"another method", "/a", []string{"x-http-method-override", "DELETE"}, schema.KindAnonymous, schema.QualityGap},
		{"the same method again", "/a", []string{"x-http-method-override", "get"}, schema.KindAnonymous, schema.QualityComplete},
		{"a bot's token in the path", "/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/getMe", nil, schema.KindUnknown, schema.QualityComplete},
		{"a certificate that cannot be read", "/a", []string{"client-cert", ":AAAA:"}, schema.KindUnknown, schema.QualityComplete},
		{"a certificate's subject", "/a", []string{"ssl-client-subject-dn", "CN=made up"}, schema.KindMTLS, schema.QualityComplete},
	} {
		var head strings.Builder
		for i := 0; i < len(c.fields); i += 2 {
			fmt.Fprintf(&head, "%s: %s\r\n", c.fields[i], c.fields[i+1])
		}
		q, a := newSide2(), newSide2()
		q.head(1, true, get(c.path, c.fields...)...)
		q.head(3, true, get(c.path, c.fields...)...) // out of the table
		a.head(1, true, ":status", "200").head(3, true, ":status", "200")
		for name, s := range map[string]script{
			"http/1": {"GET " + c.path + " HTTP/1.1\r\nHost: a\r\n" + head.String() + "\r\n", a1},
			"http/2": {hello2 + q.turn(), a.turn()},
		} {
			sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, s.frames(1448))))
			for i := range sink.calls {
				if got := &sink.calls[i]; got.Credential.Kind != c.kind || got.Quality != c.quality {
					t.Errorf("%s, %s: %s %s, want %s %s", c.name, name, got.Credential.Kind, got.Quality, c.kind, c.quality)
				}
			}
		}
	}
}

// TestHandshakesOfConnections states that who was proven by a handshake (NTLM) is not
// anonymous later, and is nobody else.
func TestHandshakesOfConnections(t *testing.T) {
	refused := "HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n"
	s := script{"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n", refused,
		"GET /1 HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM RkFLRQ==\r\n\r\n", refused,
		"GET /1 HTTP/1.1\r\nHost: a\r\nAuthorization: ntlm RkFLRTI=\r\n\r\n", a1,
		"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n", a1,
		"GET /3 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer fake\r\n\r\n", a1}
	sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, s.frames(1448))))
	var got []string
	for i := range sink.calls {
		c := &sink.calls[i]
		got = append(got, c.Path+" "+c.Credential.Kind.String())
		if c.Credential.Kind == schema.KindUnknown && c.Credential.ID != "" {
			t.Errorf("a step of a handshake names %s", c.Credential.ID)
		}
	}
	if want := "/0 anonymous,/1 unknown,/1 unknown,/2 unknown,/3 api_key"; strings.Join(got, ",") != want {
		t.Errorf("got %s, want %s", strings.Join(got, ","), want)
	}
}
