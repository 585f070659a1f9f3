// Package bridge is the kind `bridge`: it connects another MQTT broker, both ways, store and
// forward.
//
//	remote ──PUBLISH──▶ in rules ──▶ event ──▶ journal, then PUBACK to the remote
//	remote ◀──PUBLISH── out rules ◀── the plugin's cursor in the journal, which advances at the remote's PUBACK
//
// What it promises:
//
//   - In: the remote keeps a session for us (clean: false). A message of QoS 1 or 2 is acknowledged
//     to the remote when the events that the plugin made of it are durable. The remote redelivers
//     messages that were sent while we were offline, or that we did not acknowledge, when we
//     reconnect, for as long as it keeps them.
//   - Out: events wait in our journal until the remote has acknowledged them, for as long as the
//     retention keeps them. They are sent in order, at most max_inflight at a time. After a broken
//     connection an event may be sent twice, and then the events after it are sent again too.
//   - No loop: an event from the remote isn't sent back to it, and our own messages don't come
//     back: see echo.go. With MQTT 5 an event also carries its route, so that a ring of bridges
//     ends: see docs/adr/0011-bridges-speak-mqtt-5.md.
//   - With MQTT 5 properties and expiry travel both ways. An event that expires while it waits for
//     the remote is lost and counted.
//   - While the remote is unreachable the plugin is degraded and retries, after one second at first
//     and at most a minute.
//   - Memory is bounded: by max_inflight of outgoing events, and by the number of incoming events
//     that postbus accepts at a time (a slow journal slows the remote down). A message larger than
//     16 MiB is lost and counted.
//
// It speaks MQTT 5 with the packets of paho.golang, and 3.1.1 with those of paho.mqtt.golang where
// the remote refuses MQTT 5. It doesn't use their clients. Those can't be stopped while they
// connect or write, they send unacknowledged messages out of order, and they forget
// acknowledgements that were given after the connection broke.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// event is what the source emits.
type event struct {
	Topic       string `key:"topic" doc:"the topic as text, after strip and prefix"`
	Payload     []byte `key:"payload" doc:"the payload"`
	Text        string `key:"text" doc:"the payload as text; bytes that are not UTF-8 are replaced"`
	JSON        any    `key:"json" doc:"the decoded payload of at most 1 MiB, see decode; nil if it cannot be decoded"`
	DecodeError string `key:"decode_error" doc:"why the payload is not CBOR, MessagePack or CSV, if decode says that it is; otherwise nil"`
	QoS         int    `key:"qos" doc:"the quality of service with which the remote sent it, 0 to 2"`
	Retain      bool   `key:"retain" doc:"whether the remote sent it as retained"`
}

// Source is the bridge. An instance runs once.
type Source struct {
	o      Options
	env    kind.Env
	link   link
	window *window
	echo   echo

	first, longest, steady time.Duration // first and longest pause between attempts; a connection that lasts steady counts as good
	subscribed             bool          // this source has subscribed in the session that the remote holds
	reported               string        // the last state passed to Degraded
	warned                 string        // the last text that warn logged
}

// New makes a source. It does not connect yet.
func New(o Options, env kind.Env) *Source {
	return &Source{o: o, env: env, link: o.link(), window: newWindow(o.MaxInflight), first: time.Second, longest: time.Minute, steady: 30 * time.Second}
}

// Open checks what can be checked without the remote, which may be unreachable.
func (s *Source) Open(context.Context) error {
	_, err := s.link.tls()
	return err
}

// Stream keeps the remote connected, and reconnects, until parent ends.
func (s *Source) Stream(parent context.Context, post kind.Post) error {
	ctx, stop := context.WithCancelCause(parent)
	var consuming sync.WaitGroup
	defer consuming.Wait()
	defer func() { s.window.drop(errClosed) }() // Consume waits for the events that it handed out
	defer stop(nil)
	if len(s.o.Out) > 0 {
		consuming.Go(func() {
			err := s.env.Consume(ctx, "out", s.filters(), func(m map[string]any, done func(error)) { s.out(ctx, m, done) })
			if ctx.Err() == nil {
				stop(fmt.Errorf("the subscription ended: %w", orEnded(err)))
			}
		})
	}
	pause := s.first
	for {
		began := time.Now()
		err := s.once(ctx, post)
		if ctx.Err() != nil {
			break
		}
		var refused postError
		if errors.As(err, &refused) {
			return refused.error
		}
		if time.Since(began) >= s.steady {
			pause = s.first
		}
		s.report(fmt.Errorf("%s: %w", s.link.name, err))
		_ = kind.Sleep(ctx, pause/2+rand.N(pause/2+1)) // jitter: many clients may have lost the same remote
		pause = min(2*pause, s.longest)
	}
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("no reason given")
	}
	return err
}

