// Package spelling finds the word that somebody most likely meant.
//
// [Nearest] is all there is: settings, catalogues and presets name the nearest
// valid word where one is misspelt. It promises never to name a word that shares
// nothing with what was written; it cannot see what the words mean.
package spelling

import "strings"

// longest is the length in bytes above which nothing is looked up: what is
// longer is no misspelt word, and the work is the product of both lengths.
const longest = 64

// Nearest returns the known word that takes the fewest changes to make of s, at
// most as many as given, in either case; the first of equals, and "" if none is
// near.
func Nearest(s string, known []string, atMost int) string {
	s = strings.ToLower(s)
	best := ""
	for _, k := range known {
		if d := distance(s, strings.ToLower(k)); d <= atMost && d < len(k) {
			best, atMost = k, d-1
		}
	}
	return best
}

// distance counts the insertions, deletions, changes and swaps of neighbours
// that make b of a.
func distance(a, b string) int {
	if len(a) > longest || len(b) > longest {
		return max(len(a), len(b))
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
