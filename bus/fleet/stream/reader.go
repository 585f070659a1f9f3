// This file reads the stream in order, with consumers that the hub forgets by itself.
//
// The hub pushes to a subject of the Reader until 2 MiB are sent that the Reader did not confirm by
// flow control (nats-server, consumer.go). The Reader never confirms: when 2 MiB came and were
// returned, it makes the next consumer, so that no more can ever wait in memory. The next consumer
// begins with the last message of the one before, which shows that the stream is still the same.
//
// Messages have numbers of the consumer. A gap, silence, a lost connection, a report that the
// consumer is gone, or a consumer that gives nothing while the stream has more ends the consumer;
// the next one begins behind the last message that was returned, and the caller learns of it.

package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	window         = 2 << 20 // bytes that nats-server sends without a confirmation
	heartbeatEvery = 5 * time.Second
	// seekAfter is the number of heartbeats without a message after which the stream is asked
	// whether it has more.
	seekAfter = 4
)

// Reader gives messages in the order of the stream. It belongs to one goroutine; Close may be called
// from any.
type Reader struct {
	s         *Stream
	heartbeat time.Duration // the hub reports at this interval that it has nothing; twice without: the consumer is lost
	subjects  []string
	ctx       context.Context // ends with the Reader or its Stream
	cancel    context.CancelFunc

	from     uint64    // the next message has this sequence or a higher one
	last     stored    // the last message, without its data
	consumer *consumer // nil when it is lost
	attempt  int       // to make one, since the last message
}

// consumer is what the Reader has on the hub.
type consumer struct {
	link    *link
	sub     *nats.Subscription
	inbox   string
	number  uint64 // of its last message
	bytes   int    // that it sent, as the hub counts
	idle    int    // heartbeats since the last message
	suspect bool   // the stream has a message that it should have sent
	overlap bool   // its first message must be the Reader's last one
	useful  bool   // it sent another message than that
}

// Read begins at the first message whose sequence is from or higher, and whose subject matches one
// of subjects (which may have wildcards and must not overlap; none: all). The hub's consumer exists
// when Read returns: a caller that compares its place after that learns of every later loss by
// ErrRestarted. A from behind the end waits for it.
//
// Read waits for a connection until ctx ends.
func (s *Stream) Read(ctx context.Context, from uint64, subjects ...string) (*Reader, error) {
	return s.read(ctx, heartbeatEvery, from, subjects)
}

