package cli

import (
	"context"
	"sync"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// station is what a command that runs for a long time stands on: its log, its
// metrics, and the catalogue that is reloaded under it. A command binds the
// settings "catalog" and "metrics-listen" for it.
type station struct {
	log operate.Log
	// server takes the command's metrics and its questions of health.
	server *operate.Server
	// catalogue is the one in force: ask for Current for each piece of work.
	catalogue *operate.Catalogue

	cancel context.CancelFunc
	busy   sync.WaitGroup
	failed error
}

// openStation loads the catalogue, takes the address of the metrics, and serves
// them until close. When ctx ends, /readyz says so; the metrics stay until close,
// so that the draining can be watched. changed, which may be nil, is told of each
// new catalogue.
//
// Such a command ends with nil, and so with exit code 0, when it was told to end
// and has stored what it held: that is what supervisors expect of SIGTERM.
func (a *app) openStation(ctx context.Context, part string, changed func(*catalog.Catalog)) (*station, error) {
	loaded, err := a.loadCatalog()
	if err != nil {
		return nil, err
	}
	s := &station{log: operate.NewLog(a.env.Stderr, part, a.settings.quiet || part == "watch")}
	s.server = operate.New(operate.Config{Part: part, Version: version(), Listen: a.settings.metrics, Log: s.log})
	if err := s.server.Open(); err != nil {
		return nil, misused(err)
	}
	path := ""
	if a.settings.catalog != "" {
		path = a.env.Path(a.settings.catalog)
	}
	s.catalogue = operate.NewCatalogue(path, loaded, s.log, changed)
	s.catalogue.Observe(s.server)
	live, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		s.log.Info().Dur("bound_ms", operate.DrainTime).Msg("told to end: finishing what was read")
		s.server.Ending()
	})
	s.cancel = func() { stop(); cancel() }
	s.busy.Add(2)
	go func() {
		defer s.busy.Done()
		s.failed = s.server.Run(live)
	}()
	go func() {
		defer s.busy.Done()
		s.catalogue.Run(live, a.env.Hangups())
	}()
	return s, nil
}

// close ends the serving. Its error is one of the HTTP side.
func (s *station) close() error {
	s.cancel()
	s.busy.Wait()
	return s.failed
}
