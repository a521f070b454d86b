package redact

import "bytes"

// findTokens looks at each stretch of token characters: for known beginnings,
// for Base64 of JSON, and for noise.
func (f *finder) findTokens() {
	start := 0
	for i := 0; i <= len(f.text); i++ {
		if i < len(f.text) && class[f.text[i]]&isToken != 0 {
			continue
		}
		if i-start >= minPrefixed {
			f.token(start, i)
		}
		start = i + 1
	}
}

func (f *finder) token(start, end int) {
	run := f.text[start:end]
	if isUUID(run) {
		return
	}
	padded := end
	for padded < len(f.text) && f.text[padded] == '=' {
		padded++
	}
	switch at, by := findSign(run); by {
	case signPrefix:
		f.add(start+at, padded, rulePrefix)
	case signWide:
		f.add(start+at, f.wideEnd(end), rulePrefix)
	case signJSON:
		f.add(start+at, f.jsonEnd(end), ruleJWT)
	case signWhole:
		f.add(start, padded, rulePrefix)
	}
	if f.mode == modeName || len(run) < minRandom || f.insideARN(start) {
		return
	}
	if noisy(run) {
		f.add(start, padded, ruleRandom)
		return
	}
	hex := f.mode == modePath && !isDigestName(f.text[:start])
	part := start
	for i := start; i <= end; i++ {
		if i < end && f.text[i] != '.' {
			continue
		}
		if noisyPiece(f.text[part:i], hex) {
			f.add(part, i, ruleRandom)
		}
		part = i + 1
	}
}

// jsonEnd extends a JWT over what its writer may have put into it: padding, and
// the other alphabet of Base64.
func (f *finder) jsonEnd(end int) int {
	for end < len(f.text) {
		c := f.text[end]
		if class[c]&isToken == 0 && c != '=' && (c != '/' || f.mode == modePath && f.raw(end)) {
			break
		}
		end++
	}
	return end
}

// wideEnd extends Base64 with slashes.
func (f *finder) wideEnd(end int) int {
	for end < len(f.text) && (class[f.text[end]]&isToken != 0 || f.text[end] == '/' || f.text[end] == '=') {
		end++
	}
	return end
}

// maxARN is the length of the longest ARN that IAM takes.
const maxARN = 2048

// insideARN reports whether the byte at i is part of the resource of an Amazon
// resource name, arn:partition:service:region:account:resource, whose parts may
// look random and are names.
func (f *finder) insideARN(i int) bool {
	start, least := i, max(0, i-maxARN)
	for ; start > least; start-- {
		c := f.text[start-1]
		if c <= ' ' || c == '"' || c == '\'' || c == ',' || c == '(' || c == '[' || c == '=' || c == '<' || c == '>' ||
			c == '/' && f.mode == modePath && f.raw(start-1) {
			break
		}
	}
	head := f.text[start:i]
	return bytes.HasPrefix(head, []byte("arn:aws")) && bytes.Count(head, []byte(":")) >= 5
}

// awsSecretSize is the length of an AWS secret access key.
const awsSecretSize = 40

// findWide looks for secrets in Base64 with slashes, whose pieces are each too
// short to be judged alone.
func (f *finder) findWide() {
	start, slashes := 0, 0
	for i := 0; i <= len(f.text); i++ {
		if i < len(f.text) {
			c := f.text[i]
			if c == '/' {
				slashes++
				continue
			}
			if class[c]&isToken != 0 && c != '.' && c != '~' {
				continue
			}
		}
		if slashes > 0 && i-start >= minRandom {
			if f.insideARN(start) {
				start = f.afterSegment(start, i)
			}
			f.wide(start, i)
		}
		start, slashes = i+1, 0
	}
}

// afterSegment returns where the path segment after start begins, or end. Free
// text has no segments: an ARN goes on to the end of its stretch.
func (f *finder) afterSegment(start, end int) int {
	for ; start < end; start++ {
		if f.mode == modePath && f.text[start] == '/' && f.raw(start) {
			return start + 1
		}
	}
	return end
}

// wide looks at one stretch. Neighbours that look like noise and are long
// together are one secret; what is too short to be judged, and stands between
// or beside them, goes with them.
func (f *finder) wide(start, end int) {
	var (
		group    look
		from     = -1 // of the group
		lead     = -1 // of what may belong to a group that is still to come
		to       int
		previous [6]int // the latest piece starts, for keys of a known length
	)
	finish := func() {
		if from >= 0 && to-from >= minRandom && group.mixed() && group.random(40) && bytes.IndexByte(f.text[from:to], '/') >= 0 {
			for to < len(f.text) && f.text[to] == '=' {
				to++
			}
			f.add(from, to, ruleRandom)
		}
		from, lead, group = -1, -1, look{}
	}
	for i := range previous {
		previous[i] = start
	}
	piece := start
	for i := start; i <= end; i++ {
		if i < end && f.text[i] != '/' {
			continue
		}
		copy(previous[1:], previous[:])
		previous[0] = piece
		f.awsSecret(previous[1:], i)
		switch l := lookAt(f.text[piece:i]); {
		case i-piece >= 5 && l.random(40) && l.classes&isLetter != 0:
			if from < 0 {
				if from = piece; lead >= 0 {
					from = lead
				}
			}
			to = i
			group.odd += l.odd
			group.plain += l.plain
			group.classes |= l.classes
		case i-piece < 5 && l.classes&isAlnum == isLower && f.mode != modePath:
			// a short word within, or a border: what follows decides
		case f.joins(piece, i, l):
			if from < 0 && lead < 0 {
				lead = piece
			}
			if from >= 0 {
				to = i
			}
			group.classes |= l.classes
		default:
			finish()
		}
		piece = i + 1
	}
	finish()
}

// joins reports whether a piece that does not look like noise by itself may
// belong to Base64 around it. In a path whole words part: the slashes there are
// more likely borders.
func (f *finder) joins(start, end int, l look) bool {
	if f.mode == modePath && (start == 0 || f.raw(start-1)) && (end == len(f.text) || f.raw(end)) {
		return false
	}
	kinds := l.classes & isAlnum
	return end-start < 5 && kinds != isLower || kinds != isLower && kinds != isUpper && kinds != isDigit
}

// awsSecret looks whether one of the starts is the beginning of an AWS secret
// access key that ends at end.
func (f *finder) awsSecret(starts []int, end int) {
	for _, start := range starts {
		if end-start != awsSecretSize {
			continue
		}
		key := f.text[start:end]
		if l := lookAt(key); !l.mixed() || !l.random(30) {
			continue
		}
		for piece := range bytes.SplitSeq(key, []byte("/")) {
			if len(piece) >= 5 && lookAt(piece).random(30) {
				f.add(start, end, ruleRandom)
				return
			}
		}
	}
}
