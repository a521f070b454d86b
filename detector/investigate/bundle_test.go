package investigate_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/investigate"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// evidence makes a bundle of a case.
func evidence(t testing.TB, c *investigated, calls []schema.Call) []byte {
	t.Helper()
	r, err := investigate.New(investigate.Config{Detector: detector.Config{Catalog: c.Catalog, Facts: memory.New(calls), Window: c.Window}, Findings: c.findings}).
		Investigate(context.Background(), c.question)
	if err != nil {
		t.Fatal(err)
	}
	ours := slices.Clone(calls)
	ours = slices.DeleteFunc(ours, func(call schema.Call) bool {
		return !slices.Contains(r.Principals(), call.Credential.Principal().Hash())
	})
	slices.SortFunc(ours, func(a, b schema.Call) int {
		if n := a.Time.Compare(b.Time); n != 0 {
			return n
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	b := investigate.Bundle{Version: "test", Investigation: r, Findings: c.findings,
		Catalogue: investigate.CatalogueVersion{Digest: c.Catalog.Digest, Services: len(c.Catalog.Services), Credentials: len(c.Catalog.Credentials)},
		Calls: func(each func(*schema.Call) error) error {
			for i := range ours {
				for range 1 + i%2 { // some are stored twice
					if err := each(&ours[i]); err != nil {
						return err
					}
				}
			}
			return nil
		}}
	var out bytes.Buffer
	if _, err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// member is a file of an archive.
type member struct {
	tar.Header
	data []byte
}

func unpack(t testing.TB, bundle []byte) (list []member) {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(bundle))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, member{*h, data})
	}
}

func repack(t testing.TB, list []member) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, m := range list {
		m.Size = int64(len(m.data))
		if m.Typeflag != tar.TypeReg {
			m.Size = 0
		}
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if m.Size > 0 {
			if _, err := w.Write(m.data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func beyond(t testing.TB) *investigated {
	c := read(t, "testdata/beyond.txtar")
	c.findings = detectortest.Run(t, detector.Config{Catalog: c.Catalog, Facts: memory.New(c.Calls), Window: c.Window}).Findings
	return c
}

// TestBundle wants a bundle to be the same bytes each time, to hold together,
// and its findings to follow from its calls.
func TestBundle(t *testing.T) {
	c := beyond(t)
	first := evidence(t, c, c.Calls)
	slices.Reverse(c.Calls)
	slices.Reverse(c.findings)
	if !bytes.Equal(evidence(t, c, c.Calls), first) {
		t.Error("the same store and question give another bundle")
	}
	var calls []schema.Call
	check, err := investigate.CheckBundle(bytes.NewReader(first), func(call *schema.Call) error { calls = append(calls, *call); return nil })
	if err != nil || len(check.Problems) > 0 {
		t.Fatal(err, check)
	}
	if check.Manifest.Calls != 9 || len(calls) != 9 || check.Proved == 0 || check.Manifest.Findings < 2 {
		t.Errorf("%d calls, %d proved, %d findings: %+v", len(calls), check.Proved, check.Manifest.Findings, check.Manifest)
	}
	follow, err := check.Judge(context.Background(), c.Catalog, calls)
	if err != nil || follow != 1 || len(check.Problems) > 0 {
		t.Errorf("%d findings follow, %v, %q", follow, err, check.Problems)
	}
	if _, err := check.Judge(context.Background(), catalog.Empty(), calls); err != nil || len(check.Problems) != 1 {
		t.Errorf("by another catalogue: %v, %q", err, check.Problems)
	}
	check.Problems = nil
	// Without the call that it stands on, the finding does not follow.
	calls = slices.DeleteFunc(calls, func(call schema.Call) bool { return call.Method == "DELETE" })
	if _, err := check.Judge(context.Background(), c.Catalog, calls); err != nil || len(check.Problems) != 1 {
		t.Errorf("without its call: %v, %q", err, check.Problems)
	}
}

// TestBundleChanged wants every change of a bundle to be seen.
func TestBundleChanged(t *testing.T) {
	bundle := evidence(t, beyond(t), beyond(t).Calls)
	index := func(list []member, name string) int {
		n := slices.IndexFunc(list, func(m member) bool { return m.Name == name })
		if n < 0 {
			t.Fatalf("no %s", name)
		}
		return n
	}
	replace := func(name, old, other string) func([]member) []member {
		return func(list []member) []member {
			m := &list[index(list, name)]
			if !strings.Contains(string(m.data), old) {
				t.Fatalf("%s has no %q:\n%s", name, old, m.data)
			}
			m.data = []byte(strings.Replace(string(m.data), old, other, 1))
			return list
		}
	}
	for name, one := range map[string]struct {
		change func([]member) []member
		want   string
	}{
		"a call is another": {replace("calls/00001.jsonl", "10.1.2.3", "10.1.2.4"), "it was changed"},
		"a call is gone": {func(list []member) []member {
			m := &list[index(list, "calls/00001.jsonl")]
			_, m.data, _ = bytes.Cut(m.data, []byte("\n"))
			return list
		}, "speaks of 9 calls, and there are 8"},
		"a call moves":            {replace("calls/00001.jsonl", "2026-03-01T", "2026-03-09T"), "out of order"},
		"a call is a stranger's":  {replace("calls/00001.jsonl", `"id":"KEY1"`, `"id":"KEY9"`), `of "KEY9", which was not asked about`},
		"a finding shows another": {replace("findings.jsonl", `"client_address":"203.0.113.9"`, `"client_address":"203.0.113.8"`), "differently"},
		"all findings show another": {func(list []member) []member {
			m := &list[index(list, "findings.jsonl")]
			m.data = bytes.ReplaceAll(m.data, []byte(`"client_address":"203.0.113.9"`), []byte(`"client_address":"203.0.113.8"`))
			return list
		}, "otherwise than"},
		"a finding has another id": {replace("findings.jsonl", `{"id":"D01-`, `{"id":"D01-0`), "does not follow from"},
		"a finding is gone":        {func(list []member) []member { list[index(list, "findings.jsonl")].data = nil; return list }, "mentions other findings"},
		"the coverage is another":  {replace("coverage.json", `"known": false`, `"known": true`), "it was changed"},
		"the answer is another":    {replace("investigation.json", `"purpose": "copies`, `"purpose": "steals`), "investigation.json is not what the manifest says"},
		"the question is another":  {replace("manifest.json", `"name": "exporter"`, `"name": "somebody"`), "another question"},
		"the manifest forgets":     {replace("manifest.json", `"calls": 9`, `"calls": 3`), "speaks of 3 calls"},
		"other format":             {replace("manifest.json", "evidence bundle 1", "evidence bundle 2"), "says it is a"},
		"manifest is gone":         {func(list []member) []member { return list[:len(list)-1] }, "ends before its manifest"},
		"manifest is text":         {func(list []member) []member { list[len(list)-1].data = []byte("x"); return list }, "manifest of the bundle cannot be read"},
		"a call is text":           {replace("calls/00001.jsonl", "{", "("), "cannot be read"},
		"more after it":            {func(list []member) []member { return append(list, list[0]) }, "after its manifest"},
		"twice":                    {func(list []member) []member { return slices.Insert(list, 1, list[0]) }, "where coverage.json belongs"},
		"another order":            {func(list []member) []member { list[0], list[1] = list[1], list[0]; return list }, "where investigation.json belongs"},
		"a way out":                {func(list []member) []member { list[3].Name = "../../etc/passwd"; return list }, "where calls/00001.jsonl belongs"},
		"an absolute name":         {func(list []member) []member { list[0].Name = "/investigation.json"; return list }, "where investigation.json belongs"},
		"a link": {func(list []member) []member {
			list[0].Typeflag, list[0].Linkname = tar.TypeSymlink, "/etc/passwd"
			return list
		}, "no plain file"},
		"nothing": {func([]member) []member { return nil }, "ends before its manifest"},
	} {
		check, err := investigate.CheckBundle(bytes.NewReader(repack(t, one.change(unpack(t, bundle)))), nil)
		text := ""
		var bad *investigate.BundleError
		switch {
		case errors.As(err, &bad):
			text = bad.Error()
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			text = strings.Join(check.Problems, "\n")
		}
		if !strings.Contains(text, one.want) {
			t.Errorf("%s: says %q, want %q", name, text, one.want)
		}
	}
}

// TestBundleHostile wants what is no bundle to be refused with a sentence.
func TestBundleHostile(t *testing.T) {
	bundle := evidence(t, beyond(t), beyond(t).Calls)
	compressed := func(data []byte) []byte {
		var out bytes.Buffer
		z, _ := zstd.NewWriter(&out)
		if _, err := z.Write(data); err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	var huge bytes.Buffer
	w := tar.NewWriter(&huge)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "investigation.json", Size: 1 << 40, Format: tar.FormatPAX}); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("hello"), "zstd of text": compressed([]byte(strings.Repeat("hello ", 500))),
		"a bomb": compressed(append(huge.Bytes(), make([]byte, 1<<24)...)), "zeros": compressed(make([]byte, 1<<24)),
		"something behind": compressed(append(raw(t, bundle), []byte("more")...)),
	} {
		var bad *investigate.BundleError
		if _, err := investigate.CheckBundle(bytes.NewReader(data), nil); !errors.As(err, &bad) || bad.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := 0; n < len(bundle); n += 1 + len(bundle)/40 {
		var bad *investigate.BundleError
		if _, err := investigate.CheckBundle(bytes.NewReader(bundle[:n]), nil); !errors.As(err, &bad) {
			t.Errorf("cut off at %d of %d: %v", n, len(bundle), err)
		}
	}
}

func raw(t testing.TB, bundle []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(bundle))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzCheckBundle wants no archive to do more than be refused.
func FuzzCheckBundle(f *testing.F) {
	f.Add([]byte("hello"))
	f.Add(raw(f, evidence(f, beyond(f), beyond(f).Calls)))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(data); err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		var bad *investigate.BundleError
		if _, err := investigate.CheckBundle(bytes.NewReader(out.Bytes()), nil); err != nil && !errors.As(err, &bad) {
			t.Fatalf("%T: %v", err, err)
		}
	})
}
