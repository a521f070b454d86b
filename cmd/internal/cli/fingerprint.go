package cli

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/collector/identify"
	"github.com/scopedrift/scopedrift/collector/redact"
)

// secretMost bounds a secret: the largest tokens in use are a few kilobytes.
const secretMost = 1 << 16

func (a *app) fingerprintCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "fingerprint", Short: "read a secret from standard input and print the id it is known by",
		Long: `Reads a secret from standard input and prints the credential id under which its
calls are stored: for an opaque secret a fingerprint keyed by the installation
key, for a token that names its client that name. The secret is not kept.

--as says where the secret stands in a request, since the same bytes in another
place are another credential: api_key, authorization (a whole header value, such
as "Bearer …") or session_cookie.

A secret is never an argument: arguments are seen by everybody on the machine
and kept by the shell.`,
		Example: "  pass show billing/api-key | scopedrift credentials fingerprint --data /var/lib/scopedrift\n" +
			"  scopedrift credentials fingerprint --as authorization --key installation.key < header.txt",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				// The argument is not repeated: it is likely the secret.
				return usage("credentials fingerprint takes no arguments: a secret on the command line is seen by others and kept by the shell",
					"pipe the secret in, and replace it if it was real",
					"pass show NAME | scopedrift credentials fingerprint")
			}
			return nil
		},
	}
	as := word{"api_key", []string{"api_key", "authorization", "session_cookie"}}
	c.Flags().Var(&as, "as", "where the secret stands in a request: "+strings.Join(as.known, ", "))
	a.settings.bind(c.Flags(), "key", "data")
	bindOutput(c.Flags(), "text", "json")
	c.RunE = a.action(func(context.Context, []string) error { return a.fingerprint(as.value) })
	return c
}

func (a *app) fingerprint(as string) error {
	path, err := a.keyPath()
	if err != nil {
		return err
	}
	key, err := redact.LoadKey(path)
	if err != nil {
		return broken(err)
	}
	secret, err := a.env.ReadSecret("secret (not shown): ", secretMost)
	if err != nil {
		return err
	}
	if len(secret) == 0 {
		return usage("no secret on standard input", "pass show NAME | scopedrift credentials fingerprint")
	}
	var evidence identify.Evidence
	switch as {
	case "authorization":
		evidence.Authorization = redact.NewSecret(secret)
	case "session_cookie":
		evidence.SessionCookie = redact.NewSecret(identify.CookieOf(secret)) // a whole header is fine, too
	default:
		evidence.APIKey = redact.NewSecret(secret)
	}
	var identity identify.Identity
	identify.New(key).Identify(&evidence, &identity)
	if a.settings.output == "json" {
		return output.Document(a.env.Stdout, identity.Credential)
	}
	a.say("%s  %s", identity.Credential.ID, identity.Credential.Kind)
	return nil
}

// keyPath finds the installation key: as given, else in the data directory,
// else among the user's own settings.
func (a *app) keyPath() (string, error) {
	switch {
	case a.settings.key != "":
		return a.env.Path(a.settings.key), nil
	case a.settings.data != "":
		return filepath.Join(a.env.Path(a.settings.data), "key"), nil
	}
	dir := a.env.UserDir()
	if dir == "" {
		return "", usage("there is no place for the installation key: neither HOME nor XDG_CONFIG_HOME is set",
			"pass --key FILE; the file is made if it does not exist")
	}
	return filepath.Join(strings.TrimSuffix(dir, "/"), "key"), nil
}
