// Command scopedrift compares what machine credentials do with what they were
// granted. See package cli for its commands.
package main

import "github.com/scopedrift/scopedrift/cmd/internal/cli"

func main() {
	cli.Exit(cli.Main(cli.System()))
}
