package gateway

import "bytes"

func byteLists(texts []string) [][]byte {
	var lists [][]byte
	for _, t := range texts {
		lists = append(lists, []byte(t))
	}
	return lists
}

func validReason(why string) bool {
	return why != "" && len(why) <= 40 && !bytes.ContainsFunc([]byte(why), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	})
}

// nearest returns the word that is most like name.
func nearest(name string, words []string) string {
	best, least := "", 1<<30
	for _, w := range words {
		if w == "" {
			continue
		}
		if d := editDistance(name, w); d < least {
			best, least = w, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}
