package schema

import "fmt"

// enumName returns the written word of v, or "unknown(N)" for a value that a
// newer release may have written.
func enumName[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("unknown(%d)", uint8(v))
}

// parseEnum reads a written word back. what names the noun for the error.
func parseEnum[T ~uint8](names []string, what string, text []byte) (T, error) {
	for i, name := range names {
		if name == string(text) {
			return T(i), nil
		}
	}
	return 0, fmt.Errorf("%q is no %s; known are %q", text, what, names)
}
