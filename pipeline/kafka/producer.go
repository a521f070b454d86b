package kafka

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"sync"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire"
)

// The reasons for which a producer loses a call, in its account.
const (
	// LostTooLarge says that a call is larger than a message may be, or than the
	// broker takes.
	LostTooLarge = schema.Lost + "too_large"
)

// ProducerConfig describes a producer of calls.
type ProducerConfig struct {
	Config
	// Topic is where calls go, [CallsTopic] if it is empty.
	Topic string
	// Buffer bounds the bytes that wait for the brokers, 32 MiB if it is 0.
	Buffer int64
	// Report, if set, is told of errors that are being healed, of the same one at
	// most every 10 s. It may be called from several goroutines.
	Report func(error)
}

// Producer writes calls to Kafka, and the account of each batch behind its calls.
// It is a sink of a collector, for as long as [Producer.Run] runs.
type Producer struct {
	sender *sender
	epoch  uint64

	mu   sync.Mutex
	keys map[schema.Principal]schema.PrincipalHash
}

// maxKeys is how many principals' hashes are remembered.
const maxKeys = 1 << 14

// NewProducer makes a producer. It dials nothing.
func NewProducer(cfg ProducerConfig) (*Producer, error) {
	if cfg.Topic == "" {
		cfg.Topic = CallsTopic
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = 32 << 20
	}
	sender, err := newSender(cfg.Config, cfg.Topic, cfg.Buffer, cfg.Report)
	if err != nil {
		return nil, err
	}
	var epoch [8]byte
	_, _ = rand.Read(epoch[:])
	return &Producer{
		sender: sender, keys: map[schema.Principal]schema.PrincipalHash{},
		epoch: binary.BigEndian.Uint64(epoch[:]) | 1, // never 0
	}, nil
}

// Run connects and sends until ctx ends; then what Put took already is still sent,
// for at most [DrainTime]. It returns an error at once where trying again is of no
// use, such as a wrong password; whatever heals is reported and tried again.
func (p *Producer) Run(ctx context.Context) error { return p.sender.run(ctx) }

// Stats returns the counters. It may be called at any time.
func (p *Producer) Stats() SendStats { return p.sender.snapshot() }

// Epoch names this life of the producer, as its messages do.
func (p *Producer) Epoch() uint64 { return p.epoch }

// Put sends a batch and returns when all in-sync replicas have its calls and,
// behind them, its account. It blocks while the brokers are away or the buffer is
// full, until ctx ends. After an error it is unknown how much of the batch is
// stored: a source that repeats it makes copies, which have the same ids.
//
// A call that is too large for the brokers is lost, and counted in the account as
// [LostTooLarge]. Put may be called by several goroutines.
func (p *Producer) Put(ctx context.Context, batch *schema.Batch) error {
	account := schema.Account{
		Input: batch.Input, FirstUnit: batch.FirstUnit, NextUnit: batch.NextUnit,
		Calls: uint64(len(batch.Calls)), Skipped: batch.Skipped, Done: batch.Done,
	}
	if len(batch.Calls) > 0 {
		lost, err := p.calls(ctx, batch, &account)
		if err != nil {
			return err
		}
		if lost > 0 {
			account.Calls -= lost
			skipped := maps.Clone(account.Skipped)
			if skipped == nil {
				skipped = map[string]uint64{}
			}
			skipped[LostTooLarge] += lost
			account.Skipped = skipped
		}
	} else if batch.Free != nil {
		batch.Free()
	}
	return p.Account(ctx, &account)
}

// calls sends a batch's calls and returns how many were too large.
func (p *Producer) calls(ctx context.Context, batch *schema.Batch, account *schema.Account) (lost uint64, err error) {
	d, err := p.sender.begin(ctx)
	if err != nil {
		return 0, err
	}
	for i := range batch.Calls {
		c := &batch.Calls[i]
		if !c.Time.IsZero() {
			if account.FirstTime.IsZero() || c.Time.Before(account.FirstTime) {
				account.FirstTime = c.Time
			}
			if c.Time.After(account.LastTime) {
				account.LastTime = c.Time
			}
		}
		key := p.key(c.Credential.Principal())
		if err = d.add(ctx, key[:], nil, func(dst []byte, sequence uint64) []byte {
			return wire.AppendCall(dst, wire.Envelope{Epoch: p.epoch, Sequence: sequence}, c)
		}); err != nil {
			break
		}
	}
	d.close()
	// The calls are encoded: nobody looks at them any more.
	if batch.Free != nil {
		batch.Free()
	}
	if err == nil {
		err = d.wait(ctx)
	}
	return d.tooLarge.Load(), err
}

// Account sends an account without calls, such as that of what a collector had to
// drop, and returns when all in-sync replicas have it.
func (p *Producer) Account(ctx context.Context, account *schema.Account) error {
	d, err := p.sender.begin(ctx)
	if err != nil {
		return err
	}
	key := sha256.Sum256([]byte(account.Input.Name))
	err = d.add(ctx, key[:16], nil, func(dst []byte, sequence uint64) []byte {
		return wire.AppendAccount(dst, wire.Envelope{Epoch: p.epoch, Sequence: sequence}, account)
	})
	d.close()
	if err != nil {
		return err
	}
	if err := d.wait(ctx); err != nil {
		return err
	}
	if d.tooLarge.Load() > 0 {
		return &Error{Kind: WrongConfig,
			Text:   "the account of an input is too large for a message",
			Remedy: "give the input a shorter name"}
	}
	return nil
}

// key is a principal's hash.
func (p *Producer) key(principal schema.Principal) schema.PrincipalHash {
	p.mu.Lock()
	defer p.mu.Unlock()
	hash, ok := p.keys[principal]
	if !ok {
		if len(p.keys) >= maxKeys {
			clear(p.keys)
		}
		hash = principal.Hash()
		p.keys[principal] = hash
	}
	return hash
}
