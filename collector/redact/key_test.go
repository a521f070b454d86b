package redact

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestLoadKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "deep", "key")
	first, err := LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := NewSecret([]byte("FAKE"))
	if first.Fingerprint("api_key", secret) != again.Fingerprint("api_key", secret) {
		t.Error("the key that was made and the key that was read differ")
	}
	for name, mode := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), mode)
		}
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*"))
	if len(left) > 0 {
		t.Errorf("drafts are left behind: %q", left)
	}
	other, err := LoadKey(filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	if other.Fingerprint("api_key", secret) == first.Fingerprint("api_key", secret) {
		t.Error("two new keys are equal")
	}
}

// TestLoadKeyTogether starts many at once, as the parts of an installation may:
// all must get the same key.
func TestLoadKeyTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	prints := make([]string, 16)
	var wg sync.WaitGroup
	for i := range prints {
		wg.Go(func() {
			k, err := LoadKey(path)
			if err != nil {
				t.Error(err)
				return
			}
			prints[i] = k.Fingerprint("api_key", NewSecret([]byte("FAKE")))
		})
	}
	wg.Wait()
	for _, p := range prints {
		if p != prints[0] {
			t.Fatalf("fingerprints differ: %q", prints)
		}
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	dir := t.TempDir()
	good := strings.Repeat("0f", keySize)
	for _, tt := range []struct {
		name, text string
		mode       fs.FileMode
		want       string
	}{
		{"empty", "", 0o600, "does not hold 64 hexadecimal digits"},
		{"short", good[:62], 0o600, "does not hold 64 hexadecimal digits"},
		{"long", good + "00", 0o600, "does not hold 64 hexadecimal digits"},
		{"not hexadecimal", strings.Repeat("zz", keySize), 0o600, "does not hold 64 hexadecimal digits"},
		{"group may read", good, 0o640, "chmod 600"},
		{"all may read", good, 0o604, "chmod 600"},
		{"others may write", good, 0o602, "chmod 600"},
	} {
		path := filepath.Join(dir, tt.name)
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKey(path)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
		if err != nil && len(tt.text) > 8 && strings.Contains(err.Error(), tt.text[:8]) {
			t.Errorf("%s: the error quotes the key: %v", tt.name, err)
		}
	}
	if _, err := LoadKey(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory as key file: error %v", err)
	}
	for _, ok := range []string{good, good + "\n", good + "\r\n", strings.ToUpper(good)} {
		path := filepath.Join(dir, "ok")
		if err := os.WriteFile(path, []byte(ok), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(path); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
}

// TestFingerprint holds the fingerprint to its published formula.
func TestFingerprint(t *testing.T) {
	raw := [keySize]byte{1, 2, 3}
	k := NewKey(raw)
	for _, secret := range []string{"", "FAKE", strings.Repeat("FAKE", 1000)} {
		m := hmac.New(sha256.New, raw[:])
		m.Write([]byte("api_key\x00" + secret))
		want := "hmac:" + hex.EncodeToString(m.Sum(nil)[:16])
		for range 3 {
			if got := k.Fingerprint("api_key", NewSecret([]byte(secret))); got != want {
				t.Fatalf("fingerprint of %d bytes is %s, want %s", len(secret), got, want)
			}
		}
	}
}

func TestSum(t *testing.T) {
	k := NewKey([keySize]byte{1})
	seen := map[[16]byte]string{}
	for name, sum := range map[string][16]byte{
		"a b":        k.Sum("x", []byte("a"), []byte("b")),
		"ab":         k.Sum("x", []byte("ab")),
		"ab empty":   k.Sum("x", []byte("ab"), nil),
		"label":      k.Sum("xa", []byte("b")),
		"other key":  NewKey([keySize]byte{2}).Sum("x", []byte("ab")),
		"none":       k.Sum("x"),
		"long":       k.Sum("x", bytes.Repeat([]byte("a"), 5000)),
		"long parts": k.Sum("x", bytes.Repeat([]byte("a"), 2500), bytes.Repeat([]byte("a"), 2500)),
	} {
		if other, ok := seen[sum]; ok {
			t.Errorf("%s and %s have one sum", name, other)
		}
		seen[sum] = name
	}
	if first := k.Sum("x", []byte("a")); first != k.Sum("x", []byte("a")) {
		t.Error("a sum is not stable")
	}
	unit, ordinal := bytes.Repeat([]byte("u"), 900), []byte{1, 0, 0, 0}
	if n := testing.AllocsPerRun(100, func() { k.Sum("call", unit, ordinal) }); n != 0 {
		t.Errorf("a sum makes %v allocations, want 0", n)
	}
}

// TestKeyTogether uses one key from several goroutines; run with -race.
func TestKeyTogether(t *testing.T) {
	k := NewKey([keySize]byte{1})
	want := k.Sum("x", []byte("a"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				if k.Sum("x", []byte("a")) != want {
					t.Error("sums of goroutines differ")
					return
				}
				k.Fingerprint("api_key", NewSecret([]byte("FAKE")))
			}
		})
	}
	wg.Wait()
}

// TestNothingPrints tries every way of printing that the standard library has,
// also through structs with unexported fields, whose methods fmt cannot call.
func TestNothingPrints(t *testing.T) {
	raw := [keySize]byte{}
	copy(raw[:], "FAKEKEYFAKEKEYFAKEKEYFAKEKEYFAKE")
	text := "FAKE-needle-FAKE"
	secret, key := NewSecret([]byte(text)), NewKey(raw)
	holder := struct {
		Secret Secret
		hidden Secret
		Key    *Key
		keys   []*Key
		both   map[string]Secret
	}{secret, secret, key, []*Key{key}, map[string]Secret{"a": secret}}
	var out bytes.Buffer
	for _, v := range []any{secret, &secret, key, holder, &holder, []Secret{secret}, []any{secret, key}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t", "%e", "%p"} {
			fmt.Fprintf(&out, verb, v)
		}
		fmt.Fprint(&out, v)
		_ = json.NewEncoder(&out).Encode(v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		out.WriteString(fmt.Errorf("x: %v", v).Error())
	}
	printed := out.String()
	for _, needle := range []string{
		"needle", hex.EncodeToString([]byte(text)), strings.ToUpper(hex.EncodeToString([]byte(text))), fmt.Sprint([]byte(text))[1:20],
		"FAKEKEY", hex.EncodeToString(raw[:8]), fmt.Sprint(raw[:8])[1:20], "0x46, 0x41",
	} {
		if strings.Contains(printed, needle) {
			t.Errorf("%q was printed", needle)
		}
	}
	if !strings.Contains(printed, hidden) {
		t.Error("nothing says that a secret was hidden")
	}
	if holder.hidden.Empty() || len(holder.keys) == 0 || len(holder.both) == 0 {
		t.Error("the holder lost its fields")
	}
}
