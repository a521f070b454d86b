package investigate

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/scopedrift/scopedrift/schema"
)

// BundleFormat is the first line of every manifest: what a bundle is, and how it
// is laid out. A change of the layout takes the next number.
const BundleFormat = "scopedrift evidence bundle 1"

// The files of a bundle, in their order; between findings and manifest stand the
// calls.
const (
	investigationFile = "investigation.json"
	coverageFile      = "coverage.json"
	findingsFile      = "findings.jsonl"
	manifestFile      = "manifest.json"
)

// callsFile names the files of calls, counted from 1.
func callsFile(n int) string { return fmt.Sprintf("calls/%05d.jsonl", n) }

// callsPerFile bounds what must be held while a bundle is written or checked.
const callsPerFile = 10_000

// CatalogueVersion says by which catalogue was judged.
type CatalogueVersion struct {
	// Digest is the SHA-256 of its files; empty without a catalogue.
	Digest      string `json:"digest,omitempty"`
	Services    int    `json:"services"`
	Credentials int    `json:"credentials"`
}

// Manifest says what a bundle holds.
type Manifest struct {
	Format string `json:"format"`
	// Version is the program's.
	Version   string           `json:"version"`
	Question  Question         `json:"question"`
	Window    schema.Window    `json:"window"`
	Catalogue CatalogueVersion `json:"catalogue"`
	// Credentials are the names of those asked about.
	Credentials []string     `json:"credentials"`
	Calls       uint64       `json:"calls"`
	Findings    int          `json:"findings"`
	Files       []BundleFile `json:"files"`
}

// BundleFile is one file of a bundle.
type BundleFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Bundle is the evidence behind an investigation.
type Bundle struct {
	Version       string
	Catalogue     CatalogueVersion
	Investigation *Investigation
	// Findings are those that the investigation mentions, and any others; they
	// are chosen by id.
	Findings []schema.Finding
	// Calls hands over the calls of the credentials asked about, by time and id;
	// what it hands over is not kept.
	Calls func(each func(*schema.Call) error) error
}

var errDisorder = errors.New("the calls of a bundle did not come in the order of time and id: this is a mistake in scopedrift")

// Write writes the bundle as a tar archive compressed with zstd. Its bytes depend
// on store, catalogue, question and version of the program only.
func (b *Bundle) Write(w io.Writer) (Manifest, error) {
	r := b.Investigation
	m := Manifest{Format: BundleFormat, Version: b.Version, Question: r.Question, Window: r.Window, Catalogue: b.Catalogue, Credentials: []string{}}
	for i := range r.Credentials {
		m.Credentials = append(m.Credentials, r.Credentials[i].ID)
	}
	// One goroutine: how work is cut up must not show in the bytes.
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(bundleWindow))
	if err != nil {
		return m, fmt.Errorf("compress the bundle: %w", err)
	}
	t := tar.NewWriter(z)
	add := func(name string, data []byte) error {
		sum := sha256.Sum256(data)
		m.Files = append(m.Files, BundleFile{name, int64(len(data)), hex.EncodeToString(sum[:])})
		return addFile(t, name, data)
	}
	err = b.fill(&m, add)
	if err == nil {
		err = addJSON(func(name string, data []byte) error { return addFile(t, name, data) }, manifestFile, &m)
	}
	if err != nil {
		_ = z.Close() // what was written is of no use
		return m, err
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return m, fmt.Errorf("write the bundle: %w", err)
	}
	return m, nil
}

// bundleWindow is how much of a bundle must be held to unpack it.
const bundleWindow = 4 << 20

// fill adds everything but the manifest.
func (b *Bundle) fill(m *Manifest, add func(string, []byte) error) error {
	r := b.Investigation
	if err := addJSON(add, investigationFile, r); err != nil {
		return err
	}
	if err := addJSON(add, coverageFile, r.Coverage); err != nil {
		return err
	}
	byID := map[schema.FindingID]*schema.Finding{}
	for i := range b.Findings {
		byID[b.Findings[i].ID] = &b.Findings[i]
	}
	var lines bytes.Buffer
	for i := range r.Findings {
		f := byID[r.Findings[i].ID]
		if f == nil {
			return fmt.Errorf("the finding %s that the investigation mentions was not handed in", r.Findings[i].ID)
		}
		if err := addLine(&lines, f); err != nil {
			return err
		}
		m.Findings++
	}
	if err := add(findingsFile, lines.Bytes()); err != nil {
		return err
	}
	return b.addCalls(m, add)
}

// addCalls adds the calls, some thousands to a file.
func (b *Bundle) addCalls(m *Manifest, add func(string, []byte) error) error {
	var lines bytes.Buffer
	held, files := 0, 0
	flush := func() error {
		files++
		err := add(callsFile(files), lines.Bytes())
		lines.Reset()
		held = 0
		return err
	}
	var last schema.Call
	err := b.Calls(func(c *schema.Call) error {
		if m.Calls > 0 {
			switch order := compareCalls(&last, c); {
			case order == 0:
				return nil // a copy of the same call
			case order > 0:
				return errDisorder
			}
		}
		last = schema.Call{Time: c.Time, ID: c.ID}
		if err := addLine(&lines, c); err != nil {
			return err
		}
		m.Calls++
		if held++; held == callsPerFile {
			return flush()
		}
		return nil
	})
	if err == nil && held > 0 {
		err = flush()
	}
	return err
}

func compareCalls(a, b *schema.Call) int {
	if c := a.Time.Compare(b.Time); c != 0 {
		return c
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

func addJSON(add func(string, []byte) error, name string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return add(name, append(data, '\n'))
}

func addLine(b *bytes.Buffer, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write a line of the bundle: %w", err)
	}
	b.Write(data)
	b.WriteByte('\n')
	return nil
}

// bundleTime is the time that every file bears: a bundle has no time of its own.
var bundleTime = time.Unix(0, 0).UTC()

func addFile(t *tar.Writer, name string, data []byte) error {
	err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: bundleTime, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = t.Write(data)
	}
	if err != nil {
		return fmt.Errorf("write %s of the bundle: %w", name, err)
	}
	return nil
}