// postError wraps an error of post, which means that the plugin is being stopped.
type postError struct{ error }

// once connects and runs one connection until it ends. The error is never nil and says why it
// ended.
func (s *Source) once(ctx context.Context, post kind.Post) error {
	c, err := s.link.connect(ctx, s.o.Clean)
	if err != nil {
		return err
	}
	defer c.end()
	stop := context.AfterFunc(ctx, func() { c.fail(ctx.Err()) })
	defer stop()
	present := c.terms.present
	s.warn(c)
	if s.subscribed && !present && !s.o.Clean {
		s.env.Log().Warn("the remote has lost the bridge's session; messages may have been missed", "remote", s.link.name)
	}
	filters := s.o.In
	if s.subscribed && present {
		filters = nil // the subscriptions still exist; a new SUBSCRIBE would send the retained messages again
	}
	if len(filters) > 0 {
		c.send(&packet{kind: subscribe, id: subscribeID, rules: filters}, nil)
	} else {
		s.report(nil)
	}
	s.window.attach(c, c.terms.inflight, func(m *message) *message { return s.prepare(c, m) })
	defer s.window.detach()
	return c.read(func(p *packet) error {
		switch p.kind {
		case publish:
			return s.in(ctx, c, p, post)
		case puback:
			return s.acked(p)
		case pubrel:
			c.send(&packet{kind: pubcomp, id: p.id}, nil)
		case suback:
			s.granted(filters, p.codes)
		case disconnect:
			return &reason{"it ended the connection", p.code, p.text}
		case pingresp, unsuback:
		default:
			return fmt.Errorf("it sent %s, which a server must not send", kindNames[p.kind])
		}
		return nil
	}, func(topic string) { s.env.Lost(1, "a message of the remote larger than 16 MiB") })
}

// acked processes an acknowledgement. A negative one ends the connection. The event is sent again
// on the next connection, unless the remote would refuse it again.
func (s *Source) acked(p *packet) error {
	if p.code >= 0x80 {
		no := &reason{"it refused an event", p.code, p.text}
		if !final(p.code) {
			return no
		}
		s.env.Lost(1, no.Error())
	}
	s.window.acked(p.id)
	return nil
}

// warn logs what is lost on this connection, whenever that has changed.
func (s *Source) warn(c *conn) {
	var lost string
	switch {
	case !c.five():
		lost = "the remote does not speak MQTT 5: properties and expiry stay here, and a ring of bridges through it does not end"
	case c.terms.trusts == "false":
		lost = "the remote does not know our user as a bridge, so a ring of bridges through it does not end; set bridge: true in its users"
	case c.terms.qos == 0 && len(s.o.Out) > 0:
		lost = "the remote takes only QoS 0: an event counts as delivered when it is sent"
	case !c.terms.retain && len(s.o.Out) > 0:
		lost = "the remote keeps no retained messages"
	}
	if lost != s.warned && lost != "" {
		s.env.Log().Warn(lost, "remote", s.link.name)
	}
	s.warned = lost
}

// granted processes the result of SUBSCRIBE.
func (s *Source) granted(filters []In, codes []byte) {
	for i, f := range filters {
		if i >= len(codes) || codes[i] > 2 {
			s.report(fmt.Errorf("%s refused the subscription to %q", s.link.name, f.Filter))
			return
		}
	}
	s.subscribed = true
	s.report(nil)
}

// report reports a state when it has changed.
func (s *Source) report(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == s.reported {
		return
	}
	s.reported = text
	s.env.Degraded(err)
}
