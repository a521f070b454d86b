package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInvestigateDocument runs every command of docs/investigate.md, in order, on
// the month that it is about, and holds what comes out to what stands there.
func TestInvestigateDocument(t *testing.T) {
	environment := needEngine(t)
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "investigate.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(line string) []string {
		t.Helper()
		words := strings.Split(line, `"`)
		var args []string
		for i, part := range words {
			if i%2 == 1 {
				args = append(args, part) // quoted
			} else {
				args = append(args, strings.Fields(part)...)
			}
		}
		if len(args) < 2 || args[0] != "scopedrift" {
			t.Fatalf("%q is no command of ours", line)
		}
		cmd := exec.Command(program, args[1:]...)
		cmd.Env, cmd.Dir = environment, dir
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, stderr.String())
		}
		return strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	}
	run("scopedrift demo --keep story --quiet")
	commands := 0
	for i, block := range strings.Split(string(text), "```console\n") {
		if i == 0 {
			continue
		}
		block, _, closed := strings.Cut(block, "\n```")
		if !closed {
			t.Fatal("a block does not end")
		}
		for _, part := range strings.Split("\n"+block, "\n$ ")[1:] {
			lines := strings.Split(part, "\n")
			commands++
			if missing := follows(run(lines[0]), lines[1:]); missing != "" {
				t.Errorf("$ %s\ndoes not say, where it should:\n%s", lines[0], missing)
			}
		}
	}
	if commands < 8 {
		t.Errorf("only %d commands were found", commands)
	}
}

// follows compares output with what is wanted of it, in which a line "…" stands
// for any lines, and returns the wanted line that does not come.
func follows(got, want []string) string {
	any := false
	for _, line := range want {
		if line == "…" {
			any = true
			continue
		}
		at := 0
		for any && at < len(got) && got[at] != line {
			at++
		}
		if at >= len(got) || got[at] != line {
			return line
		}
		got, any = got[at+1:], false
	}
	if !any && len(got) > 0 {
		return "(the end, before " + got[0] + ")"
	}
	return ""
}

func TestFollows(t *testing.T) {
	for _, c := range []struct {
		got, want string
		ok        bool
	}{
		{"a b c", "a b c", true}, {"a b c", "a … c", true}, {"a b c", "… c", true}, {"a b c", "a …", true}, {"a b c", "a b", false},
		{"a b c", "a c", false}, {"a b", "a b c", false}, {"a b c", "b …", false}, {"a b c", "… b", false},
	} {
		if missing := follows(strings.Fields(c.got), strings.Fields(c.want)); (missing == "") != c.ok {
			t.Errorf("%q against %q: %q", c.got, c.want, missing)
		}
	}
}
