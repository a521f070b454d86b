// Package daemon is the engine program: one data directory, one libchdb, one
// socket.
//
// [Main] is the whole program. Its life: claim the directory, load the library,
// open the engine, listen, say so, serve until nobody holds a lease or a signal
// comes, cancel what runs, close.
//
// It promises to own its directory alone, to leave nothing behind but the data
// when it ends in order, and to answer every failure to start with an
// [engine.Error]. It cannot promise that after a kill: then the next owner of
// the directory cleans up.
//
// Only cmd/scopedrift-engine may import it: it links the dynamic loader.
package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/chdb"
	"github.com/scopedrift/scopedrift/pipeline/engine/serve"
)

// options are the command line.
type options struct {
	data      string
	memory    uint64
	threads   int
	library   string
	socket    string
	listen    string
	child     bool
	ephemeral bool
}

const usage = `scopedrift-engine holds the embedded ClickHouse of scopedrift. scopedrift starts
it by itself; by hand it serves one data directory until it is interrupted:

  scopedrift-engine --data DIR

`

// Main runs the program and returns its exit code: 0 done, 1 broke, 2 wrong use.
func Main(args []string) int {
	var o options
	flags := flag.NewFlagSet(engine.ProgramName, flag.ContinueOnError)
	flags.StringVar(&o.data, "data", "", "data `directory`; created if it does not exist")
	flags.Uint64Var(&o.memory, "memory", engine.DefaultMemory, "bound of the engine's memory in `bytes`")
	flags.IntVar(&o.threads, "threads", 0, "bound of the threads of one statement; 0 is one for each core")
	flags.StringVar(&o.library, "library", "", "`path` of libchdb (default $"+engine.LibraryEnv+", else beside this program)")
	flags.StringVar(&o.socket, "socket", "", "`path` of the unix socket (default: in a new private directory)")
	flags.StringVar(&o.listen, "listen", "", "loopback TCP `address` to serve as well, such as 127.0.0.1:8123")
	flags.BoolVar(&o.child, "child", false, "end when standard input ends and nobody else holds a lease; report on file 3")
	flags.BoolVar(&o.ephemeral, "ephemeral", false, "remove the data directory at the end")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if o.data == "" || flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "scopedrift-engine: --data DIR is needed, and nothing else but flags")
		return 2
	}
	return run(o)
}

// run reports how it went, to the parent if there is one.
func run(o options) int {
	// A command that is gone must not end the engine by its broken pipes.
	signal.Ignore(syscall.SIGPIPE)
	// Times without a zone are UTC whatever the machine's zone is.
	if err := os.Setenv("TZ", "UTC"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	report := func(engine.Status) {}
	if o.child {
		status := os.NewFile(engine.StatusFile, "status")
		syscall.CloseOnExec(engine.StatusFile)
		report = func(s engine.Status) {
			if line, err := json.Marshal(s); err == nil {
				_, _ = status.Write(append(line, '\n'))
			}
		}
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err := live(o, report, signals); err != nil {
		e := asError(err)
		if !o.child {
			fmt.Fprintf(os.Stderr, "scopedrift-engine: %s: %s\n", e.Text, e.Remedy)
		}
		report(engine.Status{Error: e})
		return 1
	}
	return 0
}

func asError(err error) *engine.Error {
	var e *engine.Error
	if errors.As(err, &e) {
		return e
	}
	return &engine.Error{Kind: engine.StartFailed, Text: "the engine failed: " + err.Error(),
		Remedy: "run the command again, or use a server with --clickhouse URL", Err: err}
}

// live is the life of the program between its start and its end.
func live(o options, report func(engine.Status), signals <-chan os.Signal) (err error) {
	// The library first: it is cheap to check and touches nothing.
	path, err := engine.FindLibrary(o.library)
	if err != nil {
		return err
	}
	claim, err := engine.ClaimDirectory(o.data)
	if err != nil {
		return err
	}
	defer claim.Release()
	if o.ephemeral {
		defer func() { _ = os.RemoveAll(o.data) }()
	}
	mended, err := claim.MendTokens()
	if err != nil {
		return err
	}
	if mended > 0 {
		fmt.Fprintf(os.Stderr, "scopedrift-engine: the last engine was killed while it stored rows; parts without a name that may be inserted again: %d\n", mended)
	}
	lib, err := chdb.Load(path)
	if err != nil {
		return engine.LoadFailure(path, err)
	}
	srv, err := serve.New(lib, serve.Config{Path: claim.DataPath(), Memory: o.memory, Threads: o.threads})
	if err != nil {
		return openFailure(o.data, err)
	}
	d := &door{server: srv, leases: newLeases()}
	d.leases.take() // ours, or the parent's, before anybody else can come and go
	defer func() { d.shut() }()
	if err := d.open(o.socket, o.listen); err != nil {
		return err
	}
	r := engine.Running{PID: os.Getpid(), Socket: d.socket, Address: d.address, Version: srv.Version(), Started: time.Now().UTC()}
	if err := claim.Announce(r); err != nil {
		return err
	}
	if o.child {
		go d.leases.followParent(os.Stdin, func() { report(engine.Status{Kept: true}) })
	} else {
		// By hand: the lease is never given back, only a signal ends it.
		fmt.Fprintf(os.Stderr, "scopedrift-engine: ClickHouse %s, process %d, socket %s\n", r.Version, r.PID, r.Socket)
		if d.address != "" {
			fmt.Fprintf(os.Stderr, "scopedrift-engine: also http://%s\n", d.address)
		}
	}
	report(engine.Status{Ready: &r})
	select {
	case <-signals:
	case <-d.leases.none:
	case err = <-d.failed:
	}
	return err
}

// openFailure turns the library's refusal into an error. The library prints
// the reason only on standard error in some cases.
func openFailure(dir string, err error) error {
	return engine.ParseFailure(dir, err.Error())
}

// shut ends the serving and the engine, in order, within the grace time.
func (d *door) shut() {
	ctx, cancel := context.WithTimeout(context.Background(), engine.StopGrace)
	defer cancel()
	d.close()
	if !d.server.Close(ctx) {
		fmt.Fprintln(os.Stderr, "scopedrift-engine: a statement did not end in time; leaving it behind")
	}
}
