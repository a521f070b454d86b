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
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/scopedrift/scopedrift/schema"
)

// Bounds of what a bundle may unpack to. Nothing is ever written to disk, and no
// more than one file is held at a time.
const (
	maxBundleFile  = 256 << 20
	maxBundleTotal = 64 << 30
	maxProblems    = 50
)

// Check is what a look at a bundle found.
type Check struct {
	Manifest Manifest `json:"manifest"`
	// Problems are sentences: what does not fit. None means that the bundle is
	// whole and agrees with itself.
	Problems []string `json:"problems"`
	// Proved is how many calls that findings show stand among the calls,
	// Elsewhere how many are of other credentials or times than the bundle's.
	Proved    int `json:"proved"`
	Elsewhere int `json:"elsewhere"`

	findings      []schema.Finding
	investigation Investigation
	// shown are the calls that findings show, by id, until they are found.
	shown map[schema.CallID]*shownCall
	seen  uint64
	last  schema.Call
	files []BundleFile
	names map[string]bool
}

// shownCall is a call that a finding shows.
type shownCall struct {
	text    []byte
	finding schema.FindingID
	call    schema.Call
	found   bool
}

// BundleError is a bundle that cannot be read, or is none.
type BundleError struct{ text string }

// Error says what is wrong.
func (e *BundleError) Error() string { return e.text }

// Hint says what to do.
func (e *BundleError) Hint() string {
	return "ask for the bundle again: scopedrift investigate --bundle FILE writes it"
}

func unreadable(format string, args ...any) error { return &BundleError{fmt.Sprintf(format, args...)} }

// CheckBundle reads a bundle and checks it: that it holds the files of its
// manifest and nothing else, each with its hash; that calls are in order, of the
// credentials and the window of the question; that findings are those that the
// investigation mentions, bear the ids that follow from them, and show calls that
// are among the calls. each, unless it is nil, is handed every call. A bundle
// that cannot be read at all is a *[BundleError].
func CheckBundle(r io.Reader, each func(*schema.Call) error) (*Check, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(2*bundleWindow), zstd.WithDecoderMaxMemory(maxBundleTotal))
	if err != nil {
		return nil, unreadable("this is no evidence bundle: it is not compressed with zstd (%v)", err)
	}
	defer z.Close()
	c := &Check{Problems: []string{}, shown: map[schema.CallID]*shownCall{}, names: map[string]bool{}}
	t := tar.NewReader(z)
	total := int64(0)
	for done := false; ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			if !done {
				return nil, unreadable("the bundle is not whole: it ends before its manifest")
			}
			break
		}
		if err != nil {
			return nil, broke(err)
		}
		if done {
			return nil, unreadable("the bundle holds %q after its manifest", clip(h.Name))
		}
		if total += h.Size; h.Size > maxBundleFile || total > maxBundleTotal {
			return nil, unreadable("the bundle unpacks to more than a bundle may: %q has %d bytes", clip(h.Name), h.Size)
		}
		if h.Typeflag != tar.TypeReg {
			return nil, unreadable("the bundle holds %q, which is no plain file", clip(h.Name))
		}
		if want := c.expected(); h.Name != want && (h.Name != manifestFile || len(c.files) < 3) {
			return nil, unreadable("the bundle holds %q where %s belongs", clip(h.Name), want)
		}
		data, err := io.ReadAll(io.LimitReader(t, h.Size))
		if err != nil {
			return nil, broke(err)
		}
		if done, err = c.file(h.Name, data, each); err != nil {
			return nil, err
		}
	}
	// Behind the archive may stand the zeros that fill its last block.
	if rest, err := io.ReadAll(io.LimitReader(z, 1<<20)); err != nil || len(rest) == 1<<20 || len(bytes.Trim(rest, "\x00")) > 0 {
		return nil, unreadable("something stands behind the end of the bundle")
	}
	c.finish()
	return c, nil
}

func broke(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return unreadable("the bundle is cut off: it ends in the midst of a file")
	}
	return unreadable("the bundle cannot be unpacked: %v", err)
}

func clip(s string) string { return s[:min(len(s), 80)] }

// expected is the file that comes next.
func (c *Check) expected() string {
	first := []string{investigationFile, coverageFile, findingsFile}
	if n := len(c.files); n < len(first) {
		return first[n]
	}
	return callsFile(len(c.files) - len(first) + 1)
}

func (c *Check) problem(format string, args ...any) {
	if len(c.Problems) < maxProblems {
		c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
	}
}

