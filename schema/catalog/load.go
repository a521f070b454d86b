package catalog

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// maxFile bounds one file, also after decompression: the largest published
// OpenAPI documents have some 15 MB.
const maxFile = 64 << 20

// loader gathers a catalogue and everything that is wrong with it.
type loader struct {
	root     string
	catalog  *Catalog
	problems Problems
	// bytes are the files that were read, by name; documents what they hold,
	// by path.
	bytes     map[string][]byte
	documents map[string]*document
	// declared is where a name was first declared, by "section name".
	declared map[string]string
	// undecided are grants without a dialect of their own.
	undecided []*schema.Grant
	// pending are services whose OpenAPI document is still to be read.
	pending []pendingService
	// references are services mentioned by name, to be checked when all are
	// known.
	references   []reference
	scopePlaces  []scopePlace
	sourcePlaces []string
}

// document is one file, read once.
type document struct {
	file  sourceFile
	nodes []*node
	// used says that a service refers to it.
	used bool
}

// reference is a mention of a service by name.
type reference struct {
	file *sourceFile
	at   *node
	name string
	// by names what mentions it; strict makes an unknown name a problem rather
	// than a note.
	by     string
	strict bool
}

// Load reads the catalogue at path: one file, or all *.yaml and *.yml of a
// directory (not of its subdirectories; a file whose name begins with a dot is
// left out, and an OpenAPI document is read only where a service refers to it).
// An error is always *[Problems].
func Load(path string) (*Catalog, error) {
	l := &loader{
		catalog: &Catalog{Scopes: map[string]schema.Scope{}},
		bytes:   map[string][]byte{}, documents: map[string]*document{}, declared: map[string]string{},
	}
	l.load(path)
	if len(l.problems.List) > 0 {
		return nil, l.problems.sorted()
	}
	l.catalog.Digest = digest(l.bytes)
	return l.catalog, nil
}

// digest hashes files in the order of their names. Lengths stand before names
// and bytes, so that no two sets of files give the same input.
func digest(files map[string][]byte) string {
	h := sha256.New()
	for _, name := range slices.Sorted(mapKeys(files)) {
		fmt.Fprintf(h, "%d %s %d\n", len(name), name, len(files[name]))
		h.Write(files[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (l *loader) load(path string) {
	info, err := os.Stat(path)
	if err != nil {
		l.unreadable(path, err)
		return
	}
	paths := []string{path}
	l.root = filepath.Dir(path)
	if info.IsDir() {
		l.root = path
		if paths, err = yamlFiles(path); err != nil {
			l.unreadable(path, err)
			return
		}
		if len(paths) == 0 {
			l.problems.List = append(l.problems.List, Problem{File: path,
				Message: "the directory holds no *.yaml or *.yml file", Hint: "is this the catalogue's directory?"})
			return
		}
	}
	var files []*document
	for _, p := range paths {
		d := l.open(p, nil, nil)
		if d == nil {
			continue
		}
		if len(d.nodes) > 0 && isSpec(d.nodes[0]) {
			if !info.IsDir() {
				l.problem(&d.file, d.nodes[0], "this is an OpenAPI document, not a catalogue", "write a catalogue with a service whose key openapi names this file")
			}
			continue
		}
		files = append(files, d)
	}
	sections := 0
	for _, d := range files {
		for _, n := range d.nodes {
			sections += l.sections(&d.file, n)
		}
	}
	if sections == 0 && len(l.problems.List) == 0 {
		l.problems.List = append(l.problems.List, Problem{File: path, Message: "nothing is declared here",
			Hint: "a catalogue has the sections " + strings.Join(sectionNames, ", ")})
		return
	}
	l.finish()
}

// yamlFiles lists the YAML files of a directory in the order of their names.
func yamlFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		name := e.Name()
		if ext := filepath.Ext(name); ext != ".yaml" && ext != ".yml" || strings.HasPrefix(name, ".") {
			continue
		}
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			continue
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// problem reports what is wrong at a node.
func (l *loader) problem(file *sourceFile, at *node, message, hint string) {
	p := Problem{File: file.path, Message: message, Hint: hint}
	if at != nil {
		p.Line, p.Column = at.line, at.column
	}
	l.problems.List = append(l.problems.List, p)
}

// note tells what was passed over.
func (l *loader) note(file *sourceFile, line int, text string) {
	l.catalog.Notes = append(l.catalog.Notes, Note{File: file.path, Line: line, Text: text})
}

// unreadable reports a file that cannot be read at all.
func (l *loader) unreadable(path string, err error) {
	p := Problem{File: path, Message: "cannot be read: " + cause(err)}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Message, p.Hint = "there is no such file or directory", "check the path"
	case errors.Is(err, fs.ErrPermission):
		p.Message, p.Hint = "cannot be read: permission denied", "give read permission to the user that runs scopedrift"
	}
	l.problems.List = append(l.problems.List, p)
}

// cause returns an error's text without the path that a message has already.
func cause(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// open reads and parses a file once; nil says that it could not, and why is
// reported: at the place that refers to it, if there is one.
func (l *loader) open(path string, from *sourceFile, at *node) *document {
	path = filepath.Clean(path)
	if d, ok := l.documents[path]; ok {
		return d
	}
	d := &document{file: sourceFile{path: path, name: l.name(path)}}
	data, err := readFile(path)
	if err != nil {
		if from == nil {
			l.unreadable(path, err)
		} else {
			l.problem(from, at, fmt.Sprintf("the OpenAPI document %q cannot be read: %s", path, cause(err)), "the path is relative to this file")
		}
		l.documents[path] = nil
		return nil
	}
	l.bytes[d.file.name] = data
	nodes, problem := readDocuments(data)
	if problem != nil {
		l.problem(&d.file, &node{line: problem.line, column: problem.column}, problem.message, problem.hint)
		l.documents[path] = nil
		return nil
	}
	d.nodes = nodes
	l.documents[path] = d
	return d
}

// name returns a path relative to the catalogue.
func (l *loader) name(path string) string {
	rel, err := filepath.Rel(l.root, path)
	if err != nil {
		return filepath.Base(path)
	}
	return filepath.ToSlash(rel)
}

// readFile reads a file, which may be compressed with gzip as published
// documents often are.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readBounded(f)
	if err != nil || !bytes.HasPrefix(data, []byte("\x1f\x8b")) {
		return data, err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return readBounded(z)
}

var errTooLarge = errors.New("it is larger than 64 MiB")

func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errTooLarge
	}
	return data, err
}

// once reports a name that is declared a second time; false says so.
func (l *loader) once(file *sourceFile, at *node, what, name string) bool {
	key := what + " " + name
	if first, ok := l.declared[key]; ok {
		l.problem(file, at, fmt.Sprintf("%s %q is declared twice, first in %s", what, name, first), "remove or rename one")
		return false
	}
	l.declared[key] = file.place(at.line)
	return true
}
