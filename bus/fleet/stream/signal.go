// This file has messages that are not stored: core NATS, at most once, for those who listen now.

package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// Signal sends data to those who listen on subject now. Nil doesn't say that anybody got it.
func (s *Stream) Signal(subject string, data []byte) error {
	if !validSubject(subject, false) {
		return fault(fmt.Sprintf("%q is not a subject for messages", subject), "", nil)
	}
	l, err := s.current()
	if err != nil {
		return err
	}
	return s.closedOr(l.nc.Publish(subject, data))
}

// Ask sends data and returns the first answer. ErrNobody: nobody listens.
func (s *Stream) Ask(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if !validSubject(subject, false) {
		return nil, fault(fmt.Sprintf("%q is not a subject for messages", subject), "", nil)
	}
	l, err := s.current()
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	m, err := s.o.request(ctx, l, &nats.Msg{Subject: subject, Data: data})
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, fmt.Errorf("%s: %w", subject, ErrNobody)
	}
	if err != nil {
		return nil, s.closedOr(err)
	}
	return m.Data, nil
}

// Listen calls f with what others send on subject, which may have wildcards, one at a time. What f
// returns answers an Ask; nil gives no answer. It goes on over reconnects; what was sent meanwhile is
// lost, and so is what does not fit into the 1,024 messages, or 1 MiB, that wait for f. stop waits for f, which
// must not call it.
func (s *Stream) Listen(subject string, f func(subject string, data []byte) (reply []byte)) (stop func(), err error) {
	if !validSubject(subject, true) {
		return nil, fault(fmt.Sprintf("%q is not a filter of subjects", subject), "", nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, ErrClosed
	}
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan struct{})
	s.wait.Go(func() {
		defer close(done)
		s.listen(ctx, subject, f)
	})
	return sync.OnceFunc(func() { cancel(); <-done }), nil
}

func (s *Stream) listen(ctx context.Context, subject string, f func(string, []byte) []byte) {
	var l *link
	for {
		var err error
		if l, err = s.waitLink(ctx, l); err != nil {
			return
		}
		sub, err := l.nc.SubscribeSync(subject)
		if err != nil {
			continue // the connection is lost
		}
		sub.SetPendingLimits(1024, 1<<20)
		for {
			m, err := sub.NextMsgWithContext(ctx)
			if errors.Is(err, nats.ErrSlowConsumer) {
				s.o.Logger.Warn("messages of the hub were dropped, because too many waited", "subject", subject)
				continue
			}
			if err != nil {
				break
			}
			reply := f(m.Subject, m.Data)
			// An answer goes to an inbox only: it must not end on a subject that this bus owns.
			if reply != nil && strings.HasPrefix(m.Reply, "_INBOX.") {
				if err := m.Respond(reply); err != nil {
					break
				}
			}
		}
		sub.Unsubscribe() // of a lost connection it fails, which is fine
		if ctx.Err() != nil {
			return
		}
	}
}
