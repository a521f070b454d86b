package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/spool"
)

// bindOutlet makes the flags that say where calls go.
func (a *app) bindOutlet(flags *pflag.FlagSet, o *spooling) {
	flags.StringVar(&o.dir, "spool", "", "directory that keeps calls while Kafka is away")
	flags.Var(&o.limit, "spool-limit", "how much of the disk the spool may take")
	flags.Var(&o.full, "spool-full", "at the limit: drop calls and tell of it, or block the source")
	flags.BoolVar(&o.sync, "spool-sync", false, "acknowledge calls when the disk itself has them")
	a.settings.bind(flags, kafkaFlags...)
}

// outlet is where a collector's calls go.
type outlet struct {
	name string
	sink collector.Sink
	// parts run as long as the source, and end in their order.
	parts []func(ctx context.Context) error
	// empty, if set, waits until what was put is handed on, for a source that
	// ends by itself.
	empty func(ctx context.Context) error
	// shut, if set, gives back what it holds.
	shut func() error
}

// spooling is what the flags say of the spool.
type spooling struct {
	dir   string
	limit size
	full  word
	sync  bool
}

func newSpooling() spooling {
	return spooling{limit: size{1 << 30}, full: word{"drop", []string{"drop", "block"}}}
}

// openOutlet makes the outlet that the settings describe.
func (a *app) openOutlet(st *station, o spooling) (*outlet, error) {
	if !a.settings.kafka.given() {
		if o.dir != "" {
			return nil, usage("--spool is of use with --kafka only", "pass --kafka HOST:PORT, or leave --spool out")
		}
		return &outlet{name: "standard output", sink: &lines{buf: bufio.NewWriterSize(a.env.Stdout, 1<<16)}}, nil
	}
	cfg, err := a.kafkaConfig()
	if err != nil {
		return nil, err
	}
	topic := a.kafkaNames().Calls
	producer, err := kafka.NewProducer(kafka.ProducerConfig{Config: cfg, Topic: topic, Report: healing(st.log)})
	if err != nil {
		return nil, misused(err)
	}
	observeProducer(st.server, producer.Stats)
	out := &outlet{name: topic, sink: producer, parts: []func(context.Context) error{producer.Run}}
	if o.dir == "" {
		return out, nil
	}
	kept, err := spool.New(spool.Config{
		Dir: a.env.Path(o.dir), Limit: int64(o.limit.value), Drop: o.full.value == "drop", Sync: o.sync, Report: healing(st.log),
	}, producer)
	if err != nil {
		return nil, misused(err)
	}
	if err := kept.Open(); err != nil {
		return nil, broken(err)
	}
	observeSpool(st.server, kept.Stats)
	if before := kept.Stats(); before.Waiting > 0 || before.TornBytes > 0 {
		st.log.Info().Uint64("batches", before.Waiting).Int64("torn_bytes", before.TornBytes).Msg("the spool holds calls of an earlier run")
	}
	out.sink, out.empty, out.shut = kept, kept.Empty, kept.Close
	out.parts = []func(context.Context) error{kept.Run, producer.Run}
	return out, nil
}

// close gives back what the outlet holds.
func (o *outlet) close() error {
	if o.shut == nil {
		return nil
	}
	return o.shut()
}

// observeSpool adds the counters of a spool.
func observeSpool(s *operate.Server, stats func() spool.Stats) {
	s.Gauge("scopedrift_spool_bytes", "Bytes of the disk that the spool takes.", func() float64 { return float64(stats().Bytes) })
	s.Gauge("scopedrift_spool_limit_bytes", "Bytes of the disk that the spool may take.", func() float64 { return float64(stats().Limit) })
	s.Gauge("scopedrift_spool_waiting_batches", "Batches in the spool that are not handed on yet.", func() float64 { return float64(stats().Waiting) })
	s.Counter("scopedrift_spool_calls_total", "Calls that the spool took.", func() uint64 { return stats().Calls })
	s.Counter("scopedrift_spool_dropped_total", "Calls dropped because the spool was full; coverage knows of them.", func() uint64 { return stats().Dropped })
	s.Counter("scopedrift_spool_waits_total", "How often the source had to wait for room in the spool.", func() uint64 { return stats().Waits })
	s.Counter("scopedrift_spool_torn_bytes_total", "Bytes cut off the spool because a death had left them half written.", func() uint64 { return uint64(stats().TornBytes) })
	s.Counter("scopedrift_spool_damaged_bytes_total", "Bytes of the spool that were not what was written.", func() uint64 { return uint64(stats().DamagedBytes) })
	s.Ready("spool", func() error {
		if full := stats().Full; !full.IsZero() {
			return fmt.Errorf("no room in the spool since %s", full.UTC().Format(time.RFC3339))
		}
		return nil
	})
}

// deliver runs the source and what takes its calls, until the source ends.
func (o *outlet) deliver(ctx context.Context, source func(context.Context, collector.Sink) error) error {
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	type part struct {
		end  context.CancelFunc
		done chan error
	}
	parts := make([]part, len(o.parts))
	for i, run := range o.parts {
		live, end := context.WithCancel(context.WithoutCancel(ctx))
		defer end()
		parts[i] = part{end, make(chan error, 1)}
		go func() {
			err := run(live)
			if err != nil {
				stop(err)
			}
			parts[i].done <- err
		}()
	}
	err := source(reading, o.sink)
	if err == nil && o.empty != nil && reading.Err() == nil {
		err = o.empty(reading)
	}
	told := ctx.Err() != nil
	if !told && reading.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // a part failed, which says why
	}
	patience := make(<-chan time.Time)
	if told {
		patience = time.After(outletDrain - collectDrain)
	}
	for _, p := range parts {
		p.end()
		select {
		case failed := <-p.done:
			err = errors.Join(err, failed)
		case <-patience:
			// What it still holds was not acknowledged to the source either.
			return err
		}
	}
	return err
}

// observeProducer adds the counters of what is handed to Kafka.
func observeProducer(s *operate.Server, stats func() kafka.SendStats) {
	s.Counter("scopedrift_produced_messages_total", "Messages that Kafka acknowledged.", func() uint64 { return stats().Messages })
	s.Counter("scopedrift_produced_bytes_total", "Bytes of these messages, before compression.", func() uint64 { return stats().Bytes })
	s.Counter("scopedrift_produced_sent_bytes_total", "Bytes of the requests that Kafka acknowledged.", func() uint64 { return stats().Sent })
	s.Counter("scopedrift_produce_retries_total", "Requests to Kafka that were tried again.", func() uint64 { return stats().Retries })
	s.Counter("scopedrift_produce_too_large_total", "Calls lost because no broker takes a message of their size.", func() uint64 { return stats().TooLarge })
	s.Gauge("scopedrift_produce_buffered_bytes", "Bytes that wait for Kafka.", func() float64 { return float64(stats().Buffered) })
	s.Ready("kafka", func() error {
		if failing := stats().Failing; !failing.IsZero() {
			return fmt.Errorf("nothing was taken by Kafka since %s", failing.UTC().Format(time.RFC3339))
		}
		return nil
	})
}
