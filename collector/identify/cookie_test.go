package identify

import "testing"

// TestCookieOf picks the session of a header, and takes a bare value as it is:
// whoever changes the colours keeps the session.
func TestCookieOf(t *testing.T) {
	for field, want := range map[string]string{
		"": "", "session=FAKE1; theme=dark": "FAKE1", "theme=light; session=FAKE1; _ga=GA1.2.3": "FAKE1", "theme=light": "",
		"JSESSIONID=FAKE2.node1": "FAKE2.node1", "csrftoken=x": "", "FAKE3": "FAKE3", "RkFLRTQ=": "RkFLRTQ=", "RkFLRQ==": "RkFLRQ==",
		"theme=dark; auth_token=FAKE5": "FAKE5", "sid=\"FAKE6\"": "FAKE6",
	} {
		if got := string(CookieOf([]byte(field))); got != want {
			t.Errorf("CookieOf(%q) = %q, want %q", field, got, want)
		}
	}
}

// TestCookiesMayProve tells cookies that may be a session from those that are none.
func TestCookiesMayProve(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "theme=dark": false, "_ga=GA1.2.1234567890.1234567890": false, "csrftoken=FAKEFAKEFAKEFAKEFAKE": false, "lang=en; tz=Europe": false,
		"wordpress_logged_in_1=ann|1893456000|FAKEFAKE": true, "lang=en; .AspNetCore.Cookies=FAKEFAKEFAKEFAKE": true, "FAKEFAKEFAKEFAKEFAKE": false,
	} {
		if got := CookiesMayProve([]byte(header)); got != want {
			t.Errorf("CookiesMayProve(%q) = %v, want %v", header, got, want)
		}
	}
}

// TestSessionCookies states when it matters which of equal names is read.
func TestSessionCookies(t *testing.T) {
	for header, want := range map[string]bool{
		"session=a": false, "session=a; session=a": false, `session=a; session="a"`: false, "session=a; session=b": true,
		"token=a; token=b": true, "token=a; token=b; session=c": false, "theme=a; theme=b; sid=c": false, "session=a; session2=b": false,
	} {
		if _, got := SessionCookies([]byte(header)); got != want {
			t.Errorf("SessionCookies(%q) = %v, want %v", header, got, want)
		}
	}
}
