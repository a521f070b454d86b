package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/pcap"
	"github.com/scopedrift/scopedrift/collector/pcap/live"
)

const collectPcapLong = `Captures API calls from packets, HTTP/1, HTTP/2 and gRPC in clear text, and hands
them on: live from an interface with -i, or from a directory that tcpdump -G or
-C writes its files into, with --follow. A tap belongs where TLS has ended: beside
the gateway, in the mesh, on a mirror port behind the load balancer.

-i needs CAP_NET_RAW and nothing else (setcap cap_net_raw+ep scopedrift). What
the kernel had no room for, what was lost on the way, and TLS that nobody could
read are counted, and lower coverage. SIGTERM hands on what was read, within 15 s.`

// capturing is what the flags of a capturing collector say.
type capturing struct {
	device, filter, follow string
	promiscuous            bool
	shards                 int
	ring                   size
	spool                  spooling
}

func (a *app) collectPcapCommand() *cobra.Command {
	o := capturing{spool: newSpooling(), ring: size{64 << 20}}
	c := &cobra.Command{
		Use: "pcap", Short: "hand on the calls that packets show", Long: collectPcapLong, Args: noFiles,
		Example: "  scopedrift collect pcap -i eth1 --filter 'tcp port 8080' --promiscuous --kafka kafka-1:9092\n" +
			"  scopedrift collect pcap --follow /var/captures/ --kafka kafka-1:9092 --spool /var/lib/scopedrift/spool\n" +
			"  scopedrift collect pcap -i lo > calls.jsonl",
	}
	flags := c.Flags()
	flags.StringVarP(&o.device, "interface", "i", "", "interface to capture from")
	flags.StringVar(&o.filter, "filter", "", "what to capture: ports, hosts and nets, as in 'tcp port 8080 and not net 10.1.0.0/16'")
	flags.BoolVar(&o.promiscuous, "promiscuous", false, "take packets that are not for this machine, as a mirror port sends them")
	flags.Var(&o.ring, "ring", "memory that holds packets while the reader is busy")
	flags.IntVar(&o.shards, "shards", 1, "read the interface by so many threads, each connection by one; not for tunnels")
	flags.StringVar(&o.follow, "follow", "", "directory of captures to read as they are written")
	a.bindOutlet(flags, &o.spool)
	a.settings.bind(flags, "key", "tenant", "metrics-listen")
	c.RunE = a.action(func(ctx context.Context, _ []string) error {
		switch {
		case (o.device == "") == (o.follow == ""):
			return usage("collect pcap needs one source of packets", "pass -i INTERFACE, or --follow DIR", "scopedrift scan reads capture files that are complete")
		case o.follow != "" && (o.filter != "" || o.promiscuous || o.shards != 1):
			return usage("--filter, --promiscuous and --shards are of use with -i only", "leave them out: a capture is read whole")
		case o.shards < 1 || o.shards > 64:
			return usage(fmt.Sprintf("--shards %d is not between 1 and 64", o.shards), "one for each core that may be spent on it")
		case o.ring.value < 1<<20 || o.ring.value > 4<<30:
			return usage(fmt.Sprintf("--ring %s is not between 1MiB and 4GiB", &o.ring), "64MiB is usual")
		}
		if err := live.Compile(o.filter); o.filter != "" && err != nil {
			return misused(fmt.Errorf("--filter: %w", err))
		}
		return a.collectPcap(ctx, o)
	})
	return c
}

// noFiles refuses capture files, which are scan's.
func noFiles(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(fmt.Sprintf("collect pcap takes no file, such as %s", args[0]), "scopedrift scan "+args[0]+" reads a capture that is complete", "pass --follow DIR for a directory that captures are written into")
	}
	return nil
}