func (s *Stream) read(ctx context.Context, heartbeat time.Duration, from uint64, subjects []string) (*Reader, error) {
	for _, subject := range subjects {
		if !validSubject(subject, true) {
			return nil, fault(fmt.Sprintf("%q is not a filter of subjects", subject), "", nil)
		}
	}
	r := &Reader{s: s, heartbeat: heartbeat, subjects: subjects, from: max(from, 1)}
	r.ctx, r.cancel = context.WithCancel(s.ctx)
	if err := r.restart(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close ends the Reader, and a Next that waits. Nothing is left to wait for: a Reader has no
// goroutine, and the hub forgets its consumer.
func (r *Reader) Close() { r.cancel() }

// Next waits for the next message. Its errors:
//
//   - ErrRestarted, once, before the next message: see there.
//   - *Fault: reading is impossible until somebody does what its hint says. Call again later.
//   - ErrClosed, and ctx's own error.
//
// Everything else it mends itself. After ErrClosed the Reader holds nothing.
func (r *Reader) Next(ctx context.Context) (Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	for {
		if r.ctx.Err() != nil {
			r.drop()
			return Message{}, ErrClosed
		}
		if ctx.Err() != nil {
			return Message{}, ctx.Err()
		}
		if r.consumer == nil {
			if err := r.restart(ctx); err != nil {
				return Message{}, r.closedOr(err)
			}
			return Message{}, ErrRestarted
		}
		m, err := r.step(ctx)
		switch {
		case err == nil && m.Seq > 0:
			r.from, r.attempt = m.Seq+1, 0
			r.last = stored{Message{Seq: m.Seq, Subject: m.Subject, Stored: m.Stored}, m.is}
			if m.is {
				return m.Message, nil
			}
			r.s.reportForeign(m.Subject, m.Seq)
		case err == nil || ctx.Err() != nil: // the loop looks
		default:
			r.s.o.Logger.Debug("reading from the hub begins again",
				"stream", r.s.o.Stream, "from", r.from, "error", err)
			r.drop()
		}
	}
}

func (r *Reader) closedOr(err error) error {
	if r.ctx.Err() != nil {
		return ErrClosed
	}
	return err
}

// drop gives the consumer up.
func (r *Reader) drop() {
	if r.consumer != nil {
		r.consumer.sub.Unsubscribe() // fails if the connection is lost, which is fine
		r.consumer = nil
	}
}

// restart makes a consumer, and repeats that until it succeeds, until ctx ends, or until a *Fault.
func (r *Reader) restart(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	for {
		if r.attempt++; r.attempt > 1 {
			select {
			case <-ctx.Done():
				return r.closedOr(ctx.Err())
			case <-time.After(pause(r.attempt-1, min(r.s.o.Retry, 5*time.Second))):
			}
		}
		l, err := r.s.waitLink(ctx, nil)
		if err != nil {
			return r.closedOr(err)
		}
		err = r.make(ctx, l, r.from)
		if err == nil || isFault(err) {
			return err
		}
		if ctx.Err() != nil {
			return r.closedOr(ctx.Err())
		}
		r.s.o.Logger.Debug("the hub makes no consumer, will retry", "stream", r.s.o.Stream, "error", err)
	}
}

// make makes a consumer on the hub. It lives in the memory of one server, without acknowledgements:
// all that matters is in the Reader.
func (r *Reader) make(ctx context.Context, l *link, from uint64) error {
	c := &consumer{link: l, inbox: l.nc.NewInbox()}
	name := "r" + rand.Text()
	config := map[string]any{
		"name": name, "deliver_subject": c.inbox, "deliver_policy": "by_start_sequence", "opt_start_seq": from,
		"ack_policy": "none", "replay_policy": "instant", "mem_storage": true, "num_replicas": 1, "max_deliver": -1,
		"flow_control": true, "idle_heartbeat": r.heartbeat,
	}
	if len(r.subjects) > 0 {
		config["filter_subjects"] = r.subjects
	}
	question := map[string]any{"stream_name": r.s.o.Stream, "config": config, "action": "create"}
	var answer struct {
		Name string `json:"name"`
	}
	var err error
	if c.sub, err = l.nc.SubscribeSync(c.inbox); err != nil {
		return err
	}
	err = r.s.o.api(ctx, l, "CONSUMER.CREATE."+r.s.o.Stream+"."+name, question, &answer)
	if err == nil && answer.Name != name {
		err = fmt.Errorf("the hub made consumer %q, not %q", answer.Name, name)
	}
	if err != nil {
		c.sub.Unsubscribe()
		return err
	}
	r.consumer = c
	return nil
}

// step waits for one message or report of the hub. It returns a message, or none if there was only
// a report; an error says that the consumer is of no use.
func (r *Reader) step(ctx context.Context) (stored, error) {
	if r.consumer.bytes > window {
		return stored{}, r.renew(ctx)
	}
	c := r.consumer
	ctx, cancel := context.WithTimeout(ctx, 2*r.heartbeat+time.Second)
	defer cancel()
	m, err := c.sub.NextMsgWithContext(ctx)
	switch {
	case err != nil:
		return stored{}, err
	case strings.HasPrefix(m.Reply, "$JS.ACK."):
		return r.take(c, m)
	}
	return stored{}, r.report(ctx, c, m)
}

// renew makes the next consumer, of the same stream, when the present one sent all that it may.
func (r *Reader) renew(ctx context.Context) error {
	old := r.consumer
	if !old.useful { // one message fills the window
		return errors.New("a message is larger than what the hub sends at a time")
	}
	if err := r.make(ctx, old.link, r.last.Seq); err != nil {
		return err
	}
	old.sub.Unsubscribe()
	r.consumer.overlap = true
	return nil
}

// take makes a message of what a consumer sent, and finds gaps.
func (r *Reader) take(c *consumer, m *nats.Msg) (stored, error) {
	meta, err := m.Metadata()
	if err != nil {
		return stored{}, fmt.Errorf("a message without a place: %w", err)
	}
	if meta.Sequence.Consumer != c.number+1 {
		return stored{}, fmt.Errorf("the consumer's message %d follows %d", meta.Sequence.Consumer, c.number)
	}
	c.number++
	c.bytes += m.Size() - len(m.Subject) + len(c.inbox)
	c.idle, c.suspect = 0, false
	got := stored{
		Message{Seq: meta.Sequence.Stream, Subject: m.Subject, Data: m.Data, Stored: meta.Timestamp},
		r.s.o.genuine(m.Header),
	}
	if c.overlap {
		c.overlap = false
		if l := r.last; got.Seq != l.Seq || got.Subject != l.Subject || !got.Stored.Equal(l.Stored) {
			return stored{}, fmt.Errorf("message %d is not there any more", l.Seq)
		}
		return stored{}, nil
	}
	c.useful = true
	if got.Seq < r.from {
		return stored{}, fmt.Errorf("the stream's message %d follows %d", got.Seq, r.from-1)
	}
	return got, nil
}

// report takes a status message: the hub is alive, or the consumer is over.
func (r *Reader) report(ctx context.Context, c *consumer, m *nats.Msg) error {
	status := m.Header.Get("Status")
	if status != "100" {
		return fmt.Errorf("the hub ended the consumer: %s %s", status, m.Header.Get("Description"))
	}
	if m.Reply != "" { // asks for a confirmation, at half of the window
		return nil
	}
	number, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64)
	if err != nil || number != c.number {
		return fmt.Errorf("the consumer sent %q messages, %d arrived", m.Header.Get("Nats-Last-Consumer"), c.number)
	}
	if m.Header.Get("Nats-Consumer-Stalled") != "" && !c.overlap {
		return r.renew(ctx)
	}
	if c.suspect {
		return errors.New("the consumer gives nothing, but the stream has more")
	}
	if c.idle++; c.idle%seekAfter == 0 {
		c.suspect, err = r.seekMore(ctx) // a message that was stored a moment ago comes before the next heartbeat
	}
	return err
}

// seekMore asks the stream's leader whether there is a message that the consumer should have sent.
func (r *Reader) seekMore(ctx context.Context) (bool, error) {
	subjects := r.subjects
	if len(subjects) == 0 {
		subjects = []string{">"}
	}
	for _, subject := range subjects {
		if _, ok, err := r.s.next(ctx, r.from, subject); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}
