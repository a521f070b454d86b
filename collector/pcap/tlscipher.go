package pcap

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// tlsSuite is what a cipher suite needs: the authenticated ones of TLS 1.2 and
// 1.3, by their numbers in the IANA registry.
type tlsSuite struct {
	keyBytes int
	chacha   bool
	hash     func() hash.Hash
}

var tlsSuites = map[uint16]tlsSuite{
	0x1301: {16, false, sha256.New}, 0x1302: {32, false, sha512.New384}, 0x1303: {32, true, sha256.New}, // 1.3
	0x009c: {16, false, sha256.New}, 0x009d: {32, false, sha512.New384}, // RSA
	0x009e: {16, false, sha256.New}, 0x009f: {32, false, sha512.New384}, // DHE, RSA
	0xc02b: {16, false, sha256.New}, 0xc02c: {32, false, sha512.New384}, // ECDHE, ECDSA
	0xc02f: {16, false, sha256.New}, 0xc030: {32, false, sha512.New384}, // ECDHE, RSA
	0xcca8: {32, true, sha256.New}, 0xcca9: {32, true, sha256.New}, 0xccaa: {32, true, sha256.New},
}

// recordCipher opens the records of one direction.
type recordCipher struct {
	aead cipher.AEAD
	iv   []byte // 12 bytes, or the 4 that do not change (GCM of TLS 1.2)
	// seq is the number of the next record.
	seq uint64
	// explicit says that a record carries 8 bytes of its nonce, modern that it
	// is of TLS 1.3.
	explicit, modern bool
	// secret is what the key was made of (TLS 1.3).
	secret []byte
	plain  []byte
}

// overhead is by how much a record is longer than what it carries, its header
// included.
func (c *recordCipher) overhead() int {
	n := 5 + c.aead.Overhead()
	if c.explicit {
		n += 8
	}
	if c.modern {
		n++ // the true type
	}
	return n
}

func newAEAD(s tlsSuite, key []byte) (cipher.AEAD, error) {
	if s.chacha {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// ciphers12 makes those of TLS 1.2 from the master secret: the client's and the
// server's (RFC 5246, section 6.3).
func ciphers12(s tlsSuite, master, clientRandom, serverRandom []byte) (both [2]*recordCipher, err error) {
	ivBytes := 4
	if s.chacha {
		ivBytes = 12
	}
	seed := append(append([]byte("key expansion"), serverRandom...), clientRandom...)
	block := prf(s.hash, master, seed, 2*(s.keyBytes+ivBytes))
	take := func(n int) (b []byte) {
		b, block = block[:n], block[n:]
		return b
	}
	keys := [2][]byte{take(s.keyBytes), take(s.keyBytes)}
	for i := range both {
		both[i] = &recordCipher{iv: take(ivBytes), explicit: !s.chacha}
		if both[i].aead, err = newAEAD(s, keys[i]); err != nil {
			return both, err
		}
	}
	return both, nil
}

// prf is the pseudorandom function of TLS 1.2 (RFC 5246, section 5).
func prf(h func() hash.Hash, secret, seed []byte, n int) []byte {
	sum := func(parts ...[]byte) []byte {
		m := hmac.New(h, secret)
		for _, p := range parts {
			m.Write(p)
		}
		return m.Sum(nil)
	}
	var out []byte
	for a := sum(seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:n]
}

// cipher13 makes that of one direction of TLS 1.3 (RFC 8446, section 7.3).
func cipher13(s tlsSuite, secret []byte) (*recordCipher, error) {
	key, err := expandLabel(s, secret, "key", s.keyBytes)
	if err != nil {
		return nil, err
	}
	iv, err := expandLabel(s, secret, "iv", 12)
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(s, key)
	return &recordCipher{aead: aead, iv: iv, modern: true, secret: secret}, err
}

// updated is the cipher after a KeyUpdate (RFC 8446, section 7.2).
func (c *recordCipher) updated(s tlsSuite) (*recordCipher, error) {
	secret, err := expandLabel(s, c.secret, "traffic upd", len(c.secret))
	if err != nil {
		return nil, err
	}
	return cipher13(s, secret)
}

func expandLabel(s tlsSuite, secret []byte, label string, n int) ([]byte, error) {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(append(info, byte(len(label))), label...)
	return hkdf.Expand(s.hash, secret, string(append(info, 0)), n)
}

// open opens a record, its header included, as the one of that number. The type
// is that of what it carries; the bytes are valid until the next call.
func (c *recordCipher) open(record []byte, seq uint64) (kind byte, plain []byte, ok bool) {
	head, body := record[:5], record[5:]
	var nonce [12]byte
	var more [13]byte
	if c.explicit {
		if len(body) < 8 {
			return 0, nil, false
		}
		copy(nonce[:], c.iv)
		copy(nonce[4:], body[:8])
		body = body[8:]
	} else {
		copy(nonce[:], c.iv)
		for i := range 8 {
			nonce[4+i] ^= byte(seq >> (56 - 8*i))
		}
	}
	if len(body) < c.aead.Overhead() {
		return 0, nil, false
	}
	extra := head
	if !c.modern {
		binary.BigEndian.PutUint64(more[:], seq)
		copy(more[8:], head[:3])
		binary.BigEndian.PutUint16(more[11:], uint16(len(body)-c.aead.Overhead()))
		extra = more[:]
	}
	plain, err := c.aead.Open(c.plain[:0], nonce[:], body, extra)
	if err != nil {
		return 0, nil, false
	}
	c.plain = plain
	kind = head[0]
	if c.modern {
		// The true type stands behind, before zeros.
		n := len(plain)
		for n > 0 && plain[n-1] == 0 {
			n--
		}
		if n == 0 {
			return 0, nil, false
		}
		kind, plain = plain[n-1], plain[:n-1]
	}
	return kind, plain, true
}
