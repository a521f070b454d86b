package redact

import (
	"bytes"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/collector/redact/redacttest"
)

// seeds are inputs that the fuzz targets start from.
var seeds = []string{
	"", "/", "a=b", "password=", "password=[redacted]", "token: [redacted]", "/a;sid={redacted}", "Bearer [redacted]x", "Bearer ", "://@", "//@",
	"a:b@c", "https://a:b@c@d/e", "%", "%4", "%41", "%25%34%31", `\x`, `\u0041`, `\\\\"`, "-----BEGIN", "-----BEGIN X-----END", `"key": ["a","b]`, `{"token":"a\"b`,
	"eyJhbGciOiJub25lIn0", "arn:aws:iam::1:role/x", "[redacted][redacted]", "x[redacted", "key=aaaaaaaaaaaaaaaa1", "/sid/1/token/2", "=", ":", "@", "\x00", "\xff=\xfe",
	"user:pass1@h", "cookie: a", "Digest a=b", "%2525252525", "/T00000000/B00000000/x", "bot123456:x", "a/b/c+d/e=", "IQoJb3JpZ2lu/////////x",
}

// checkLaws holds for any input: scrubbing ends, changes nothing when done
// again, does not lengthen beyond its marks, and reads no byte that is not there.
func checkLaws(t *testing.T, s *Scrubber, in []byte) {
	t.Helper()
	before := bytes.Clone(in)
	once := bytes.Clone(s.Text(in))
	if !bytes.Equal(in, before) {
		t.Fatalf("Text changed its input %q", before)
	}
	if twice := s.Text(once); !bytes.Equal(once, twice) {
		t.Fatalf("Text(%q) = %q, and then %q", in, once, twice)
	}
	if len(once) > len(textMark)*(len(in)+1) {
		t.Fatalf("Text lengthens %d bytes to %d", len(in), len(once))
	}
	path, query := s.Target(in)
	path = bytes.Clone(path)
	if !bytes.Equal(in, before) {
		t.Fatalf("Target changed its input %q", before)
	}
	if len(query) > maxQueryNames {
		t.Fatalf("%d query names", len(query))
	}
	for _, name := range query {
		if len(name) == 0 || len(name) > maxQueryName {
			t.Fatalf("query name %q", name)
		}
	}
	if bytes.IndexByte(path, '?') >= 0 || bytes.IndexByte(path, '#') >= 0 {
		t.Fatalf("path %q of %q has a query", path, in)
	}
	if len(path) > 0 && path[0] == '/' {
		if again, _ := s.Target(path); !bytes.Equal(again, path) {
			t.Fatalf("Target(%q) = %q, and then %q", in, path, again)
		}
	}
	for _, m := range []mode{modePath, modeText, modeName} {
		checkFilter(t, s, in, m)
	}
	s.QueryCredential(in)
	s.Host(in)
	s.Clean(in)
}

// checkFilter holds the filter to letting nothing pass that the rules would
// find.
func checkFilter(t *testing.T, s *Scrubber, in []byte, m mode) {
	t.Helper()
	if s.suspicious(in, m) {
		return
	}
	f := finder{mode: m}
	f.set(in, hasEscape(in))
	f.find()
	for _, span := range f.spans {
		found := f.text[span.start:span.end]
		if m == modePath && span.rule == ruleRandom && bytes.IndexByte(found, '/') >= 0 {
			continue // over segments the filter asks for noise on both sides of a slash
		}
		if !bytes.Equal(found, textMark) && !bytes.Equal(found, pathMark) {
			t.Fatalf("the filter passes %q (mode %d), in which rule %s finds %q", in, m, ruleNames[span.rule], found)
		}
	}
}

func TestLaws(t *testing.T) {
	s := NewScrubber(nil)
	for _, a := range seeds {
		for _, b := range seeds {
			checkLaws(t, s, []byte(a+b))
			checkLaws(t, s, []byte("/"+a+" "+b))
		}
	}
	for _, c := range redacttest.Canaries(t) {
		for _, a := range seeds {
			checkLaws(t, s, []byte(a+c.Secret+a))
		}
	}
}

