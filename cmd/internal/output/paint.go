package output

// Paint colours words, or leaves them alone. Colour never carries meaning by
// itself: the word is always there.
type Paint struct{ On bool }

func (p Paint) wrap(code, s string) string {
	if !p.On || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Bad is for what went wrong.
func (p Paint) Bad(s string) string { return p.wrap("1;31", s) }

// Warn is for what needs a look.
func (p Paint) Warn(s string) string { return p.wrap("33", s) }

// Good is for what is as it should be.
func (p Paint) Good(s string) string { return p.wrap("32", s) }

// Strong is for headings.
func (p Paint) Strong(s string) string { return p.wrap("1", s) }

// Quiet is for labels.
func (p Paint) Quiet(s string) string { return p.wrap("2", s) }

// Word colours a severity, status or decision by its own name.
func (p Paint) Word(s string) string {
	switch s {
	case "critical":
		return p.wrap("1;97;41", s)
	case "high", "denied", "beyond", "error":
		return p.Bad(s)
	case "medium", "unauthenticated", "dormant", "suppressed":
		return p.Warn(s)
	case "low", "unknown", "unmapped":
		return p.wrap("36", s)
	case "allowed", "exercised", "resolved":
		return p.Good(s)
	}
	return s
}
