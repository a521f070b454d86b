package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire"
)

// retryFull is how long to wait before writing to a full disk again.
const retryFull = time.Second

// Put writes a batch to the disk. It blocks while there is no room, until ctx
// ends; with Config.Drop it writes the account of a dropped batch instead.
func (s *Spool) Put(ctx context.Context, batch *schema.Batch) error {
	account := schema.Account{
		Input: batch.Input, FirstUnit: batch.FirstUnit, NextUnit: batch.NextUnit,
		Calls: uint64(len(batch.Calls)), Skipped: batch.Skipped, Done: batch.Done,
	}
	frame, tooLarge := appendFrame(nil, &account, batch.Calls)
	calls := uint64(len(batch.Calls)) - tooLarge
	free := func() {
		if batch.Free != nil {
			batch.Free()
		}
	}
	dropped, waited := false, false
	for {
		s.mu.Lock()
		switch room := s.cfg.Limit - s.stats.Bytes; {
		case s.failed != nil, s.file == nil:
			err := s.failed
			s.mu.Unlock()
			if err == nil {
				err = errNotOpen
			}
			return err
		case int64(len(frame)) > s.cfg.Limit && !s.cfg.Drop:
			s.mu.Unlock()
			return errTooLarge
		case int64(len(frame)) <= room || dropped && int64(len(frame)) <= room+reserve:
			full, err := s.write(frame)
			if err == nil {
				if dropped {
					s.stats.Dropped += calls
				} else {
					s.stats.Calls += calls
					s.stats.Full = time.Time{}
				}
				s.wake()
				s.mu.Unlock()
				free()
				return nil
			}
			s.noteFull()
			s.mu.Unlock()
			if !full {
				return err
			}
			s.report(err)
		case s.cfg.Drop && !dropped && len(batch.Calls) > 0:
			s.noteFull()
			s.mu.Unlock()
			dropped = true
			frame, _ = appendFrame(frame[:0], drop(account, batch.Calls, calls), nil)
			continue
		default:
			s.noteFull()
			s.mu.Unlock()
		}
		if err := s.pause(ctx, &waited); err != nil {
			return err
		}
	}
}

// drop makes the account of a batch whose calls are dropped.
func drop(a schema.Account, calls []schema.Call, n uint64) *schema.Account {
	skipped := map[string]uint64{LostFull: n}
	if large := uint64(len(calls)) - n; large > 0 {
		skipped[LostTooLarge] = large
	}
	for reason, n := range a.Skipped {
		skipped[reason] += n
	}
	a.Calls, a.Skipped = 0, skipped
	for i := range calls {
		t := calls[i].Time
		if a.FirstTime.IsZero() || t.Before(a.FirstTime) {
			a.FirstTime = t
		}
		if t.After(a.LastTime) {
			a.LastTime = t
		}
	}
	return &a
}

// noteFull remembers since when there is no room. The caller holds mu.
func (s *Spool) noteFull() {
	if s.stats.Full.IsZero() {
		s.stats.Full = time.Now()
	}
}

// pause waits for room.
func (s *Spool) pause(ctx context.Context, waited *bool) error {
	s.mu.Lock()
	if !*waited {
		s.stats.Waits++
		*waited = true
	}
	changed := s.changed
	s.mu.Unlock()
	timer := time.NewTimer(retryFull)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-timer.C:
	}
	return nil
}

// write appends a frame, whole or not at all. Full says that the disk is. The
// caller holds mu.
func (s *Spool) write(frame []byte) (full bool, err error) {
	last := &s.segments[len(s.segments)-1]
	if last.size > 0 && last.size+int64(len(frame)) > s.cfg.Segment {
		if err := s.newSegment(last.number + 1); err == nil {
			last = &s.segments[len(s.segments)-1]
		} else if !noRoom(err) {
			return false, err
		} // on a full disk the old one goes on
	}
	_, err = s.file.Write(frame)
	if err == nil && s.cfg.Sync {
		err = s.file.Sync()
	}
	if err != nil {
		full = noRoom(err)
		err = fmt.Errorf("write the spool: %w; give %s more room", err, s.cfg.Dir)
		if cut := s.file.Truncate(last.size); cut != nil {
			// Half a frame stands there: what comes has to go elsewhere.
			if other := s.newSegment(last.number + 1); other != nil {
				s.failed = errors.Join(err, other)
				s.wake()
				return false, s.failed
			}
		}
		return full, err
	}
	last.size += int64(len(frame))
	last.batches++
	s.stats.Bytes += int64(len(frame))
	s.stats.Batches++
	s.stats.Waiting++
	return false, nil
}