// TestOverlong holds time and memory to the length of the input.
func TestOverlong(t *testing.T) {
	s := NewScrubber(nil)
	for _, unit := range []string{"a", "=", ":", "%25", "/", "/sid/", "token=", "eyJ", "Bearer ", "@", "://", `\\`, `"`, "-----BEGIN", "a/B1", "[", "]=", "arn:", "1:"} {
		start := time.Now()
		long := bytes.Repeat([]byte(unit), 1<<18/len(unit))
		s.Text(long)
		s.Target(long)
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("%q, repeated to %d bytes, takes %v", unit, len(long), d)
		}
	}
}

// alike reports whether text holds as much as four characters of the secret by
// itself: what is found afterwards may then be its own.
func alike(secret string, text []byte) bool {
	text = decodeAll(text)
	for i := 0; i+4 <= len(secret); i++ {
		if bytes.Contains(text, []byte(secret[i:i+4])) {
			return true
		}
	}
	return false
}

func FuzzText(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed), 0, 0)
	}
	list := redacttest.Canaries(f)
	s := NewScrubber(nil)
	f.Fuzz(func(t *testing.T, in []byte, pick, at int) {
		checkLaws(t, s, in)
		c := list[uint(pick)%uint(len(list))]
		if c.Place != "any" {
			return
		}
		// A border stands on either side: a secret that begins within a word is
		// only found by the names and shapes that need none.
		cut := int(uint(at) % uint(len(in)+1))
		borders := []string{" ", "\n", "\t", `"`, "<", ">"}
		border := borders[uint(pick+at)%uint(len(borders))]
		planted := append(append(bytes.Clone(in[:cut]), border+c.Secret+border...), in[cut:]...)
		if left := survivor(c.Secret, s.Text(planted)); left != "" && !alike(c.Secret, in) {
			t.Fatalf("%s: %q is left of %q: %q", c.Name, left, planted, s.Text(planted))
		}
	})
}

func FuzzTarget(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte("/"+seed), 0, 0)
	}
	list := redacttest.Canaries(f)
	s := NewScrubber(nil)
	f.Fuzz(func(t *testing.T, in []byte, pick, at int) {
		checkLaws(t, s, in)
		c := list[uint(pick)%uint(len(list))]
		if c.Place != "any" && c.Place != "path" {
			return
		}
		cut := int(uint(at) % uint(len(in)+1))
		planted := append(append(bytes.Clone(in[:cut]), "/"+c.Secret+"/"...), in[cut:]...)
		path, query := s.Target(planted)
		out := append(append(bytes.Clone(path), ' '), bytes.Join(query, []byte(" "))...)
		if left := survivor(c.Secret, out); left != "" && !alike(c.Secret, in) {
			t.Fatalf("%s: %q is left of %q: %q", c.Name, left, planted, out)
		}
	})
}

func BenchmarkClean(b *testing.B) {
	s := NewScrubber(nil)
	for _, bb := range []struct{ name, text string }{
		{"path60", "/api/v1/namespaces/default/pods/orders/status/of/the/service"},
		{"uuid", "/orders/550e8400-e29b-41d4-a716-446655440000/items/12345678"},
		{"pod", "/api/v1/namespaces/default/pods/payments-api-7d9f8b6c5d-x2x7k"},
		{"agent60", "Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0.0.0 Safari/537"},
		{"host", "payments.prod.svc.cluster.local:8080"},
		{"arn", "arn:aws:iam::123456789012:role/service-role/ci-deployer"},
	} {
		text := []byte(bb.text)
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if text[0] == '/' {
					s.Target(text)
				} else {
					s.Text(text)
				}
			}
		})
	}
}

func BenchmarkDirty(b *testing.B) {
	s := NewScrubber(nil)
	target := []byte("/a/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.FAKEsigFAKEsig/b?access_token=FAKE&x=1")
	b.ReportAllocs()
	for b.Loop() {
		s.Target(target)
	}
}

// BenchmarkSum is the keyed digest of a log line, beside plain SHA-256.
func BenchmarkSum(b *testing.B) {
	k := NewKey([keySize]byte{1})
	line := bytes.Repeat([]byte("x"), 900)
	b.ReportAllocs()
	for b.Loop() {
		k.Sum("call", line)
	}
}
