// This file handles one message from the remote, and one event to it.

package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
)

// maxHops is how many plugins and bridges may process an event in a chain. Package plugins ends a
// chain there, too.
const maxHops = 16

// in makes an event of a message, and acknowledges the message when the event is durable.
func (s *Source) in(ctx context.Context, c *conn, p *packet, post kind.Post) error {
	m := p.msg
	if err := checkName(m.topic); err != nil {
		return fmt.Errorf("it sent a message with an invalid topic: %w", err)
	}
	if m.qos > 2 || m.qos > 0 && p.id == 0 {
		return errors.New("it sent a message that violates MQTT")
	}
	rule, ok := s.inRule(m.topic)
	switch {
	case !ok: // of a subscription that an earlier version of the file had, and that the remote still keeps
	case s.link.plain && s.echo.isEcho(m.topic, m.payload, time.Now()): // our own message
	case m.origin != "" && m.origin == s.env.Origin():
		s.env.Log().Debug("an event that was published here came back through bridges", "topic", m.topic)
	case m.hops >= maxHops:
		s.env.Lost(1, loopReason)
	case m.malformed != "":
		s.env.Lost(1, "a message of the remote with malformed properties: "+m.malformed)
	default:
		return s.post(ctx, c, p, rule, post)
	}
	c.ack(p)
	return nil
}

const loopReason = "a loop: the event came through 16 plugins and bridges"

func (s *Source) post(ctx context.Context, c *conn, p *packet, rule In, post kind.Post) error {
	m := p.msg
	topic, err := rename(m.topic, rule.Strip, rule.Prefix)
	if err != nil {
		s.env.Lost(1, "no topic after strip and prefix")
		c.ack(p)
		return nil
	}
	fields := map[string]any{"topic": topic, "payload": m.payload, "text": lines.Text(m.payload), "qos": int(m.qos), "retain": m.retain}
	s.o.Decode.Message(m.payload, fields)
	if m.props != nil || m.origin != "" {
		if b := packProps(m); len(b) > 0 {
			fields["properties"] = b
		}
	}
	if !m.expires.IsZero() {
		fields["expiry"] = max(time.Until(m.expires).Round(time.Second), time.Second)
	}
	if m.hops > 0 {
		fields["hops"] = m.hops
	}
	err = post(ctx, time.Now(), fields, func(err error) {
		switch {
		case err == nil:
			c.ack(p)
		case kind.IsPermanent(err):
			s.env.Lost(1, "an event that can't be stored")
			c.ack(p)
		default: // the remote redelivers it on the next connection, and only there
			c.fail(fmt.Errorf("the connection was closed because an event couldn't be stored: %w", err))
		}
	})
	if err != nil {
		return postError{err}
	}
	return nil
}

func (s *Source) inRule(name string) (In, bool) {
	for _, r := range s.o.In {
		if topic.Match(r.Filter, name) {
			return r, true
		}
	}
	return In{}, false
}

// prepare turns an event into a message that can be sent on this connection. It returns nil when
// the event is lost, and counts that.
func (s *Source) prepare(c *conn, event *message) *message {
	m := *event
	m.qos, m.retain = min(m.qos, c.terms.qos), m.retain && c.terms.retain
	switch {
	case !m.expires.IsZero() && !time.Now().Before(m.expires):
		s.env.Lost(1, "expired before it was sent to the remote")
		return nil
	case !c.five():
		if s.link.plain {
			if _, comes := s.inRule(m.topic); comes {
				s.echo.sent(m.topic, m.payload, time.Now())
			}
		}
		return &m
	case m.hops >= maxHops:
		s.env.Lost(1, loopReason)
		return nil
	}
	m.hops++
	if m.origin == "" {
		m.origin = s.env.Origin()
	}
	if c.terms.size > 0 && tooLarge(&m, c.terms.size) {
		s.env.Lost(1, "larger than the remote's maximum packet size")
		return nil
	}
	return &m
}

// tooLarge reports whether a PUBLISH of the message has more bytes than size.
func tooLarge(m *message, size int) bool {
	n := 256 + len(m.topic) + len(m.payload) // 256: the header, the route and the numbers
	if p := m.props; p != nil {
		n += len(p.ContentType) + len(p.ResponseTopic) + len(p.CorrelationData)
		for _, u := range p.User {
			n += 5 + len(u.Key) + len(u.Value)
		}
	}
	if n <= size {
		return false
	}
	var exact counter
	_ = five{}.encode(&exact, &packet{kind: publish, id: 1, msg: m})
	return int(exact) > size
}

// counter counts the bytes written.
type counter int

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// filters returns the topic filters to consume from the bus.
func (s *Source) filters() (f []string) {
	for _, r := range s.o.Out {
		f = append(f, r.Filter)
	}
	return f
}

// out adds an event to the window. It blocks while the window is full.
func (s *Source) out(ctx context.Context, m map[string]any, done func(error)) {
	topic, _ := m["topic"].(string)
	payload, _ := m["payload"].([]byte)
	retain, _ := m["retain"].(bool)
	source, _ := m["source"].(string)
	rule, ok := s.outRule(topic)
	if !ok || source == s.env.Source() {
		done(nil)
		return
	}
	name, err := rename(topic, rule.Strip, rule.Prefix)
	if err != nil {
		s.env.Lost(1, "no topic after strip and prefix")
		done(nil)
		return
	}
	out := &message{topic: name, payload: bytes.Clone(payload), qos: rule.QoS.Level(), retain: rule.Retain == "always" || rule.Retain != "never" && retain}
	out.hops, _ = m["hops"].(int)
	if left, ok := m["expiry"].(time.Duration); ok {
		at, _ := m["time"].(time.Time)
		out.expires = at.Add(left)
	}
	if b, ok := m["properties"].([]byte); ok {
		p, err := unpackProps(b)
		if err == nil {
			hops := out.hops // the bus's count, whatever a property says
			out.setProps(p)
			out.hops = hops
		}
		if err != nil || out.malformed != "" {
			s.env.Log().Warn("the properties of an event are malformed and were not forwarded", "topic", topic)
			out.props = nil
		}
	}
	if err := s.window.add(ctx, out, done); err != nil {
		done(err) // not acknowledged: it will be redelivered
	}
}

func (s *Source) outRule(name string) (Out, bool) {
	for _, r := range s.o.Out {
		if topic.Match(r.Filter, name) {
			return r, true
		}
	}
	return Out{}, false
}
