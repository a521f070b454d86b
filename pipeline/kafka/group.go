package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

// DrainTime is how long a lane may take to finish what it began, once its context
// ended. Heartbeats stop at that moment, so it has to fit well into the session.
const DrainTime = 15 * time.Second

const (
	sessionTimeout    = 45 * time.Second
	rebalanceTimeout  = 60 * time.Second
	heartbeatInterval = 3 * time.Second
	// joinBackoff is the wait before joining again after an error.
	joinBackoff = time.Second
	// watchInterval is how often new partitions are looked for.
	watchInterval = 10 * time.Second
)

// GroupConfig describes a member of a group.
type GroupConfig struct {
	Config
	// Group is the group's name; members of the same name share the partitions.
	Group string
	// Topic is what is read.
	Topic string
	// Wait is how long a fetch waits for a first message, 250 ms if it is 0.
	Wait time.Duration
	// FetchBytes bounds a fetch as it comes from the broker, that is compressed;
	// 2 MiB if it is 0. One batch of a producer comes whole in any case.
	FetchBytes int
	// Session is how long the group waits for a member that gives no sign of
	// life, 45 s if it is 0.
	Session time.Duration
	// Report, if set, is told of errors that are being healed, of the same one at
	// most every 10 s. It may be called from several goroutines.
	Report func(error)
}

// Group is a member of a consumer group: it is given partitions, and gives each
// of them to a handler as a [Lane].
type Group struct {
	cfg  GroupConfig
	link *link

	member balance
	stats  groupCounters
}

type groupCounters struct {
	generations, lanes, fetches, messages, bytes, commits, fenced, errors atomic.Uint64

	mu    sync.Mutex
	last  string
	known map[int]*Lane
}

// GroupStats are the counters of a [Group].
type GroupStats struct {
	// Generations is how often partitions were given out anew.
	Generations uint64
	// Lanes is how many partitions the member has now.
	Lanes uint64
	// Fetches, Messages and Bytes are what was read; bytes of values,
	// decompressed.
	Fetches, Messages, Bytes uint64
	// Commits are those that were accepted, Fenced those that came too late.
	Commits, Fenced uint64
	// Errors are those that were healed by trying again; LastError is the text of
	// the newest.
	Errors    uint64
	LastError string
	// Lag is how many messages are behind what was read, by partition.
	Lag map[int]int64
}

// NewGroup makes a member. It dials nothing.
func NewGroup(cfg GroupConfig) (*Group, error) {
	if cfg.Group == "" || cfg.Topic == "" {
		return nil, wrong("a group needs a name and a topic", "give --group and --topic", nil)
	}
	if cfg.Wait == 0 {
		cfg.Wait = 250 * time.Millisecond
	}
	if cfg.FetchBytes == 0 {
		cfg.FetchBytes = 2 << 20
	}
	if cfg.Session == 0 {
		cfg.Session = sessionTimeout
	}
	l, err := cfg.Config.open(cfg.Topic)
	if err != nil {
		return nil, err
	}
	cfg.Report = calm(cfg.Report)
	return &Group{cfg: cfg, link: l}, nil
}

// Run is a member of the group until ctx ends: then it lets every lane drain,
// leaves and returns nil.
//
// handle is called for each partition that the member is given, in a goroutine of
// its own. Its context ends with the generation: when another member comes or
// goes, or the coordinator is lost, or ctx ends. It then has [DrainTime] to
// return; commits still work in it. A handler that returns nil or [ErrFenced]
// earlier is not called again before the next generation. Any other error ends
// Run with that error, after the other lanes have drained.
//
// Run returns an error at once where trying again is of no use: a wrong password,
// no such topic. Whatever heals is reported and tried again.
func (g *Group) Run(ctx context.Context, handle func(ctx context.Context, lane *Lane) error) error {
	defer g.link.close()
	if err := g.await(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: g.cfg.Group, Brokers: g.link.brokers, Dialer: g.link.dialer, Topics: []string{g.cfg.Topic},
		GroupBalancers:    []kafka.GroupBalancer{&g.member},
		HeartbeatInterval: min(heartbeatInterval, g.cfg.Session/3), SessionTimeout: g.cfg.Session,
		RebalanceTimeout: rebalanceTimeout, JoinGroupBackoff: joinBackoff,
		WatchPartitionChanges: true, PartitionWatchInterval: watchInterval,
		StartOffset: kafka.FirstOffset, Timeout: dialTimeout,
	})
	if err != nil {
		return wrong("cannot be a member of group "+g.cfg.Group+": "+oneLine(err), "check --group", err)
	}
	// life ends with ctx or with the first error of a handler.
	life, end := context.WithCancelCause(ctx)
	defer end(nil)
	// Close ends the generation, waits for its lanes and leaves.
	defer group.Close()
	for {
		generation, err := group.Next(life)
		switch {
		case life.Err() != nil:
			if cause := context.Cause(life); ctx.Err() == nil || cause != nil && !errors.Is(cause, ctx.Err()) {
				return cause
			}
			return nil
		case err != nil:
			err = explain(err, g.link.deed("join group", g.cfg.Group))
			if definite(err) && g.stats.generations.Load() == 0 {
				return err
			}
			g.report(err)
		default:
			g.serve(life, end, generation, handle)
		}
	}
}

