// Package decide says what became of a call, from the code that the log gives:
// HTTP statuses, gRPC codes, CloudTrail error codes, Kubernetes audit answers.
//
// Each source has one function, and each function is a table. The package
// promises that a code which its tables do not know is unknown, never guessed.
// It cannot see whether an HTTP route exists: 404 and its like are no_effect
// here, and the pipeline makes them unknown where it finds no route.
package decide

import (
	"bytes"

	"github.com/scopedrift/scopedrift/schema"
)

// HTTP maps an HTTP status (RFC 9110 §15). Location is the target of a
// redirect where it is known: one that leads to a log-in page says that the
// caller was not authenticated. 404, 409, 410, 412 and 422 are no_effect, which
// holds on a known route only.
func HTTP(status int, location []byte) schema.Decision {
	switch {
	case status == 101: // switching protocols: the upgrade was granted
		return schema.DecisionAllowed
	case status >= 200 && status < 300:
		return schema.DecisionAllowed
	case status >= 300 && status < 400:
		if status != 304 && len(location) > 0 && loginPage(location) {
			return schema.DecisionUnauthenticated
		}
		return schema.DecisionAllowed
	case status >= 500 && status < 600:
		return schema.DecisionError
	}
	switch status {
	case 401, 407:
		return schema.DecisionUnauthenticated
	case 403:
		return schema.DecisionDenied
	case 404, 409, 410, 412, 422:
		return schema.DecisionNoEffect
	case 429:
		return schema.DecisionError
	}
	return schema.DecisionUnknown
}

// loginHosts are hosts that do nothing but log people in.
var loginHosts = [][]byte{
	[]byte("accounts.google.com"), []byte("login.microsoftonline.com"), []byte("login.microsoft.com"),
	[]byte("login.live.com"), []byte("login.windows.net"), []byte("signin.aws.amazon.com"),
}

// loginSegments are path segments that name a log-in page.
var loginSegments = [][]byte{
	[]byte("login"), []byte("log-in"), []byte("log_in"), []byte("signin"), []byte("sign-in"), []byte("sign_in"),
	[]byte("logon"), []byte("sso"), []byte("saml"), []byte("saml2"), []byte("authorize"), []byte("authn"),
	[]byte("openid-connect"), []byte("sign_on"), []byte("signon"), []byte("login.jsp"), []byte("login.html"),
	[]byte("login.php"), []byte("login.aspx"), []byte("login.do"), []byte("wp-login.php"),
}

// loginPairs are two segments in a row that name a log-in page only together.
var loginPairs = [][2][]byte{
	{[]byte("session"), []byte("new")}, {[]byte("sessions"), []byte("new")}, {[]byte("oauth2"), []byte("start")},
	{[]byte("oauth2"), []byte("auth")}, {[]byte("oauth2"), []byte("authorization")}, {[]byte("oauth"), []byte("auth")},
}

// loginPage reports whether a redirect target is a log-in page: by its host, or
// by a whole segment of its path. Queries are not looked at, since they often
// carry the place to return to.
func loginPage(location []byte) bool {
	if i := bytes.IndexAny(location, "?#"); i >= 0 {
		location = location[:i]
	}
	if i := bytes.Index(location, []byte("//")); i >= 0 {
		location = location[i+2:]
		host := location
		if slash := bytes.IndexByte(location, '/'); slash >= 0 {
			host, location = location[:slash], location[slash:]
		} else {
			location = nil
		}
		for _, h := range loginHosts {
			if bytes.EqualFold(h, host) {
				return true
			}
		}
	}
	var before []byte
	for len(location) > 0 {
		var segment []byte
		segment, location, _ = bytes.Cut(location, []byte("/"))
		if i := bytes.IndexByte(segment, ';'); i >= 0 {
			segment = segment[:i]
		}
		for _, s := range loginSegments {
			if bytes.EqualFold(s, segment) {
				return true
			}
		}
		for _, p := range loginPairs {
			if bytes.EqualFold(p[0], before) && bytes.EqualFold(p[1], segment) {
				return true
			}
		}
		before = segment
	}
	return false
}

// GRPC maps a gRPC status code (google.rpc.Code). The HTTP status of a gRPC
// call is 200 whatever happened and must not be asked.
func GRPC(code int) schema.Decision {
	switch code {
	case 0: // OK
		return schema.DecisionAllowed
	case 5, 6, 9, 10: // NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, ABORTED
		return schema.DecisionNoEffect
	case 7: // PERMISSION_DENIED
		return schema.DecisionDenied
	case 16: // UNAUTHENTICATED
		return schema.DecisionUnauthenticated
	case 4, 8, 13, 14, 15: // DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE, DATA_LOSS
		return schema.DecisionError
	}
	// CANCELLED, UNKNOWN, INVALID_ARGUMENT, OUT_OF_RANGE, UNIMPLEMENTED and
	// numbers that mean nothing.
	return schema.DecisionUnknown
}