// collectPcap reads packets until ctx ends and hands on their calls.
func (a *app) collectPcap(ctx context.Context, o capturing) (err error) {
	if a.env.Getenv("GOGC") == "" {
		// It runs beside what it watches: memory counts for more than a little time.
		debug.SetGCPercent(25)
	}
	taps, closeTaps, err := a.openTaps(&o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeTaps()) }()
	key, err := a.installationKey()
	if err != nil {
		return err
	}
	st, err := a.openStation(ctx, "collect", nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	out, err := a.openOutlet(st, o.spool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	st.log.Info().Str("from", cmp.Or(o.device, o.follow)).Str("to", out.name).Msg("capturing")
	for _, tap := range taps {
		if d, ok := tap.source.(*pcap.Directory); ok {
			d.Complain = func(file string, err error) {
				st.log.Warn().Str("file", file).Err(err).Msg("capture file not read, or not to its end")
			}
		}
	}
	return out.deliver(ctx, func(reading context.Context, sink collector.Sink) error {
		// What was read is handed on for a while after the end.
		late, cancel := operate.Drain(reading)
		defer cancel()
		var sharing sync.Mutex
		watches := make([]*pcap.Watch, len(taps))
		for i, tap := range taps {
			watches[i] = a.newCaptures(key, nil).capture.Watch(tap.source, tap.input, sinkUntil{late, sink, &sharing})
		}
		observeCapture(st.server, func() pcap.Stats { return together(watches) })
		observeSockets(st.server, taps)
		errs := make(chan error, len(watches))
		ended, end := context.WithCancel(reading)
		defer end()
		for _, w := range watches {
			go func() {
				errs <- w.Run(ended)
				end() // without one of them, what is read is not whole
			}()
		}
		for range watches {
			if e := <-errs; !errors.Is(e, context.Canceled) || ended.Err() == nil {
				err = errors.Join(err, e)
			}
		}
		return err
	})
}

// tapping is a source of packets with the name of its calls' source.
type tapping struct {
	source pcap.Source
	input  collector.Input
	socket *live.Socket // nil where packets come from files
}

// openTaps opens what packets come from: what is wrong is said at once, and the
// right to open it is given up.
func (a *app) openTaps(o *capturing) (taps []tapping, closeAll func() error, err error) {
	if o.device == "" {
		if info, err := a.env.Stat(o.follow); err != nil || !info.IsDir() {
			return nil, nil, usage(fmt.Sprintf("%s is no directory", o.follow), "pass --follow DIR with the directory that captures are written into")
		}
		source := pcap.NewDirectory(a.env.Path(o.follow))
		return []tapping{{source: source, input: collector.Input{Name: o.follow, Format: "pcap"}}}, func() error { return nil }, nil
	}
	closeAll = func() (err error) {
		for _, tap := range taps {
			err = errors.Join(err, tap.socket.Close())
		}
		return err
	}
	cfg := live.Config{Interface: o.device, Filter: o.filter, Promiscuous: o.promiscuous, RingBytes: int(o.ring.value) / o.shards}
	if o.shards > 1 {
		cfg.Group = rand.N(uint16(0xffff)) + 1 // the interface may have other groups
	}
	for i := range o.shards {
		name := o.device
		if o.shards > 1 {
			name = fmt.Sprintf("%s/%d", o.device, i)
		}
		tap := tapping{socket: live.New(cfg), input: collector.Input{Name: name, Format: "pcap"}}
		if err := tap.socket.Open(); err != nil {
			if errors.Is(err, live.ErrNoInterface) {
				return nil, nil, misused(errors.Join(err, closeAll()), "`ip link` lists the interfaces")
			}
			return nil, nil, broken(errors.Join(err, closeAll()))
		}
		tap.source = tap.socket
		taps = append(taps, tap)
	}
	if err := live.DropRights(); err != nil {
		return nil, nil, broken(errors.Join(err, closeAll()))
	}
	return taps, closeAll, nil
}

// together adds up what several readers saw.
func together(watches []*pcap.Watch) pcap.Stats {
	sum := watches[0].Stats()
	for _, w := range watches[1:] {
		s := w.Stats()
		sum.Add(&s)
	}
	return sum
}

// sinkUntil puts batches as long as another context lives than the reader's.
type sinkUntil struct {
	ctx  context.Context
	sink collector.Sink
	// one at a time
	sharing *sync.Mutex
}

// Put puts a batch.
func (s sinkUntil) Put(_ context.Context, batch *collector.Batch) error {
	s.sharing.Lock()
	defer s.sharing.Unlock()
	return s.sink.Put(s.ctx, batch)
}

// observeCapture adds the counters of a capture.
func observeCapture(s *operate.Server, stats func() pcap.Stats) {
	s.Counter("scopedrift_capture_packets_total", "Packets read.", func() uint64 { return stats().Packets })
	s.Counter("scopedrift_capture_bytes_total", "Bytes of these packets.", func() uint64 { return stats().Bytes })
	s.Counter("scopedrift_capture_connections_total", "TCP connections seen.", func() uint64 { return stats().Connections })
	s.Counters("scopedrift_capture_protocols_total", "What these connections spoke; tls cannot be read.", "protocol", func() map[string]uint64 { return stats().Protocols })
	s.Counters("scopedrift_capture_calls_total", "Calls handed on, by how certain request and answer belong together.", "quality", func() map[string]uint64 { return stats().Calls })
	s.Counter("scopedrift_capture_gap_bytes_total", "Bytes that the tap lost inside connections.", func() uint64 { return stats().GapBytes })
	s.Counter("scopedrift_capture_one_sided_bytes_total", "Bytes of directions that the tap does not show.", func() uint64 { return stats().OneSidedBytes })
	s.Counters("scopedrift_capture_skipped_total", "Packets without a TCP segment that could be read.", "reason", func() map[string]uint64 { return stats().Skipped })
	s.Counters("scopedrift_capture_unread_total", "Packets of protocols that are not read.", "protocol", func() map[string]uint64 { return stats().Unread })
	s.Counters("scopedrift_capture_dropped_total", "What a limit or an oddity made unreadable.", "reason", func() map[string]uint64 { return stats().Dropped })
}

// observeSockets adds what the kernel counts of a live capture.
func observeSockets(s *operate.Server, taps []tapping) {
	if taps[0].socket == nil {
		return
	}
	counter := func(name, help string, choose func(packets, drops, freezes uint64) uint64) {
		s.Counter(name, help, func() (sum uint64) {
			for _, tap := range taps {
				sum += choose(tap.socket.Totals())
			}
			return sum
		})
	}
	counter("scopedrift_capture_kernel_packets_total", "Packets that passed the filter.", func(n, _, _ uint64) uint64 { return n })
	counter("scopedrift_capture_kernel_drops_total", "Packets that the kernel had no room for.", func(_, n, _ uint64) uint64 { return n })
	counter("scopedrift_capture_kernel_freezes_total", "How often the ring was full.", func(_, _, n uint64) uint64 { return n })
}
