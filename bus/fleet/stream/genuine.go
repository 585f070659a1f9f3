// This file tells messages of Append from others, which permissions on the hub can't keep out.
//
// A user of the hub may name any subject for an answer, and the hub publishes the answer there
// without asking for permissions. So a bus that may publish on its own subjects only can still make
// the hub store acknowledgements and answers of JetStream's API on another's subject. They have no
// headers, and no bus can choose some: a message with headers that the sender chooses would need a
// pull consumer (CONSUMER.MSG.NEXT) or a direct get, for which buses have no permission, and a push
// consumer can't deliver to subjects of the stream. So a message with the header of Append is one of
// a user that may publish on its subject. TestPermissionsAndForgery tries each way.
//
// What is not genuine takes a sequence, and Append follows it; it is never returned, but reported.

package stream

import (
	"context"

	"github.com/nats-io/nats.go"
)

const (
	headerStream  = "Nats-Expected-Stream"
	headerFollows = "Nats-Expected-Last-Subject-Sequence"
)

// genuine reports whether a stored message with these headers is one of Append.
func (o *Options) genuine(h nats.Header) bool {
	stream := h.Values(headerStream)
	return len(stream) == 1 && stream[0] == o.Stream && len(h.Values(headerFollows)) == 1
}

// reportForeign logs a message that is not genuine, at most once a minute for a subject.
func (s *Stream) reportForeign(subject string, seq uint64) {
	s.foreign.Warn(s.o.Logger, subject, "the hub stores a message that no bus sent as one; it is ignored",
		"stream", s.o.Stream, "subject", subject, "sequence", seq)
}

// lastGenuine is the last genuine message on a subject at or below a sequence (0: any), if there
// is one, and the sequence of the last message of any kind there.
func (s *Stream) lastGenuine(
	ctx context.Context, subject string, upTo uint64,
) (m Message, ok bool, head uint64, err error) {
	last, ok, err := s.get(ctx, map[string]any{"last_by_subj": subject})
	if err != nil || !ok {
		return Message{}, false, 0, err
	}
	head = last.Seq
	fits := func() bool { return last.is && (upTo == 0 || last.Seq <= upTo) }
	if fits() {
		return last.Message, true, head, nil
	}
	i, err := s.Info(ctx)
	if err != nil {
		return Message{}, false, 0, err
	}
	for ok && !fits() {
		high := last.Seq - 1
		if upTo > 0 {
			high = min(high, upTo)
		}
		if last, ok, err = s.lastUpTo(ctx, subject, i.First, high); err != nil {
			return Message{}, false, 0, err
		}
	}
	return last.Message, ok, head, nil
}

// lastUpTo searches the last message of a subject between two sequences, by halves.
func (s *Stream) lastUpTo(ctx context.Context, subject string, low, high uint64) (found stored, ok bool, err error) {
	for low = max(low, 1); low <= high; {
		middle := low + (high-low)/2
		m, is, err := s.next(ctx, middle, subject)
		switch {
		case err != nil:
			return stored{}, false, err
		case is && m.Seq <= high:
			found, ok = m, true
			low = m.Seq + 1
		default: // nothing from the middle on
			high = middle - 1
		}
	}
	return found, ok, nil
}
