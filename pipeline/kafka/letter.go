package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/scopedrift/scopedrift/schema/wire"
)

// letterBuffer bounds what waits for dead letters and findings.
const letterBuffer = 8 << 20

// DeadLetter says of a message that could not be read where it is and what is
// wrong with it, and nothing of what is in it: it was never redacted for certain.
type DeadLetter struct {
	// Topic, Partition and Offset are the message's; with retention it is found
	// there.
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
	// Length is its number of bytes.
	Length int `json:"length"`
	// Reason is one of few, such as those of package wire.
	Reason string `json:"reason"`
	// Digest is a keyed hash of the bytes: equal messages are told by it.
	Digest string `json:"digest,omitempty"`
	// Shape is the kinds of the bytes in place of the bytes.
	Shape string `json:"shape,omitempty"`
	// Time is when it was found.
	Time time.Time `json:"time"`
}

// DeadLetters writes to the dead-letter topic, while Run runs.
type DeadLetters struct{ sender *sender }

// NewDeadLetters makes a writer to a topic, [DeadLettersTopic] if it is empty. It
// dials nothing. report, if set, is told of errors that are being healed.
func NewDeadLetters(cfg Config, topic string, report func(error)) (*DeadLetters, error) {
	if topic == "" {
		topic = DeadLettersTopic
	}
	sender, err := newSender(cfg, topic, letterBuffer, report)
	if err != nil {
		return nil, err
	}
	return &DeadLetters{sender}, nil
}

// Run is as [Producer.Run].
func (d *DeadLetters) Run(ctx context.Context) error { return d.sender.run(ctx) }

// Stats returns the counters. It may be called at any time.
func (d *DeadLetters) Stats() SendStats { return d.sender.snapshot() }

// Put writes letters and returns when all in-sync replicas have them. The key is
// topic, partition and offset: written twice, they are known as copies.
func (d *DeadLetters) Put(ctx context.Context, letters ...DeadLetter) error {
	return d.sender.put(ctx, len(letters), func(i int) (key, value []byte, headers []header, err error) {
		l := &letters[i]
		value, err = json.Marshal(l)
		return fmt.Appendf(nil, "%s/%d/%d", l.Topic, l.Partition, l.Offset), value, []header{{"content-type", "application/json"}}, err
	})
}

// Notice is what the findings topic holds: a CloudEvent in binary mode, its
// attributes in the headers and its data in the value.
type Notice struct {
	// ID names the notice: the same finding in the same state has the same.
	ID string
	// Type is what happened, such as "scopedrift.finding.opened".
	Type string
	// Source is who says so, such as "/scopedrift/detector".
	Source string
	// Subject is what it is about: the finding's id. It is the key, too, so that
	// what is said of a finding stays in order.
	Subject string
	// Time is when it happened.
	Time time.Time
	// Data is JSON.
	Data []byte
}

// Findings writes to the findings topic, while Run runs.
type Findings struct{ sender *sender }

// NewFindings makes a writer to a topic, [FindingsTopic] if it is empty. It dials
// nothing. report, if set, is told of errors that are being healed.
func NewFindings(cfg Config, topic string, report func(error)) (*Findings, error) {
	if topic == "" {
		topic = FindingsTopic
	}
	sender, err := newSender(cfg, topic, letterBuffer, report)
	if err != nil {
		return nil, err
	}
	return &Findings{sender}, nil
}

// Run is as [Producer.Run].
func (f *Findings) Run(ctx context.Context) error { return f.sender.run(ctx) }

// Stats returns the counters. It may be called at any time.
func (f *Findings) Stats() SendStats { return f.sender.snapshot() }

// Put writes notices and returns when all in-sync replicas have them.
func (f *Findings) Put(ctx context.Context, notices ...Notice) error {
	return f.sender.put(ctx, len(notices), func(i int) (key, value []byte, headers []header, err error) {
		n := &notices[i]
		if n.ID == "" || n.Type == "" || n.Source == "" {
			return nil, nil, nil, errors.New("a notice needs an id, a type and a source")
		}
		return []byte(n.Subject), n.Data, []header{
			{"ce_specversion", "1.0"}, {"ce_type", n.Type}, {"ce_source", n.Source}, {"ce_id", n.ID},
			{"ce_subject", n.Subject}, {"ce_time", n.Time.UTC().Format(time.RFC3339Nano)}, {"content-type", "application/json"},
		}, nil
	})
}

// put writes n messages and waits for them.
func (s *sender) put(ctx context.Context, n int, message func(int) (key, value []byte, headers []header, err error)) error {
	if n == 0 {
		return nil
	}
	d, err := s.begin(ctx)
	if err != nil {
		return err
	}
	for i := range n {
		key, value, headers, broken := message(i)
		if err = broken; err != nil {
			break
		}
		if err = d.add(ctx, key, headers, func(dst []byte, _ uint64) []byte { return append(dst, value...) }); err != nil {
			break
		}
	}
	d.close()
	if err != nil {
		return err
	}
	if err := d.wait(ctx); err != nil {
		return err
	}
	if lost := d.tooLarge.Load(); lost > 0 {
		return &Error{Kind: WrongTopic,
			Text:   fmt.Sprintf("%d of %d messages are too large for topic %s, which takes at most %d bytes each by default", lost, n, s.topic, wire.MaxMessage),
			Remedy: "raise the topic's max.message.bytes"}
	}
	return nil
}
