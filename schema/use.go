package schema

import "time"

// Day is a day of UTC, counted from 1970-01-01.
type Day uint16

// DayOf returns the day that t lies in.
func DayOf(t time.Time) Day { return Day(t.Unix() / 86400) }

// Start returns the first instant of the day.
func (d Day) Start() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// String returns the day as 2006-01-02.
func (d Day) String() string { return d.Start().Format(time.DateOnly) }

// Window is a half-open span of time, [From, To); a zero bound is open.
type Window struct {
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

// Contains reports whether t lies in the window.
func (w Window) Contains(t time.Time) bool {
	return (w.From.IsZero() || !t.Before(w.From)) && (w.To.IsZero() || t.Before(w.To))
}

// Use is calls folded by what makes them equal for a verdict: facts only.
// First, Last and the days decide; Calls never does.
type Use struct {
	Principal   Principal
	Service     string
	Operation   string
	Tenant      string
	Decision    Decision
	Reporter    Reporter
	RouteSource RouteSource
	// Certain says that request and answer surely belong together.
	Certain bool
	// Scopes and Groups were presented by every call of this use; Scopes is
	// nil where none were carried.
	Scopes []string
	Groups []string
	First  time.Time
	Last   time.Time
	Calls  uint64
}

// Verdict is a use judged against the grant.
type Verdict uint8

// The verdicts.
const (
	// VerdictUnmapped says that demand or grant is unknown: never guessed.
	VerdictUnmapped Verdict = iota
	// VerdictExercised says that a held scope was used.
	VerdictExercised
	// VerdictBeyond says that an honoured call needed a scope not held.
	VerdictBeyond
	// VerdictDenied says that the call was refused.
	VerdictDenied
	// VerdictDormant says that a scope is held and not used.
	VerdictDormant
)

var verdictNames = []string{"unmapped", "exercised", "beyond", "denied", "dormant"}

func (v Verdict) String() string { return enumName(verdictNames, v) }

// MarshalText writes the verdict's word.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads a verdict's word.
func (v *Verdict) UnmarshalText(text []byte) (err error) {
	*v, err = parseEnum[Verdict](verdictNames, "verdict", text)
	return err
}
