package redact

import "bytes"

// minRandom is the length from which a token is judged by its looks alone.
const minRandom = 32

// commonPair holds, for each first letter, the second letters that follow it
// often in technical English: those of the 250 commonest pairs, counted over
// the words of the Go standard library's comments. They make up 93 % of the
// pairs in such words, and 37 % of those in random letters.
var commonPair = [26]uint32{
	0x1bebd4e, 0x1144911, 0x01e4d95, 0x016491d, 0x1eff97f, 0x0164931, 0x0166191, 0x0024111, 0x2aef87f,
	0x0000000, 0x0040110, 0x11c4919, 0x014d113, 0x03c6d7d, 0x07efd6f, 0x01ec911, 0x0100000, 0x13e7d7d,
	0x11ccd95, 0x11ed9b5, 0x00eb937, 0x0000111, 0x0024111, 0x0088010, 0x00c8000, 0x0000010,
}

// look is what a token looks like.
type look struct {
	// odd are steps from one character to the next as they happen in random
	// text: an uncommon pair of letters, a change between letter and digit, a
	// capital after a hump of one or two letters. plain are the others.
	odd, plain int
	classes    uint8
	// longest is the longest piece between joins, and hex the longest of
	// pieces that are hexadecimal digits with numbers and letters among them.
	longest, hex int
}

// random reports whether at least share percent of the steps are odd.
func (l look) random(share int) bool {
	return l.odd+l.plain >= 5 && 100*l.odd >= share*(l.odd+l.plain)
}

// mixed reports whether lower case, upper case and digits all occur.
func (l look) mixed() bool { return l.classes&isAlnum == isAlnum }

func lookAt(b []byte) (l look) {
	start, hump := 0, 0
	var before uint8
	hex := uint8(isHexDigit)
	var pieceClasses uint8
	for i := 0; i <= len(b); i++ {
		if i == len(b) || class[b[i]]&isAlnum == 0 {
			size := i - start
			l.longest = max(l.longest, size)
			if hex != 0 && pieceClasses&isDigit != 0 && pieceClasses&isLetter != 0 {
				l.hex = max(l.hex, size)
			}
			start, hump, before, hex, pieceClasses = i+1, 0, 0, isHexDigit, 0
			continue
		}
		c := class[b[i]]
		hex &= c
		pieceClasses |= c
		l.classes |= c
		switch now := c & isAlnum; {
		case before == 0:
			hump = 1
		case (before|now)&isDigit != 0:
			if before != now {
				if before&now == 0 {
					l.odd++
				}
				hump = 0
			}
			hump++
		case before == isLower && now == isUpper:
			if hump <= 2 {
				l.odd++
			}
			hump = 1
		default:
			if commonPair[b[i-1]&31-1]>>(b[i]&31-1)&1 != 0 {
				l.plain++
			} else {
				l.odd++
			}
			hump++
		}
		before = c & isAlnum
	}
	return l
}

// minNoise is how many characters of a token must be in pieces made like noise
// for the whole to be a secret. Names with random suffixes (pods, stacks) stay
// below.
const minNoise = 20

// noisy judges a token of at least minRandom characters as a whole: most of it
// is in pieces made like noise, with capitals, small letters and digits. For a
// token of exactly the length and alphabet of an AWS secret access key, less
// noise will do.
func noisy(token []byte) bool {
	token = withoutUUID(token)
	if len(token) < minRandom {
		return false
	}
	if len(token) == awsSecretSize {
		if l := lookAt(token); l.mixed() && l.random(30) && !bytes.ContainsAny(token, "-_.~") {
			return true
		}
	}
	var noise, words int
	var classes uint8
	start := 0
	for i := 0; i <= len(token); i++ {
		if i < len(token) && class[token[i]]&isAlnum != 0 {
			continue
		}
		l := lookAt(token[start:i])
		digest := l.hex >= minRandom // judged by noisyPiece
		if 100*l.odd >= 40*(l.odd+l.plain) && i-start > 1 && !digest {
			noise += i - start
			classes |= l.classes
		} else {
			words += i - start
		}
		start = i + 1
	}
	return noise >= minNoise && noise > words && classes&isAlnum == isAlnum
}

// noisyPiece reports whether one piece of a token, between - _ . ~ +, is long
// and made like noise. A piece of hexadecimal digits is a digest, and counts
// only where hex is set.
func noisyPiece(token []byte, hex bool) bool {
	if len(token) < minRandom || isUUID(token) {
		return false
	}
	start := 0
	for i := 0; i <= len(token); i++ {
		if i < len(token) && class[token[i]]&isAlnum != 0 {
			continue
		}
		if i-start >= minRandom {
			switch l := lookAt(token[start:i]); {
			case l.hex > 0:
				if hex && !isDigestName(token[:start]) {
					return true
				}
			case l.classes&isLetter != 0 && l.random(40):
				return true
			}
		}
		start = i + 1
	}
	return false
}

// isDigestName reports whether b ends with the name of a digest and the sign
// that stands before its digits, as in sha256:… and sha256-….
func isDigestName(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	switch b[len(b)-1] {
	case ':', '-', '_', '=', '/':
	default:
		return false
	}
	b = b[:len(b)-1]
	for _, name := range [...]string{"sha256", "sha512", "sha384", "sha1", "md5"} {
		if n := len(b) - len(name); n >= 0 && equalFold(b[n:], name) && (n == 0 || class[b[n-1]]&isAlnum == 0) {
			return true
		}
	}
	return false
}

// withoutUUID cuts a leading or trailing UUID off a token: it names a thing and
// says nothing about the rest.
func withoutUUID(token []byte) []byte {
	if n := len(token); n >= 36 {
		if isUUID(token[n-36:]) {
			token = token[:n-36]
		} else if isUUID(token[:36]) {
			token = token[36:]
		}
	}
	return token
}
