package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/schema/table"
)

// What stands in a --data directory.
const (
	storeDir       = "store"
	keyFile        = "key"
	deadLetterFile = "dead-letter.jsonl"
)

// passwordVariable may hold the password of a --clickhouse server.
const passwordVariable = "SCOPEDRIFT_CLICKHOUSE_PASSWORD"

// storeFlags are the settings that choose a store.
var storeFlags = []string{"data", "clickhouse", "clickhouse-password-file", "memory"}

// store is an open ClickHouse, embedded or not.
type store struct {
	conn   driver.Conn
	engine *engine.Engine
	cancel context.CancelCauseFunc
	quit   chan struct{}
	forget func()
	// lasting says that the store outlives the command, so it may hold calls
	// of earlier runs.
	lasting bool
	// migrated are the schema steps that opening the store ran.
	migrated []table.Step
}

// openStore opens the store that the settings name, for a command that writes:
// a data directory is made, and without any setting the store is temporary. The
// returned context ends when the engine dies, and only then: whoever is
// interrupted still has to flush.
func (a *app) openStore(ctx context.Context) (context.Context, *store, error) {
	s := a.settings
	if s.data != "" {
		if err := a.claimData(); err != nil {
			return nil, nil, err
		}
	}
	return a.connect(ctx, context.WithoutCancel(ctx), s.data != "" || s.clickhouse.value != "")
}

// openExisting opens a store for a command that reads. The returned context
// ends with the given one, and when the engine dies.
func (a *app) openExisting(ctx context.Context) (context.Context, *store, error) {
	s := a.settings
	if s.clickhouse.value == "" {
		if s.data == "" {
			return nil, nil, usage("no store is named",
				"pass --data DIR with the directory that scan --data DIR made, or --clickhouse URL",
				"SCOPEDRIFT_DATA=DIR does so for every command")
		}
		if !a.env.Exists(filepath.Join(s.data, storeDir)) {
			return nil, nil, usage(fmt.Sprintf("there is no store in %s", s.data), "scopedrift scan --data "+s.data+" INPUT makes one")
		}
	}
	return a.connect(ctx, ctx, true)
}

// claimData makes the data directory, or refuses one that is somebody else's.
func (a *app) claimData() error {
	dir := a.settings.data
	info, err := a.env.Stat(dir)
	switch {
	case err != nil:
		if err := a.env.MkdirAll(dir); err != nil {
			return broken(fmt.Errorf("make the data directory: %w", err), "pass --data DIR with a directory that can be written")
		}
	case !info.IsDir():
		return usage(fmt.Sprintf("%s is not a directory", dir), "pass --data DIR with a directory of its own")
	case !a.env.Empty(dir) && !a.env.Exists(filepath.Join(dir, storeDir)) && !a.env.Exists(filepath.Join(dir, keyFile)):
		return usage(fmt.Sprintf("%s holds something else than a store of scopedrift", dir), "pass --data DIR with an empty or new directory")
	}
	return nil
}

// connect opens the store. start bounds the opening, live the time after it.
func (a *app) connect(start, live context.Context, lasting bool) (context.Context, *store, error) {
	s := &store{lasting: lasting, quit: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(live)
	s.cancel = cancel
	target := a.target()
	if target.URL == "" {
		eng, forget, err := a.startEngine(start)
		if err != nil {
			cancel(err)
			return nil, nil, interrupted(start, err)
		}
		s.engine, s.forget = eng, forget
		target = clickhouse.Target{Socket: eng.Socket()}
		go func() {
			select {
			case <-eng.Done():
				if err := eng.Err(); err != nil {
					cancel(err)
				}
			case <-s.quit:
			}
		}()
	}
	conn, err := clickhouse.Open(start, target)
	if err == nil {
		s.conn = conn
		if lasting {
			s.migrated, err = clickhouse.Migrate(start, conn)
		} else {
			_, err = clickhouse.MigrateTemporary(start, conn)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(interrupted(start, s.why(ctx, err)), s.close())
	}
	return ctx, s, nil
}

// target is the server that the settings name, if any.
func (a *app) target() clickhouse.Target { return a.server(a.settings.clickhouse.value) }

// server is the server at an address, with the password that the settings name.
func (a *app) server(address string) clickhouse.Target {
	return clickhouse.Target{
		URL:          address,
		Password:     a.env.Getenv(passwordVariable),
		PasswordFile: a.env.Path(a.settings.password),
	}
}

// startEngine starts the engine. If the command has to end at once, also in the
// midst of this, the engine still takes its temporary directory with it; forget
// is for a command that ends in peace.
func (a *app) startEngine(ctx context.Context) (eng *engine.Engine, forget func(), err error) {
	cfg := engine.Config{Memory: a.settings.memory.value}
	if a.settings.data != "" {
		cfg.Dir = filepath.Join(a.env.Path(a.settings.data), storeDir)
	}
	started := make(chan struct{})
	forget = a.env.onExit(func() {
		select {
		case <-started:
		case <-time.After(engine.StopGrace):
			return
		}
		if eng != nil {
			_ = eng.Close()
		}
	})
	eng, err = engine.Start(ctx, cfg)
	close(started)
	if err != nil {
		forget()
	}
	return eng, forget, err
}

// close lets go of the store. It reports an engine that had died, since then
// nothing that was computed can be trusted.
func (s *store) close() error {
	close(s.quit)
	defer s.cancel(context.Canceled)
	if s.conn != nil {
		_ = s.conn.Close() // pooled connections to a socket hold nothing that matters
	}
	if s.engine != nil {
		// The registered Close runs here, once; asking again tells how it went.
		s.forget()
		return s.engine.Close()
	}
	return nil
}

// why says what a statement of the store failed with: the death of the engine or
// an interruption rather than what they broke, and a remedy.
func (s *store) why(ctx context.Context, err error) error {
	if err != nil && s.engine != nil {
		err = s.engine.Blame(err)
	}
	return interrupted(ctx, explained(err))
}

// dead returns why the engine ended, nil while it runs.
func (s *store) dead() error {
	if s.engine == nil {
		return nil
	}
	return s.engine.Err()
}

// interrupted replaces an error that only says that a context ended by the
// reason why it ended.
func interrupted(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	cause := context.Cause(ctx)
	var died *engine.Error
	if errors.Is(cause, errInterrupted) || errors.As(cause, &died) {
		return cause
	}
	return err
}

// explained gives a failed statement its remedy, and leaves alone what has one.
func explained(err error) error {
	var hinted interface{ Hint() string }
	var coded interface{ ExitCode() int }
	if err == nil || errors.As(err, &hinted) || errors.As(err, &coded) {
		return err
	}
	return clickhouse.Explain(err)
}

// grace is how long a command may take to flush what it knows after an
// interruption.
const grace = 10 * time.Second
