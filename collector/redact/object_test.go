package redact

import (
	"strings"
	"testing"
)

func TestObject(t *testing.T) {
	s := NewScrubber(NewKey([32]byte{1}))
	object := func(target string) (path, name string) {
		p, _ := s.Target([]byte(target))
		return string(p), string(s.Object())
	}
	const one, two = "/files/6fb008f86bebb2737f6a6f0fb23c6f5d", "/files/7fb008f86bebb2737f6a6f0fb23c6f5e"
	pathOne, nameOne := object(one)
	pathTwo, nameTwo := object(two)
	if pathOne != pathTwo || nameOne == nameTwo || !strings.HasPrefix(nameOne, "/files/{redacted}#") {
		t.Errorf("%q and %q are %q and %q", one, two, nameOne, nameTwo)
	}
	if _, again := object(one + "?page=2"); again != nameOne {
		t.Errorf("the query changes the object: %q, %q", again, nameOne)
	}
	if _, name := object("/files/4711"); name != "" {
		t.Errorf("a path without secrets has the object %q", name)
	}
	other := NewScrubber(NewKey([32]byte{2}))
	other.Target([]byte(one))
	if string(other.Object()) == nameOne {
		t.Error("the digest does not depend on the key")
	}
}

func TestResource(t *testing.T) {
	s := NewScrubber(NewKey([32]byte{1}))
	for _, same := range []string{
		"arn:aws:s3:::bucket", "arn:aws:s3:::bucket/2026-10-24/part-01.zst", "arn:aws:iam::123456789012:role/ci-deployer",
		"arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-4333-8444-555555555555", "orders-7d4b9c-x2x4p", "",
	} {
		if got := string(s.Resource([]byte(same))); got != same {
			t.Errorf("%q became %q", same, got)
		}
	}
	for name, prefix := range map[string]string{
		"arn:aws:s3:::bucket/x/U8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oo.json":  "arn:aws:s3:::bucket/x/{redacted}",
		"arn:aws:s3:::bucket/ghp_FAKE0000fakeFAKE0000fakeFAKE0000fake": "arn:aws:s3:::bucket/{redacted}#",
		"queue?password=hunter2-hunter2":                               "queue?password=[redacted]#",
	} {
		if got := string(s.Resource([]byte(name))); !strings.HasPrefix(got, prefix) || !strings.Contains(got, "#") {
			t.Errorf("%q became %q, want %q and a digest", name, got, prefix)
		}
	}
}
