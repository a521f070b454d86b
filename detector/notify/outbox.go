// Package notify hands findings to whoever wants to hear of them: a webhook, an
// Alertmanager, or what [Receiver] is made for.
//
// The one function to want is [New]: an outbox for one receiver. It promises that
// a change of a finding that is in the store reaches the receiver, however often
// either side dies, in the order of the changes, and the last state of a finding
// last; states that were passed over while the receiver was away are not sent.
// What a receiver took and could not acknowledge it gets again.
package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// Receiver takes findings. Receive is called by one goroutine; an error means
// that none was taken for certain, and all come again. It need not retry.
type Receiver interface {
	// Name tells receivers apart in the store; it holds no secret.
	Name() string
	Receive(ctx context.Context, findings []schema.Finding) error
}

// Config says how an outbox works. Conn and Receiver are required.
type Config struct {
	Conn     driver.Conn
	Receiver Receiver
	// Every is how often the store is looked at; default 2 s.
	Every time.Duration
	// Refresh, if it is not 0, is how often all open findings are sent again, for
	// receivers that forget.
	Refresh time.Duration
	// Shard are the subjects of whose findings is told; each shard keeps its own
	// account of what its receivers know.
	Shard detector.Shard
	// Lead says whether this process is the one to send; nil is always.
	Lead func() bool
	// Report is told what failed and is tried again; it may be nil.
	Report func(error)
}

// Stats counts what became of findings.
type Stats struct {
	// Sent were acknowledged, Failed are attempts that were not.
	Sent, Failed uint64
	// Waiting says since when something could not be sent, zero if nothing waits.
	Waiting time.Time
}

// Outbox sends what changed to one receiver.
type Outbox struct {
	cfg    Config
	upto   time.Time
	loaded bool
	// before are the accounts of who told the receiver until now, where the work
	// was divided in another way.
	before    layout
	refreshed time.Time

	mu    sync.Mutex
	stats Stats
}

// New returns an outbox that has done nothing yet.
func New(cfg Config) *Outbox {
	if cfg.Every <= 0 {
		cfg.Every = 2 * time.Second
	}
	if cfg.Lead == nil {
		cfg.Lead = func() bool { return true }
	}
	if cfg.Report == nil {
		cfg.Report = func(error) {}
	}
	return &Outbox{cfg: cfg}
}

// Stats returns the counts; from any goroutine.
func (o *Outbox) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stats
}

// longest is how long the outbox waits between two attempts at most.
const longest = 5 * time.Minute

// Run sends until ctx ends. What is not sent then stays in the store.
func (o *Outbox) Run(ctx context.Context) {
	wait := o.cfg.Every
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if !o.cfg.Lead() {
			o.loaded = false // whoever leads writes what was sent
			continue
		}
		wait = o.cfg.Every
		if err := o.Flush(ctx); err != nil && ctx.Err() == nil {
			o.mu.Lock()
			o.stats.Failed++
			if o.stats.Waiting.IsZero() {
				o.stats.Waiting = time.Now()
			}
			// Doubling with the failures, as long as something waits.
			wait = min(longest, max(o.cfg.Every, time.Since(o.stats.Waiting)))
			o.mu.Unlock()
			o.cfg.Report(fmt.Errorf("%s was not told of findings, which wait in the store: %w", o.cfg.Receiver.Name(), err))
		}
	}
}

// atOnce bounds what is sent in one piece; all that was written at one time goes
// together, however much it is.
const atOnce = 256

// Flush sends all that waits. It returns the first failure.
func (o *Outbox) Flush(ctx context.Context) error {
	if !o.loaded {
		if err := o.load(ctx); err != nil {
			return fmt.Errorf("read what was sent: %w", err)
		}
	}
	// Who never heard of a finding need not hear that it is over.
	fresh := o.upto.Unix() <= 0
	for {
		findings, upto, err := o.read(ctx, "written > toDateTime64(?, 6, 'UTC') ORDER BY written, id LIMIT ? WITH TIES", o.upto.Format(timeFormat), atOnce)
		if err != nil {
			return err
		}
		if len(findings) == 0 {
			break
		}
		var send []schema.Finding
		for _, f := range findings {
			// What is over the budget of its day is for those who look; that it is
			// over may follow on its having been told.
			if f.Status == schema.StatusOpen && f.OverBudget || fresh && f.Status != schema.StatusOpen || o.before.knows(f.Credential.ID, f.written) {
				continue
			}
			send = append(send, f.Finding)
		}
		if err := o.send(ctx, send); err != nil {
			return err
		}
		if err := o.mark(ctx, upto); err != nil {
			return err
		}
		o.upto = upto
	}
	if o.cfg.Refresh > 0 && time.Since(o.refreshed) >= o.cfg.Refresh {
		list, _, err := o.read(ctx, "status = 0 ORDER BY id")
		if err != nil {
			return err
		}
		var findings []schema.Finding
		for _, f := range list {
			if !f.OverBudget {
				findings = append(findings, f.Finding)
			}
		}
		if err := o.send(ctx, findings); err != nil {
			return err
		}
		o.refreshed = time.Now()
	}
	o.mu.Lock()
	o.stats.Waiting = time.Time{}
	o.mu.Unlock()
	return nil
}

// timeFormat is a time as a statement has it.
const timeFormat = "2006-01-02 15:04:05.000000"

// written is a finding as it was written at a time.
type written struct {
	schema.Finding
	written time.Time
}

func (o *Outbox) read(ctx context.Context, where string, args ...any) (list []written, upto time.Time, err error) {
	rows, err := o.cfg.Conn.Query(ctx, "SELECT body, written FROM "+table.Findings+" FINAL WHERE "+o.cfg.Shard.Where("credential")+" AND "+where, args...)
	if err != nil {
		return nil, upto, fmt.Errorf("read the findings that changed: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var body string
		if err := rows.Scan(&body, &upto); err != nil {
			return nil, upto, fmt.Errorf("read the findings that changed: %w", err)
		}
		f := written{written: upto.UTC()}
		if err := json.Unmarshal([]byte(body), &f.Finding); err != nil {
			return nil, upto, fmt.Errorf("read a stored finding: %w", err)
		}
		list = append(list, f)
	}
	return list, upto.UTC(), rows.Err()
}

func (o *Outbox) send(ctx context.Context, findings []schema.Finding) error {
	if len(findings) == 0 {
		return nil
	}
	if err := o.cfg.Receiver.Receive(ctx, findings); err != nil {
		return err
	}
	o.mu.Lock()
	o.stats.Sent += uint64(len(findings))
	o.mu.Unlock()
	return nil
}

func (o *Outbox) mark(ctx context.Context, upto time.Time) error {
	batch, err := o.cfg.Conn.PrepareBatch(ctx, "INSERT INTO "+table.Deliveries+" (receiver, upto, written)")
	if err != nil {
		return fmt.Errorf("write what was sent: %w", err)
	}
	defer batch.Close()
	if err := batch.Append(o.account(o.cfg.Shard), upto, time.Now().UTC()); err != nil {
		return fmt.Errorf("write what was sent: %w", err)
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("write what was sent: %w", err)
	}
	return nil
}

// StateID names a finding in one state, by what is sent of it.
func StateID(id schema.FindingID, body []byte) string {
	sum := sha256.Sum256(body)
	return string(id) + "-" + hex.EncodeToString(sum[:8])
}
