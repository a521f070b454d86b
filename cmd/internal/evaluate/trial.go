package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/scopedrift/scopedrift/deployments/scenario/world"
	"github.com/scopedrift/scopedrift/schema"
)

// report is what this command reads of a scan's result.
type report struct {
	Summary struct {
		Calls       uint64 `json:"calls"`
		Credentials struct {
			Declared   int `json:"declared"`
			Undeclared int `json:"undeclared"`
		} `json:"credentials"`
	} `json:"summary"`
	Findings []schema.Finding `json:"findings"`
}

// trial is one world, scanned.
type trial struct {
	cfg   world.Config
	truth *world.Truth
	report
	took time.Duration
}

// try makes a world and scans it.
func try(ctx context.Context, o *options, cfg world.Config, variant string) (*trial, error) {
	dir, err := os.MkdirTemp("", "scopedrift-world-")
	if err != nil {
		return nil, fmt.Errorf("make room for a world: %w", err)
	}
	defer os.RemoveAll(dir)
	if o.keep != "" {
		dir = filepath.Join(o.keep, cfg.Name()+variant)
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	w, err := world.Write(cfg, dir)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var out, talk bytes.Buffer
	scan := exec.CommandContext(ctx, o.program, "scan", "--quiet", "-o", "json", "--catalog", w.Catalogue, "--key", w.Key, w.Logs)
	scan.Stdout, scan.Stderr = &out, &talk
	if err := scan.Run(); err != nil {
		return nil, fmt.Errorf("scan the world %s: %w: %s", cfg.Name(), err, bytes.TrimSpace(talk.Bytes()))
	}
	t := &trial{cfg: cfg, truth: w.Truth, took: time.Since(began)}
	if err := json.Unmarshal(out.Bytes(), &t.report); err != nil {
		return nil, fmt.Errorf("read the findings of world %s: %w", cfg.Name(), err)
	}
	if o.keep != "" {
		if err := os.WriteFile(filepath.Join(dir, "report.json"), out.Bytes(), 0o644); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// measured is a world with what it says when parts are left out.
type measured struct {
	whole *trial
	parts map[string]*trial
	err   error
	done  chan struct{}
}

// measure tries all worlds, and some of them again with parts left out. Some are
// tried side by side; they are counted in their order.
func measure(ctx context.Context, o *options, list []world.Config, talk io.Writer) (*tally, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	all := make([]measured, len(list))
	for i := range all {
		all[i].done = make(chan struct{})
	}
	turn := make(chan struct{}, max(o.jobs, 1))
	go func() {
		for i := range all {
			turn <- struct{}{}
			go func() {
				all[i].try(ctx, o, list[i], i < o.ablate)
				<-turn
				close(all[i].done)
			}()
		}
	}()
	t := newTally(o.set, list)
	for i := range all {
		<-all[i].done
		m := &all[i]
		if m.err != nil {
			return nil, m.err
		}
		t.add(m.whole)
		fmt.Fprintf(talk, "%s: %d calls, %d credentials, %d findings, scanned in %.1f s\n", list[i].Name(), m.whole.Summary.Calls, m.whole.truth.Credentials, len(m.whole.Findings), m.whole.took.Seconds())
		for _, a := range ablations {
			if m.parts[a.name] != nil {
				t.ablated(a.name, m.whole, m.parts[a.name])
			}
		}
	}
	return t, nil
}

// try tries one world, and its ablations if asked to.
func (m *measured) try(ctx context.Context, o *options, cfg world.Config, ablate bool) {
	if m.whole, m.err = try(ctx, o, cfg, ""); m.err != nil || !ablate {
		return
	}
	m.parts = map[string]*trial{}
	for _, a := range ablations {
		less := cfg
		a.apply(&less)
		if m.parts[a.name], m.err = try(ctx, o, less, "-"+a.name); m.err != nil {
			return
		}
	}
}

// ablation is something that logs may lack.
type ablation struct {
	name, title string
	apply       func(*world.Config)
}

var ablations = []ablation{
	{"no-traces", "without trace headers", func(c *world.Config) { c.Traces = true }},
	{"no-grants", "without grants", func(c *world.Config) { c.Grants = true }},
	{"no-mints", "without answers that issue credentials", func(c *world.Config) { c.Mints = true }},
	{"missing", "with 20 % of the calls missing", func(c *world.Config) { c.Missing = .2 }},
}
