package corpus

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
)

func TestCorpus(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SCOPEDRIFT_CORPUS", dir)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte("one\r\n\ntwo")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "log.gz"), packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := bytes.Join(Lines(t, Path(t, "log.gz")), []byte("|")); string(got) != "one||two" {
		t.Errorf("lines are %q", got)
	}
	if Path(t) != dir || !Has(t, "log.gz") || Has(t, "nothing") {
		t.Error("a file is taken for another")
	}
	absent := &skipping{TB: t}
	func() {
		defer func() { _ = recover() }()
		Path(absent, "nothing")
	}()
	if !absent.skipped {
		t.Error("a test without its file is not skipped")
	}
}

// skipping is a test that only remembers that it was skipped.
type skipping struct {
	testing.TB
	skipped bool
}

// Skipf ends the test, as that of a real one does.
func (s *skipping) Skipf(string, ...any) {
	s.skipped = true
	panic("skipped")
}

func TestModule(t *testing.T) {
	if _, err := os.Stat(filepath.Join(Module(t), "internal", "corpus", "corpus.go")); err != nil {
		t.Error(err)
	}
}