// file looks at one file; done says that it was the last.
func (c *Check) file(name string, data []byte, each func(*schema.Call) error) (done bool, err error) {
	if name == manifestFile {
		if err := json.Unmarshal(data, &c.Manifest); err != nil {
			return false, unreadable("the manifest of the bundle cannot be read: %v", err)
		}
		if c.Manifest.Format != BundleFormat {
			return false, unreadable("the bundle says it is a %q, and this program reads %q", clip(c.Manifest.Format), BundleFormat)
		}
		return true, nil
	}
	sum := sha256.Sum256(data)
	c.files = append(c.files, BundleFile{name, int64(len(data)), hex.EncodeToString(sum[:])})
	switch name {
	case investigationFile:
		if err := json.Unmarshal(data, &c.investigation); err != nil {
			return false, unreadable("%s of the bundle cannot be read: %v", name, err)
		}
		for i := range c.investigation.Credentials {
			one := &c.investigation.Credentials[i]
			c.names[one.ID] = true
			for _, id := range one.Observed {
				c.names[id] = true
			}
		}
		return false, nil
	case coverageFile:
		var coverage []schema.Coverage
		if err := json.Unmarshal(data, &coverage); err != nil {
			return false, unreadable("%s of the bundle cannot be read: %v", name, err)
		}
		return false, nil
	}
	for line := range bytes.Lines(data) {
		if name == findingsFile {
			err = c.finding(line)
		} else {
			err = c.call(name, line, each)
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// finding looks at a finding by itself.
func (c *Check) finding(line []byte) error {
	var f schema.Finding
	if err := json.Unmarshal(line, &f); err != nil {
		return unreadable("a finding of the bundle cannot be read: %v", err)
	}
	if id, ok := derived(&f); ok && id != f.ID {
		c.problem("finding %s should be %s: its id does not follow from its credential and object", f.ID, id)
	}
	if !c.names[f.Credential.ID] {
		c.problem("finding %s is about %s, which was not asked about", f.ID, f.Credential.ID)
	}
	c.findings = append(c.findings, f)
	for i := range f.Evidence.Calls {
		call := f.Evidence.Calls[i]
		text, err := plain(&call)
		if err != nil {
			return err
		}
		if other := c.shown[call.ID]; other != nil && !bytes.Equal(other.text, text) {
			c.problem("findings %s and %s show the call %s differently", other.finding, f.ID, call.ID)
		}
		c.shown[call.ID] = &shownCall{text: text, finding: f.ID, call: call}
	}
	return nil
}

// derived returns the id that follows from what a finding says, for detections
// whose object stands in the finding.
func derived(f *schema.Finding) (schema.FindingID, bool) {
	switch f.Code {
	case "D01", "D18":
		return schema.NewFindingID(f.Code, f.Credential.ID, f.Service, f.Operation, f.Tenant), true
	case "D02", "D17":
		return schema.NewFindingID(f.Code, f.Credential.ID), true
	}
	return "", false
}

// plain writes a call as findings show it: where it was read from is no part.
func plain(c *schema.Call) ([]byte, error) {
	one := *c
	one.Source.Name = ""
	return json.Marshal(&one)
}

// call looks at a call.
func (c *Check) call(name string, line []byte, each func(*schema.Call) error) error {
	var call schema.Call
	if err := json.Unmarshal(line, &call); err != nil {
		return unreadable("a call in %s of the bundle cannot be read: %v", name, err)
	}
	if c.seen > 0 && compareCalls(&c.last, &call) >= 0 {
		c.problem("the call %s in %s is out of order, or there twice", call.ID, name)
	}
	c.seen++
	c.last = schema.Call{Time: call.Time, ID: call.ID}
	if !c.investigation.Window.Contains(call.Time) {
		c.problem("the call %s in %s is not of the window asked about", call.ID, name)
	}
	if call.Credential.ID != "" && !c.names[call.Credential.ID] {
		c.problem("the call %s in %s is of %q, which was not asked about", call.ID, name, clip(call.Credential.ID))
	}
	if s := c.shown[call.ID]; s != nil {
		text, err := plain(&call)
		if err != nil {
			return err
		}
		if bytes.Equal(text, s.text) {
			s.found = true
		} else if !s.found {
			c.problem("finding %s shows the call %s otherwise than %s does", s.finding, call.ID, name)
			s.found = true
		}
	}
	if each != nil {
		return each(&call)
	}
	return nil
}

// finish compares what was read with what the manifest and the investigation say.
func (c *Check) finish() {
	m := &c.Manifest
	for i := range max(len(c.files), len(m.Files)) {
		switch {
		case i >= len(m.Files):
			c.problem("%s is not in the manifest", c.files[i].Name)
		case i >= len(c.files):
			c.problem("%q is in the manifest, and not in the bundle", clip(m.Files[i].Name))
		case c.files[i] != m.Files[i]:
			c.problem("%s is not what the manifest says: it was changed", c.files[i].Name)
		}
	}
	if c.seen != m.Calls {
		c.problem("the manifest speaks of %d calls, and there are %d", m.Calls, c.seen)
	}
	if len(c.findings) != m.Findings {
		c.problem("the manifest speaks of %d findings, and there are %d", m.Findings, len(c.findings))
	}
	r := &c.investigation
	if r.Window != m.Window || r.Question.Kind != m.Question.Kind || r.Question.Name != m.Question.Name {
		c.problem("the manifest answers another question than %s does", investigationFile)
	}
	var names []string
	for i := range r.Credentials {
		names = append(names, r.Credentials[i].ID)
	}
	if !slices.Equal(names, m.Credentials) {
		c.problem("the manifest names other credentials than %s does", investigationFile)
	}
	var mentioned, given []schema.FindingID
	for i := range r.Findings {
		mentioned = append(mentioned, r.Findings[i].ID)
	}
	for i := range c.findings {
		given = append(given, c.findings[i].ID)
	}
	if !slices.Equal(mentioned, given) {
		c.problem("%s mentions other findings than %s holds", investigationFile, findingsFile)
	}
	c.evidence()
}

// evidence sees that the calls which findings show are there.
func (c *Check) evidence() {
	var ids []schema.CallID
	for id := range c.shown {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b schema.CallID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids {
		s := c.shown[id]
		switch ours := c.names[s.call.Credential.ID] && c.investigation.Window.Contains(s.call.Time); {
		case s.found:
			c.Proved++
		case !ours || c.investigation.Question.Kind == KindWorkload:
			// Another credential of a movement; or, where a workload was asked
			// about, the same credential from elsewhere.
			c.Elsewhere++
		default:
			c.problem("finding %s shows the call %s, which is not among the calls", s.finding, id)
		}
	}
}

// Findings are those of the bundle.
func (c *Check) Findings() []schema.Finding { return c.findings }
