package redact

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

// keySize is the length of an installation key in bytes. Its file holds it as
// hexadecimal digits and a line feed.
const keySize = 32

// Key is the installation key: what fingerprints and keyed digests are made
// with. All collectors of an installation share it. It is safe for use by
// several goroutines, and cannot print itself.
type Key struct{ fingerprints, sums macPool }

// NewKey makes a key of raw.
func NewKey(raw [keySize]byte) *Key {
	// Sums get a key of their own: the two uses must never answer each other.
	derived := hmac.New(sha256.New, raw[:])
	_, _ = io.WriteString(derived, "scopedrift keyed sums, version 1")
	k := &Key{}
	k.fingerprints.init(raw[:])
	k.sums.init(derived.Sum(nil))
	return k
}

// errKeyText says what is wrong with a key file without quoting any of it.
var errKeyText = errors.New("it does not hold 64 hexadecimal digits: restore it from a copy, " +
	"or remove it and let a new one be made (then the fingerprints of the past match no more)")

// LoadKey reads the installation key from path. Where there is none it makes
// one: the file with mode 0600, its directory with 0700. A key file that others
// can read is refused.
func LoadKey(path string) (*Key, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create key file %s: %w; name a place that can be written with --key", path, err)
	}
	// Whoever came first, this reads what is there now.
	return readKey(path)
}

func readKey(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open key file: %w; name another with --key", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("key file %s is not a regular file: name another with --key", path)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return nil, fmt.Errorf("key file %s can be read by others (mode %04o): run chmod 600 on it, "+
			"or remove it if others may have read it", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, 2*keySize+3))
	if err != nil {
		return nil, fmt.Errorf("read key file %s: %w", path, err)
	}
	for len(text) > 2*keySize && (text[len(text)-1] == '\n' || text[len(text)-1] == '\r') {
		text = text[:len(text)-1]
	}
	var raw [keySize]byte
	if len(text) != 2*keySize {
		return nil, fmt.Errorf("key file %s cannot be used: %w", path, errKeyText)
	}
	if _, err := hex.Decode(raw[:], text); err != nil {
		return nil, fmt.Errorf("key file %s cannot be used: %w", path, errKeyText)
	}
	return NewKey(raw), nil
}

// createKey writes a new key. It never replaces a file: the error is
// fs.ErrExist if somebody else was faster. The file appears complete, so that a
// second process that starts at the same time never reads half a key.
func createKey(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var raw [keySize]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	draft, err := os.CreateTemp(dir, ".key-*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(draft.Name()) }()
	err = writeKey(draft, raw)
	if err != nil {
		return err
	}
	err = os.Link(draft.Name(), path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links: exclusive creation is the next best.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return writeKey(f, raw)
}

func writeKey(f *os.File, raw [keySize]byte) error {
	_, err := f.WriteString(hex.EncodeToString(raw[:]) + "\n")
	return errors.Join(err, f.Sync(), f.Close())
}

// Fingerprint returns the stable, public name of a secret: "hmac:" and the
// first 16 bytes of HMAC-SHA-256(key, kind ‖ 0 ‖ secret) in hexadecimal. Kind
// is the written word of the credential's kind.
func (k *Key) Fingerprint(kind string, secret Secret) string {
	m := k.fingerprints.get()
	m.text(kind)
	m.bytes(zero[:])
	m.bytes(secret.Reveal())
	sum := m.sum()
	k.fingerprints.put(m)
	var out [5 + 2*len(sum)]byte
	copy(out[:], "hmac:")
	hex.Encode(out[5:], sum[:])
	return string(out[:])
}

var zero [1]byte

// Sum returns a keyed digest of parts under a label, for call ids and the
// digests of dead letters. Equal parts split differently give different sums.
// It does not allocate and does not keep parts.
func (k *Key) Sum(label string, parts ...[]byte) [16]byte {
	m := k.sums.get()
	m.length(len(label))
	m.text(label)
	for _, p := range parts {
		m.length(len(p))
		m.bytes(p)
	}
	sum := m.sum()
	k.sums.put(m)
	return sum
}

// String hides the key.
func (k *Key) String() string { return hidden }

// GoString hides the key from %#v.
func (k *Key) GoString() string { return hidden }

// Format hides the key from every verb.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText hides the key from every encoder.
func (k *Key) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue hides the key from structured logs.
func (k *Key) LogValue() slog.Value { return slog.StringValue(hidden) }

// macPool keeps HMAC states of one key: resetting one costs a copy, making one
// costs two compressions and four allocations. The key itself is known to a
// function only, since fmt prints the fields of what it reaches by reflection.
type macPool struct{ pool sync.Pool }

func (p *macPool) init(key []byte) {
	p.pool.New = func() any {
		m := &mac{hash: hmac.New(sha256.New, key)}
		m.hash.Reset() // the first reset saves the keyed state
		return m
	}
}

func (p *macPool) get() *mac { return p.pool.Get().(*mac) }

func (p *macPool) put(m *mac) {
	m.hash.Reset()
	p.pool.Put(m)
}

// mac feeds an HMAC through a buffer of its own, so that what callers pass does
// not escape to the heap.
type mac struct {
	hash hash.Hash
	used int
	out  [sha256.Size]byte
	buf  [1024]byte
}

func (m *mac) text(s string) {
	for len(s) > 0 {
		n := copy(m.buf[m.used:], s)
		s = s[n:]
		m.advance(n)
	}
}

func (m *mac) bytes(b []byte) {
	for len(b) > 0 {
		n := copy(m.buf[m.used:], b)
		b = b[n:]
		m.advance(n)
	}
}

func (m *mac) length(n int) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(n))
	m.bytes(b[:])
}

func (m *mac) advance(n int) {
	if m.used += n; m.used == len(m.buf) {
		m.flush()
	}
}

// flush hands the buffer on and wipes it: it may hold a secret.
func (m *mac) flush() {
	_, _ = m.hash.Write(m.buf[:m.used])
	clear(m.buf[:m.used])
	m.used = 0
}

func (m *mac) sum() (sum [16]byte) {
	m.flush()
	m.hash.Sum(m.out[:0])
	copy(sum[:], m.out[:])
	return sum
}