func noRoom(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// Run hands on what is on the disk until ctx ends; then it returns nil, and what
// waits stays. It returns the error with which the taker gave up, or that of a
// disk that cannot be read.
func (s *Spool) Run(ctx context.Context) error {
	decoder := wire.NewDecoder()
	var buf []byte
	var file *os.File
	defer func() {
		if file != nil {
			_ = file.Close()
		}
	}()
	for ctx.Err() == nil {
		s.mu.Lock()
		seg, at, whole := s.segments[0], s.readAt, len(s.segments) > 1
		changed := s.changed
		s.mu.Unlock()
		if at >= seg.size {
			if whole || seg.size >= s.cfg.Segment/4 {
				err := s.remove(&file)
				if err == nil {
					continue
				}
				if !noRoom(err) {
					return s.giveUp(err)
				}
				s.report(err)
				select { // a full disk cannot even begin a new file
				case <-ctx.Done():
				case <-time.After(retryFull):
				}
				continue
			}
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		if file == nil {
			var err error
			if file, err = os.Open(s.path(seg.number)); err != nil {
				return s.giveUp(fmt.Errorf("read the spool: %w", err))
			}
		}
		body, next, damaged, err := readFrame(file, at, seg.size, buf)
		if err != nil {
			return s.giveUp(fmt.Errorf("read the spool: %w", err))
		}
		buf = body
		if next == 0 {
			next, damaged = seg.size, seg.size-at
		}
		s.damaged(seg.number, damaged)
		if damaged < next-at {
			if err := s.handOn(ctx, decoder, body); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return s.giveUp(err)
			}
		}
		if err := s.advance(seg.number, next, damaged < next-at); err != nil {
			return s.giveUp(err)
		}
	}
	return nil
}

// damaged counts bytes that are not what was written.
func (s *Spool) damaged(number uint64, n int64) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	s.stats.DamagedBytes += n
	s.mu.Unlock()
	s.report(fmt.Errorf("%d bytes of the spool's file %016x%s are damaged and were passed over: look at the disk", n, number, ending))
}

// accounter is a taker that takes accounts alone, with their times.
type accounter interface {
	Account(ctx context.Context, account *schema.Account) error
}

// handOn gives one batch to the taker.
func (s *Spool) handOn(ctx context.Context, decoder *wire.Decoder, body []byte) error {
	decoder.Reset()
	batch, account, err := decodeFrame(decoder, body)
	if err != nil {
		return err
	}
	if to, ok := s.to.(accounter); ok && len(batch.Calls) == 0 {
		return to.Account(ctx, account)
	}
	return s.to.Put(ctx, batch)
}

// advance remembers that a batch was handed on.
func (s *Spool) advance(number uint64, next int64, handed bool) error {
	s.mu.Lock()
	s.readAt = next
	if handed {
		s.stats.HandedOn++
		if s.segments[0].batches > 0 {
			s.segments[0].batches--
			s.stats.Waiting--
		}
		s.wake()
	}
	s.mu.Unlock()
	err := s.saveMark(mark{number, next})
	if noRoom(err) {
		s.report(err) // a full disk: after a death some are handed on again
		return nil
	}
	return err
}

// remove takes away the first segment, which was handed on whole.
func (s *Spool) remove(file **os.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.segments[0]
	if s.readAt < first.size {
		return nil // something was put just now
	}
	if len(s.segments) == 1 {
		if err := s.newSegment(first.number + 1); err != nil {
			return err
		}
	}
	if *file != nil {
		_ = (*file).Close()
		*file = nil
	}
	if err := os.Remove(s.path(first.number)); err != nil {
		return fmt.Errorf("remove what the spool has handed on: %w", err)
	}
	s.segments = s.segments[1:]
	s.readAt = 0
	s.stats.Bytes -= first.size
	s.stats.Waiting -= first.batches
	s.wake()
	return nil
}

// giveUp makes every Put fail with the reason for which Run ends.
func (s *Spool) giveUp(err error) error {
	s.mu.Lock()
	s.failed = err
	s.wake()
	s.mu.Unlock()
	return err
}

// Empty waits until everything is handed on.
func (s *Spool) Empty(ctx context.Context) error {
	for {
		s.mu.Lock()
		waiting, failed, changed := s.stats.Waiting, s.failed, s.changed
		s.mu.Unlock()
		if waiting == 0 || failed != nil {
			return failed
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}
