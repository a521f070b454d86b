package catalog

// Glob reports whether s matches pattern as a whole: "*" stands for any
// characters (also none, also "/" and ":"), "?" for exactly one byte;
// everything else stands for itself. It is how the match entries of
// credentials are compared.
func Glob(pattern, s string) bool {
	// Only the last star is ever retried: an earlier one that could take more
	// would gain nothing, so the cost is at most len(pattern) * len(s).
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// PathGlob reports whether s matches pattern as a whole, where "*" stands for
// any characters of one segment (also none, never "/"), and "**" for any
// characters at all. It is how the approved operations of credentials are
// compared.
func PathGlob(pattern, s string) bool {
	// Two retry points: the last "**", and the last "*" after it. A "*" that
	// fails falls back to the "**" before it.
	deep, deepMark := -1, 0
	star, starMark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p+1 < len(pattern) && pattern[p] == '*' && pattern[p+1] == '*':
			deep, deepMark = p, i
			star = -1
			p += 2
		case p < len(pattern) && pattern[p] == '*':
			star, starMark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0 && s[starMark] != '/':
			starMark++
			p, i = star+1, starMark
		case deep >= 0:
			deepMark++
			star = -1
			p, i = deep+2, deepMark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
