package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func eachCommand(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, child := range c.Commands() {
		eachCommand(child, do)
	}
}

func testRoot(t *testing.T) *cobra.Command {
	t.Helper()
	return (&app{env: testEnv(t), settings: newSettings()}).root()
}

// TestHelp wants every command to say what it is for and to show how.
func TestHelp(t *testing.T) {
	eachCommand(testRoot(t), func(c *cobra.Command) {
		if c.Name() == "help" {
			return
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: the short help is %q", c.CommandPath(), c.Short)
		}
		if len(c.Long) < 40 {
			t.Errorf("%s has no long help", c.CommandPath())
		}
		if !c.HasSubCommands() && c.Example == "" {
			t.Errorf("%s shows no example", c.CommandPath())
		}
		for _, line := range strings.Split(c.Long+"\n"+c.Example, "\n") {
			if len(line) > 150 {
				t.Errorf("%s: a line of its help is %d long: %s", c.CommandPath(), len(line), line)
			}
		}
	})
}

// commandLine finds command lines in prose: up to where the shell does something else.
var commandLine = regexp.MustCompile(`(?m)(?:^|[\s|` + "`" + `(])(?:bin/)?(scopedrift [a-z][^\n|>&#` + "`" + `;)]*)`)

// TestShownCommandsExist holds every command line that help, README and docs
// show to the commands and flags that there are.
func TestShownCommandsExist(t *testing.T) {
	texts := map[string]string{"root help": rootLong}
	eachCommand(testRoot(t), func(c *cobra.Command) { texts["help of "+c.CommandPath()] = c.Example })
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "docs/architecture.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	found := 0
	for name, text := range texts {
		for _, m := range commandLine.FindAllStringSubmatch(text, -1) {
			words := strings.Fields(m[1])[1:]
			if !strings.ContainsAny(m[1], "-./") && len(words) > 3 || words[0] == "watches" {
				continue // prose about the program
			}
			found++
			root := testRoot(t)
			c, rest, err := root.Find(words)
			if err != nil || c == root {
				t.Errorf("%s shows %q: there is no such command", name, m[1])
				continue
			}
			if err := c.ParseFlags(rest); err != nil && !strings.Contains(err.Error(), "help requested") {
				t.Errorf("%s shows %q: %v", name, m[1], err)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d command lines found: the pattern no longer fits", found)
	}
}

func TestNextCommands(t *testing.T) {
	for in, want := range map[string]string{
		"findings":             "scopedrift findings --data 'a dir' --catalog cat/",
		"nosuchcommand x":      "",
		"explain D01-1":        "scopedrift explain D01-1 --data 'a dir' --catalog cat/",
		"calls --credential x": "scopedrift calls --credential x --data 'a dir' --catalog cat/",
	} {
		app := &app{env: testEnv(t), settings: newSettings()}
		app.settings.data, app.settings.catalog = "a dir", "cat/"
		if got := app.nextCommand("scopedrift " + in); got != want {
			t.Errorf("%s becomes %q, want %q", in, got, want)
		}
	}
	if got := (&app{env: testEnv(t), settings: newSettings()}).nextCommand("kubectl get pods"); got != "kubectl get pods" {
		t.Errorf("another program's command becomes %q", got)
	}
	if got := shellWord("it's $(x)"); got != `'it'\''s $(x)'` {
		t.Errorf("quoted as %s", got)
	}
}
