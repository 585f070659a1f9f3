// This file has Commit: an append whose result is known in the end.

package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Appender is what Commit needs of a log.
type Appender interface {
	// Append stores data if the last message on subject has sequence expect (0: there is none). A
	// *Conflict says that nothing was stored; any other error but a *Fault may hide that it was.
	Append(ctx context.Context, subject string, expect uint64, data []byte) (seq uint64, err error)
	// Last is the last message on subject, if there is one.
	Last(ctx context.Context, subject string) (m Message, ok bool, err error)
}

// Moved is Commit's error when the subject went on without the caller, or when the hub forgot
// messages. Nothing was stored, or it was lost again.
type Moved struct {
	Subject  string
	Expected uint64  // the sequence of the message that the caller knows as the last one
	Last     Message // the last one by the hub; Seq is 0 if there is none
}

func (m *Moved) Error() string {
	return fmt.Sprintf("%s: the last message is %d, not %d", m.Subject, m.Last.Seq, m.Expected)
}

const (
	firstCommitPause = 20 * time.Millisecond
	maxCommitPause   = 5 * time.Second
)

// Commit stores data behind prev, once, and returns it as it is stored. When the result of an
// attempt is unknown it asks for the subject's last message: if that is ours, it is done; if it is
// prev, it repeats the same compare-and-set, of which the hub accepts only one however many are on
// their way. It goes on until it knows, until ctx ends, or until a *Fault. A result that is unknown
// at the end of ctx remains so: the next Commit, or Last, tells.
//
// Two equal messages in a row are possible: prev is recognized by its sequence. Messages of
// different writers must differ.
func Commit(ctx context.Context, log Appender, subject string, prev Message, data []byte) (Message, error) {
	for wait := firstCommitPause; ; wait = min(2*wait, maxCommitPause) {
		seq, err := log.Append(ctx, subject, prev.Seq, data)
		if err == nil {
			return Message{Seq: seq, Subject: subject, Data: data}, nil
		}
		if isFault(err) || errors.Is(err, ErrRestarted) {
			return Message{}, err
		}
		last, ok, lastErr := log.Last(ctx, subject)
		switch {
		case isFault(lastErr) || errors.Is(lastErr, ErrClosed) || errors.Is(lastErr, ErrRestarted):
			return Message{}, lastErr
		case lastErr != nil: // ask again, after the same compare-and-set
			err = lastErr
		case !ok && prev.Seq == 0, ok && last.Seq == prev.Seq: // not stored yet
		case ok && bytes.Equal(last.Data, data):
			return last, nil
		default:
			return Message{}, &Moved{subject, prev.Seq, last}
		}
		select {
		case <-ctx.Done():
			return Message{}, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(wait - rand.N(wait/2)):
		}
	}
}

// Bind returns an Appender that uses the present connection only. Once that is lost its methods return
// ErrRestarted, because the hub may have forgotten what the caller relies on.
func (s *Stream) Bind() (Appender, error) {
	l, err := s.current()
	if err != nil {
		return nil, err
	}
	return &bound{s, l}, nil
}

type bound struct {
	stream *Stream
	link   *link
}

// same reports whether the connection is the one that was bound.
func (b *bound) same() error {
	if l, err := b.stream.current(); l != b.link {
		return errors.Join(ErrRestarted, err)
	}
	return nil
}

func (b *bound) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	seq, err := b.stream.appendOver(ctx, b.link, subject, expect, data)
	if err != nil {
		if gone := b.same(); gone != nil {
			return 0, gone
		}
	}
	return seq, err
}

func (b *bound) Last(ctx context.Context, subject string) (Message, bool, error) {
	m, ok, err := b.stream.Last(ctx, subject)
	if gone := b.same(); gone != nil { // it may have been asked over another one
		return Message{}, false, gone
	}
	return m, ok, err
}