// await waits until the topic is there and may be read. Only what heals by itself
// is waited for.
func (g *Group) await(ctx context.Context) error {
	for wait := newBackoff(); ; {
		_, err := g.link.first(ctx, g.cfg.Topic)
		if err == nil || definite(err) || ctx.Err() != nil {
			return err
		}
		g.report(err)
		if err := wait.pause(ctx); err != nil {
			return err
		}
	}
}

// serve starts the lanes of a generation.
func (g *Group) serve(life context.Context, end context.CancelCauseFunc, generation *kafka.Generation, handle func(context.Context, *Lane) error) {
	var partitions []int
	for _, assignment := range generation.Assignments[g.cfg.Topic] {
		partitions = append(partitions, assignment.ID)
	}
	g.member.remember(partitions)
	g.stats.generations.Add(1)
	g.stats.setLanes(nil)
	if len(partitions) == 0 {
		return
	}
	// The offsets are read in a goroutine of the generation: reading them may
	// take as long as the coordinator needs to load them.
	generation.Start(func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(life, cancel)()
		lanes, err := g.lanes(ctx, generation, partitions)
		if err != nil {
			if ctx.Err() == nil {
				g.report(err)
			}
			return // ends the generation: the member joins anew
		}
		g.stats.setLanes(lanes)
		var running sync.WaitGroup
		for _, lane := range lanes {
			running.Go(func() {
				defer lane.close()
				if err := handle(ctx, lane); err != nil && !errors.Is(err, ErrFenced) && ctx.Err() == nil {
					end(fmt.Errorf("partition %d of %s: %w", lane.Partition, lane.Topic, err))
				}
			})
		}
		<-ctx.Done() // a lane that is done waits for the others
		running.Wait()
		g.stats.setLanes(nil)
	})
}

// lanes reads what was committed for the partitions, with its metadata.
func (g *Group) lanes(ctx context.Context, generation *kafka.Generation, partitions []int) ([]*Lane, error) {
	request := &kafka.OffsetFetchRequest{GroupID: g.cfg.Group, Topics: map[string][]int{g.cfg.Topic: partitions}}
	what := g.link.deed("read the offsets of group", g.cfg.Group)
	for wait := newBackoff(); ; {
		attempt, cancel := context.WithTimeout(ctx, dialTimeout)
		response, err := g.link.client.OffsetFetch(attempt, request)
		cancel()
		if err == nil {
			err = response.Error
		}
		var lanes []*Lane
		if err == nil {
			for _, p := range response.Topics[g.cfg.Topic] {
				err = errors.Join(err, p.Error)
				lanes = append(lanes, &Lane{
					Topic: g.cfg.Topic, Partition: p.Partition, Generation: int(generation.ID),
					group: g, member: generation.MemberID, committed: p.CommittedOffset, metadata: p.Metadata, floor: p.CommittedOffset,
				})
			}
		}
		if err == nil && len(lanes) == len(partitions) {
			return lanes, nil
		}
		err = explain(err, what)
		if definite(err) || ctx.Err() != nil {
			return nil, err
		}
		if err != nil {
			g.report(err)
		}
		if err := wait.pause(ctx); err != nil {
			return nil, err
		}
	}
}

// report counts an error that is being healed.
func (g *Group) report(err error) {
	g.stats.errors.Add(1)
	g.stats.mu.Lock()
	g.stats.last = err.Error()
	g.stats.mu.Unlock()
	if g.cfg.Report != nil {
		g.cfg.Report(err)
	}
}

func (c *groupCounters) setLanes(lanes []*Lane) {
	c.lanes.Store(uint64(len(lanes)))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = map[int]*Lane{}
	for _, lane := range lanes {
		c.known[lane.Partition] = lane
	}
}

// Stats returns the counters. It may be called at any time.
func (g *Group) Stats() GroupStats {
	c := &g.stats
	s := GroupStats{
		Generations: c.generations.Load(), Lanes: c.lanes.Load(), Fetches: c.fetches.Load(), Messages: c.messages.Load(),
		Bytes: c.bytes.Load(), Commits: c.commits.Load(), Fenced: c.fenced.Load(), Errors: c.errors.Load(), Lag: map[int]int64{},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.LastError = c.last
	for partition, lane := range c.known {
		s.Lag[partition] = lane.lag.Load()
	}
	return s
}
