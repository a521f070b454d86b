package operate

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Catalogue holds the catalogue that is in force, and puts a changed one in its
// place. Its methods may be called from any goroutine.
type Catalogue struct {
	path    string
	log     Log
	current atomic.Pointer[catalog.Catalog]
	// loading is held while a catalogue is read.
	loading          sync.Mutex
	seen             uint64
	reloads, refused atomic.Uint64
	broken           atomic.Bool
	changed          func(*catalog.Catalog)
}

// poll is how often the files are looked at. Looking, rather than being told,
// also works for network file systems and for the symbolic links by which
// Kubernetes changes a mounted directory.
const poll = 2 * time.Second

// NewCatalogue returns the holder of a catalogue that was loaded from path; an
// empty path is a catalogue that never changes. changed, which may be nil, is
// told of each new one, in the goroutine that loaded it.
func NewCatalogue(path string, loaded *catalog.Catalog, log Log, changed func(*catalog.Catalog)) *Catalogue {
	c := &Catalogue{path: path, log: log, changed: changed, seen: fingerprint(path)}
	c.current.Store(loaded)
	return c
}

// Current returns the catalogue in force. Whoever does one piece of work with it
// asks once and keeps it for that piece.
func (c *Catalogue) Current() *catalog.Catalog { return c.current.Load() }

// Reloads counts the catalogues that were put in force after the first, Refused
// those that were broken.
func (c *Catalogue) Reloads() uint64 { return c.reloads.Load() }

// Refused counts the catalogues that could not be read, so that the old stayed.
func (c *Catalogue) Refused() uint64 { return c.refused.Load() }

// Broken says that the files now hold something that cannot be read, so that an
// old catalogue is in force.
func (c *Catalogue) Broken() bool { return c.broken.Load() }

// Run looks for changes until ctx ends, and reloads at once for each message of
// hangups, which may be nil.
func (c *Catalogue) Run(ctx context.Context, hangups <-chan struct{}) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			c.Reload()
		case <-ticker.C:
			if c.path == "" {
				continue
			}
			now := fingerprint(c.path)
			c.loading.Lock()
			stale := now != c.seen
			c.loading.Unlock()
			if stale {
				c.Reload()
			}
		}
	}
}

// Reload reads the catalogue anew. One that is broken is refused, said in the
// log, and counted; the old one stays in force. It reports whether the catalogue
// in force is now what the files say.
func (c *Catalogue) Reload() bool {
	if c.path == "" {
		return true
	}
	c.loading.Lock()
	defer c.loading.Unlock()
	// What changes while it is being read is read again at the next look.
	c.seen = fingerprint(c.path)
	old := c.Current()
	loaded, err := catalog.Load(c.path)
	if err != nil {
		c.refused.Add(1)
		c.broken.Store(true)
		c.log.Error().Err(err).Str("catalog", c.path).Str("digest", old.Digest).
			Msg("the new catalogue is broken: the old one stays in force; correct it, and it is read again by itself")
		return false
	}
	c.broken.Store(false)
	if loaded.Digest == old.Digest {
		return true
	}
	c.current.Store(loaded)
	c.reloads.Add(1)
	c.log.Info().Str("catalog", c.path).Str("digest", loaded.Digest).Str("before", old.Digest).Msg("the new catalogue is in force")
	if c.changed != nil {
		c.changed(loaded)
	}
	return true
}

// Observe adds the catalogue's metrics.
func (c *Catalogue) Observe(s *Server) {
	s.Counter("scopedrift_catalog_reloads_total", "Catalogues put in force after the first.", c.Reloads)
	s.Counter("scopedrift_catalog_refused_total", "New catalogues that were broken, so that the old one stayed.", c.Refused)
	s.Gauge("scopedrift_catalog_broken", "1 while the files hold a catalogue that cannot be read and an old one is in force.", func() float64 {
		if c.Broken() {
			return 1
		}
		return 0
	})
}

// fingerprint tells apart states of the files at path: of a directory with all
// below it, of a file with all beside it, since OpenAPI documents stand there. It
// looks at names, sizes and times only.
func fingerprint(path string) uint64 {
	if path == "" {
		return 0
	}
	h := fnv.New64a()
	root := path
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		root = filepath.Dir(path)
	}
	// A directory that is a symbolic link is looked into.
	if real, err := filepath.EvalSymlinks(root); err == nil {
		_, _ = h.Write([]byte(real))
		root = real
	}
	looked := 0
	_ = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if looked++; looked > maxLooked {
			return fs.SkipAll
		}
		depth := strings.Count(strings.TrimPrefix(name, root), string(filepath.Separator))
		if entry.IsDir() {
			if depth > maxDepth || name != root && strings.HasPrefix(entry.Name(), ".git") {
				return fs.SkipDir
			}
			return nil
		}
		switch filepath.Ext(name) {
		case ".yaml", ".yml", ".json", ".gz":
		default:
			if name != path {
				return nil
			}
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil
		}
		_, _ = h.Write([]byte(name))
		var numbers [16]byte
		binary.LittleEndian.PutUint64(numbers[:], uint64(info.Size()))
		binary.LittleEndian.PutUint64(numbers[8:], uint64(info.ModTime().UnixNano()))
		_, _ = h.Write(numbers[:])
		return nil
	})
	return h.Sum64()
}

// Bounds on what is looked at: a catalogue in a directory with much else beside
// it should not cost a walk over all of it.
const (
	maxLooked = 20_000
	maxDepth  = 4
)
