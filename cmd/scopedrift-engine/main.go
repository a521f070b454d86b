// Command scopedrift-engine holds the embedded ClickHouse and nothing else,
// so that scopedrift itself needs no dynamic loader and survives a crash of it.
package main

import (
	"os"

	"github.com/scopedrift/scopedrift/pipeline/engine/daemon"
)

func main() {
	os.Exit(daemon.Main(os.Args[1:]))
}
