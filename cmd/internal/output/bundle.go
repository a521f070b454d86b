package output

import (
	"fmt"
	"io"
	"strings"

	"github.com/scopedrift/scopedrift/detector/investigate"
)

// WriteBundleCheck says what a look at an evidence bundle found.
func WriteBundleCheck(w io.Writer, c *investigate.Check, note string, o Options) error {
	p := newProse(w, o)
	m := &c.Manifest
	if len(c.Problems) == 0 {
		p.out.WriteString(p.paint.Good("The bundle is whole and agrees with itself.") + "\n")
	} else {
		p.out.WriteString(p.paint.Bad("The bundle does not fit together.") + "\n")
	}
	p.label("question", strings.TrimSpace(m.Question.Kind+" "+m.Question.Name))
	p.label("window", WindowText(m.Window))
	p.label("credentials", listOr(m.Credentials, "none"))
	p.label("holds", fmt.Sprintf("%s and %s in %s, each with its hash", Count(m.Calls, "call"), Count(uint64(m.Findings), "finding"), Count(uint64(len(m.Files)), "file")))
	digest := m.Catalogue.Digest
	if digest == "" {
		digest = "none"
	}
	p.whole("catalogue", digest)
	p.label("written by", "scopedrift "+m.Version)
	p.label("evidence", fmt.Sprintf("%s that findings show found among the calls; %d of other credentials or times than the bundle's", Count(uint64(c.Proved), "call"), c.Elsewhere))
	p.label("note", note)
	for i, problem := range c.Problems {
		p.label(map[bool]string{true: "problem"}[i == 0], problem)
	}
	return p.out.Flush()
}
