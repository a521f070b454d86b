package compare

import (
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// Covers reports whether the scope granted contains the scope needed in
// dialect d, from the two names alone (a catalogue's "implies" is not
// consulted). Where needed is a pattern itself, the answer is true only if
// every name it stands for is covered.
//
//   - flat: the names are equal.
//   - wildcard: "*" stands for characters within a segment; segments are parted
//     by ":", "." and "/". A "*" at the very end stands for all the rest.
//   - url: scheme and host are equal but for case; the paths are equal, or the
//     granted one ends in "/" or "*" and is a prefix of the needed one up to a
//     border between segments. What is no URL is compared as flat.
//   - iam: "*" stands for any characters, "?" for one; case does not matter.
//   - kubernetes: "VERB RESOURCE[.GROUP][/SUBRESOURCE]" or "VERB /PATH", with
//     RBAC's wildcards: "*" for any verb, any resource (with its subresources),
//     and any group; "*/SUBRESOURCE"; "/PATH*". A resource without group is the
//     core group's, "*" alone that of every group, "*.core" every resource of
//     the core group; a verb alone is that verb on everything.
func Covers(d schema.Dialect, granted, needed string) bool {
	switch d {
	case schema.DialectWildcard:
		return coversWildcard(granted, needed)
	case schema.DialectIAM:
		return coversIAM(granted, needed)
	case schema.DialectKubernetes:
		if granted == needed {
			return true
		}
		g, ok := parseRight(granted)
		if !ok {
			return false
		}
		n, ok := parseRight(needed)
		return ok && g.covers(&n)
	case schema.DialectURL:
		return coversURL(granted, needed)
	}
	return granted == needed
}

// coversIAM compares action names.
func coversIAM(granted, needed string) bool { return glob(granted, needed, true) }

// glob matches text against a pattern in which "*" stands for any characters
// and "?" for one; with fold, ASCII case does not matter. A "*" in the text is
// matched by "*" alone, so that pattern against pattern means inclusion. Time
// is at worst the product of the two lengths; it needs no memory.
func glob(pattern, text string, fold bool) bool {
	p, t := 0, 0
	star, mark := -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && text[t] != '*' && (pattern[p] == '?' || sameByte(pattern[p], text[t], fold)):
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

func sameByte(a, b byte, fold bool) bool {
	if a == b {
		return true
	}
	if !fold {
		return false
	}
	return lower(a) == lower(b)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func separator(c byte) bool { return c == ':' || c == '.' || c == '/' }

// coversWildcard is a glob whose "*" stops at separators, unless it is the
// pattern's last character.
//
// Since no other "*" crosses a separator, segments are aligned by their
// separators, and trying again from the last "*" alone finds every match.
func coversWildcard(granted, needed string) bool {
	g, rest := strings.CutSuffix(granted, "*")
	p, t := 0, 0
	star, mark := -1, 0
	for {
		switch {
		case p == len(g) && (rest || t == len(needed)):
			return true
		case p < len(g) && g[p] == '*':
			star, mark = p, t
			p++
			continue
		case p < len(g) && t < len(needed) && needed[t] != '*' && g[p] == needed[t]:
			p++
			t++
			continue
		}
		// Let the last "*" take one more. The "*" that ends a needed pattern
		// stands for all the rest, which only the granted one's own end covers.
		if star < 0 || mark == len(needed) || separator(needed[mark]) || needed[mark] == '*' && mark == len(needed)-1 {
			return false
		}
		mark++
		p, t = star+1, mark
	}
}

// coversURL compares scopes that are URLs.
func coversURL(granted, needed string) bool {
	if granted == needed {
		return true
	}
	gs, gh, gp, ok := splitURL(granted)
	if !ok {
		return false
	}
	ns, nh, np, ok := splitURL(needed)
	if !ok || !strings.EqualFold(gs, ns) || !strings.EqualFold(gh, nh) {
		return false
	}
	if gp == np {
		return true
	}
	prefix, star := strings.CutSuffix(gp, "*")
	if !star && !strings.HasSuffix(gp, "/") || dotted(np) {
		return false
	}
	if !strings.HasPrefix(np, prefix) {
		return false
	}
	// A border: the prefix ends in one, or the needed path goes on with one.
	return prefix == "" || strings.HasSuffix(prefix, "/") || len(np) == len(prefix) || np[len(prefix)] == '/'
}

// splitURL parts a URL into scheme, host and path, without unescaping.
func splitURL(s string) (scheme, host, path string, ok bool) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" {
		return "", "", "", false
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
	} else {
		host = rest
	}
	return scheme, host, path, host != ""
}

// dotted reports whether a path has a segment of dots alone, which would leave
// the prefix it seems to lie under.
func dotted(path string) bool {
	for s := range strings.SplitSeq(path, "/") {
		if s == "." || s == ".." || strings.EqualFold(s, "%2e%2e") || strings.EqualFold(s, "%2e") {
			return true
		}
	}
	return false
}
