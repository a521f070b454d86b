package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
)

// release is the version that the build stamps in; without it the module's own
// version and commit tell.
var release string

// version returns the program's version.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, changed := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				changed = "+changed"
			}
		}
	}
	if len(revision) > 12 {
		return "devel-" + revision[:12] + changed
	}
	return "devel"
}

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "print version, compiler and platform", Args: cobra.NoArgs,
		Long:    "Prints the version, the Go release it was built with and the platform.",
		Example: "  scopedrift version\n  scopedrift version -o json",
	}
	bindOutput(c.Flags(), "text", "json")
	c.RunE = a.action(func(context.Context, []string) error {
		if a.settings.output == "json" {
			return output.Document(a.env.Stdout, map[string]string{
				"version": version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
			})
		}
		_, err := fmt.Fprintf(a.env.Stdout, "scopedrift %s\n%s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	})
	return c
}

const completionLong = `Writes a completion script for a shell to standard output.

  bash        source <(scopedrift completion bash)
  zsh         scopedrift completion zsh > "${fpath[1]}/_scopedrift"
  fish        scopedrift completion fish > ~/.config/fish/completions/scopedrift.fish
  powershell  scopedrift completion powershell | Out-String | Invoke-Expression`

func (a *app) completionCommand(root *cobra.Command) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use: "completion SHELL", Short: "write a completion script for bash, zsh, fish or powershell",
		Long: completionLong, Example: "  source <(scopedrift completion bash)",
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("completion takes one shell", "it is one of bash, zsh, fish, powershell")
			}
			return (&word{known: shells}).Set(args[0])
		},
		RunE: a.action(func(_ context.Context, args []string) error {
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.env.Stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.env.Stdout)
			case "fish":
				return root.GenFishCompletion(a.env.Stdout, true)
			}
			return root.GenPowerShellCompletionWithDesc(a.env.Stdout)
		}),
	}
}
