package redact

import (
	"bytes"
	"encoding/hex"
)

// digestBytes is how much of a keyed digest tells objects apart.
const digestBytes = 8

// digest appends "#" and a keyed digest of raw. Two objects whose names differ
// only in what was removed are then still two: without it, one that was refused
// and one that was allowed would look like one.
func (s *Scrubber) digest(name, raw []byte) []byte {
	if s.key == nil {
		return name
	}
	sum := s.key.Sum("object", raw)
	return hex.AppendEncode(append(name, '#'), sum[:digestBytes])
}

// Object returns, after Target, the name of the object that its path stood for:
// nil where the path kept all its characters and names the object itself, else
// the path with a keyed digest of what it was. It is valid as long as the path.
func (s *Scrubber) Object() []byte {
	if len(s.object) == 0 {
		return nil
	}
	return s.object
}

// Resource returns the name of an object (an ARN, a name in an API) without its
// secrets. Where it lost one it ends in a keyed digest of what it was. The key
// of an S3 object is judged like a path, in which noise is a secret. What it
// returns is name itself or valid until the next call.
func (s *Scrubber) Resource(name []byte) []byte {
	clean := name
	if i := objectKey(name); i > 0 && s.suspicious(name[i:], modePath) {
		key := s.scrub(name[i:], modePath, pathMark, &s.path)
		clean = append(bytes.Clone(name[:i]), key...)
	}
	clean = s.Text(clean)
	if bytes.Equal(clean, name) {
		return name
	}
	s.resource = s.digest(append(s.resource[:0], clean...), name)
	return s.resource
}

var s3Prefix = []byte(":s3:::")

// objectKey returns where the key of an S3 object begins in its ARN, with its
// slash; 0 for every other name.
func objectKey(name []byte) int {
	if !bytes.HasPrefix(name, []byte("arn:")) {
		return 0
	}
	i := bytes.Index(name, s3Prefix)
	if i < 0 || i > 16 {
		return 0
	}
	slash := bytes.IndexByte(name[i:], '/')
	if slash < 0 {
		return 0
	}
	return i + slash
}
