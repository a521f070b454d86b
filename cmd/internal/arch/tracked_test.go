package arch

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/internal/corpus"
)

// TestNothingFetchedIsTracked: what is built or fetched stays out of the
// repository, also as a link to it: checking such a link out replaces the real
// directory, and with it the broker and the engine that tests run against.
func TestNothingFetchedIsTracked(t *testing.T) {
	git := exec.Command("git", "ls-files", "--", ".cache", "bin", "dist")
	git.Dir = corpus.Module(t)
	out, err := git.Output()
	if err != nil {
		t.Skip("this is no git checkout: ", err)
	}
	if names := strings.Fields(string(out)); len(names) > 0 {
		t.Errorf("the repository tracks %v: git rm -r --cached %s, and commit that", names, strings.Join(names, " "))
	}
}
