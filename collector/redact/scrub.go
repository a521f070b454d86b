package redact

// rule numbers the reasons for which something is removed.
type rule uint8

const (
	ruleLong rule = iota
	ruleCount
)

var ruleNames = [ruleCount]string{"long_token"}

// Scrubber removes secrets from request targets and free text, and counts what
// it removed by rule. It is not safe for use by several goroutines: make one
// for each.
type Scrubber struct {
	key    *Key
	counts [ruleCount]uint64
	out    []byte
}

// NewScrubber returns a scrubber for one goroutine.
func NewScrubber(k *Key) *Scrubber { return &Scrubber{key: k} }

// Counts returns how often each rule removed something.
func (s *Scrubber) Counts() map[string]uint64 {
	counts := make(map[string]uint64, len(s.counts))
	for r, n := range s.counts {
		if n > 0 {
			counts[ruleNames[r]] = n
		}
	}
	return counts
}

// Text returns free text (a user agent, a policy, a resource, a name) without
// its secrets: text itself where there are none, else a buffer that is valid
// until the next call of Text or Host.
func (s *Scrubber) Text(text []byte) []byte { return s.crude(text, "[redacted]") }

// Host returns a host as logs and headers show it, without user information
// and without secrets. What it returns is valid as long as that of Text.
func (s *Scrubber) Host(host []byte) []byte { return s.Text(host) }

// Target splits a request target in origin, absolute or authority form. Path
// has its secrets replaced by "{redacted}"; query holds the names of the query
// parameters, each once, never their values. Both are valid until the next call
// of Target.
func (s *Scrubber) Target(target []byte) (path []byte, query [][]byte) {
	for i, c := range target {
		if c == '?' || c == '#' {
			target = target[:i]
			break
		}
	}
	return s.crude(target, "{redacted}"), nil
}

// QueryCredential returns the credential that a target's query carries, and the
// name of its parameter: api_key, access_token, sig and their like. Both alias
// target.
func (s *Scrubber) QueryCredential(target []byte) (name []byte, value Secret) { return nil, Secret{} }

func (s *Scrubber) crude(text []byte, mark string) []byte {
	run := 0
	for _, c := range text {
		if c == '/' || c == ' ' {
			run = 0
		} else if run++; run > 40 || c == '=' || c == '@' {
			s.out = append(s.out[:0], mark...)
			return s.out
		}
	}
	return text
}
