// This file has what one message at a time needs: append by compare-and-set, the last message of a
// subject, a message by its sequence. All are answered by the stream's leader.

package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Append stores data if the last message on subject has sequence expect (0: there is none), and
// returns the sequence that it got. The errors:
//
//   - *Conflict: nothing was stored by this call, but see Pending.
//   - *Fault: nothing was stored, and nothing will be until somebody does what its hint says.
//   - ErrOffline: nothing was sent.
//   - others: it is not known whether data was stored, or will be. See Commit.
func (s *Stream) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	l, err := s.current()
	if err != nil {
		return 0, err
	}
	return s.appendOver(ctx, l, subject, expect, data)
}

// appendOver is Append over one connection.
func (s *Stream) appendOver(
	ctx context.Context, l *link, subject string, expect uint64, data []byte,
) (uint64, error) {
	if !validSubject(subject, false) {
		return 0, fault(fmt.Sprintf("%q is not a subject for messages", subject), "", nil)
	}
	if most := int(l.nc.MaxPayload()) - headerRoom; len(data) > most {
		return 0, fault(fmt.Sprintf("a message of %d bytes is larger than %d", len(data), most), "split it", nil)
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	seq, err := s.append(ctx, l, subject, expect, data)
	return seq, s.closedOr(err)
}

// append stores data behind the message expect. Usually that is one request; if there are messages
// behind it that are not genuine, data follows those.
func (s *Stream) append(
	ctx context.Context, l *link, subject string, expect uint64, data []byte,
) (uint64, error) {
	seq, err := s.o.store(ctx, l, subject, expect, data)
	var c *Conflict
	if !errors.As(err, &c) || c.Pending || c.Last == 0 {
		return seq, err
	}
	last, _, head, askErr := s.lastGenuine(ctx, subject, 0)
	if askErr != nil || last.Seq != expect || head == expect {
		return 0, err // a conflict, and nothing was stored
	}
	seq, err = s.o.store(ctx, l, subject, head, data)
	if errors.As(err, &c) {
		c.Expected = expect
	}
	return seq, err
}

// store sends one message that the hub stores if the last one on its subject is follows.
func (o *Options) store(
	ctx context.Context, l *link, subject string, follows uint64, data []byte,
) (uint64, error) {
	m := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
		headerStream:  {o.Stream},
		headerFollows: {strconv.FormatUint(follows, 10)},
	}}
	answer, err := o.request(ctx, l, m)
	if errors.Is(err, nats.ErrNoResponders) {
		return 0, fmt.Errorf("no stream takes messages on %s at present: %w", subject, err)
	}
	if err != nil {
		return 0, err
	}
	var ack struct {
		Error     *apiError `json:"error"`
		Stream    string    `json:"stream"`
		Seq       uint64    `json:"seq"`
		Duplicate bool      `json:"duplicate"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("the hub's acknowledgement: %w", err)
	}
	switch {
	case ack.Error != nil:
		return 0, o.refused(subject, follows, ack.Error)
	case ack.Stream != o.Stream || ack.Seq == 0 || ack.Duplicate:
		return 0, fmt.Errorf("the hub's acknowledgement makes no sense: %.200q", answer.Data)
	}
	return ack.Seq, nil
}

// refused is the error of an append that the hub did not accept.
func (o *Options) refused(subject string, expect uint64, err *apiError) error {
	switch err.ErrCode {
	case codeWrongLastConstant:
		return &Conflict{Subject: subject, Expected: expect, Pending: true}
	case codeWrongLast:
		c := &Conflict{Subject: subject, Expected: expect}
		// Without a number the hub still decides about an earlier message on the subject.
		if n, e := fmt.Sscanf(err.Description, "wrong last sequence: %d", &c.Last); n != 1 || e != nil {
			c.Pending = true
		}
		return c
	case codeStreamMismatch:
		return fault(fmt.Sprintf("another stream than %s takes messages on %s", o.Stream, subject),
			"correct the fleet's name, or the subjects of the hub's streams", err)
	}
	return o.explainAPI(err)
}

// stored is a message as the stream has it.
type stored struct {
	Message
	is bool // genuine
}

// get asks the leader for one message.
func (s *Stream) get(ctx context.Context, question any) (m stored, ok bool, err error) {
	var a struct {
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	err = s.ask(ctx, "STREAM.MSG.GET."+s.o.Stream, question, &a)
	var api *apiError
	if errors.As(err, &api) && api.ErrCode == codeNoMessage {
		return stored{}, false, nil
	}
	if err != nil {
		return stored{}, false, err
	}
	if a.Message == nil || a.Message.Seq == 0 {
		return stored{}, false, errors.New("the hub's answer has no message")
	}
	got := a.Message
	m.Message = Message{Seq: got.Seq, Subject: got.Subject, Data: got.Data, Stored: got.Time}
	if header, err := nats.DecodeHeadersMsg(a.Message.Header); err == nil {
		m.is = s.o.genuine(header)
	}
	if !m.is {
		s.reportForeign(m.Subject, m.Seq)
	}
	return m, true, nil
}

// Last is the last message on subject, if there is one.
func (s *Stream) Last(ctx context.Context, subject string) (Message, bool, error) {
	m, ok, _, err := s.lastGenuine(ctx, subject, 0)
	return m, ok, err
}

// At is the message with a sequence, if the stream has it.
func (s *Stream) At(ctx context.Context, seq uint64) (Message, bool, error) {
	if seq == 0 {
		return Message{}, false, nil
	}
	m, ok, err := s.get(ctx, map[string]any{"seq": seq})
	if err != nil || !ok || !m.is {
		return Message{}, false, err
	}
	return m.Message, true, nil
}

// next is the first message of any kind at or above seq whose subject matches filter, if there is
// one.
func (s *Stream) next(ctx context.Context, seq uint64, filter string) (stored, bool, error) {
	return s.get(ctx, map[string]any{"seq": max(seq, 1), "next_by_subj": filter})
}

// SelfTest shows that the hub refuses a stale compare-and-set on subject, without which a fleet
// would store events twice. It stores nothing on a hub that works.
func (s *Stream) SelfTest(ctx context.Context, subject string) error {
	l, err := s.current()
	if err != nil {
		return err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	const stale = 1 << 50 // no stream gets there
	seq, err := s.o.store(ctx, l, subject, stale, []byte("postbus: this must not be stored"))
	var c *Conflict
	switch {
	case errors.As(err, &c):
		return nil
	case err != nil:
		return s.closedOr(err)
	}
	return fault(
		fmt.Sprintf("the hub stored message %d on %s although it expected another one before it", seq, subject),
		"connect to nats-server directly: something between drops the headers of messages", nil)
}
