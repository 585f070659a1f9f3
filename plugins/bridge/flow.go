// This file: one message from the remote, and one event to it.

package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/postbus/postbus/plugins/lines"
)

// in makes an event of a message and acknowledges it when that is durable.
func (s *Source) in(ctx context.Context, c *conn, p *packets.PublishPacket, post Post) error {
	if err := checkTopic(p.TopicName); err != nil {
		return fmt.Errorf("it sent a message whose topic makes no sense: %w", err)
	}
	if p.Qos > 2 || p.Qos > 0 && p.MessageID == 0 {
		return errors.New("it sent a message that MQTT forbids")
	}
	rule, ok := s.inRule(p.TopicName)
	if !ok || s.link.plain && s.echo.heard(p.TopicName, p.Payload, time.Now()) {
		c.ack(p) // of a subscription that the file had before, which the remote still keeps; or our own
		return nil
	}
	topic, err := rename(p.TopicName, rule.Strip, rule.Prefix)
	if err != nil {
		s.env.Lost(1, "no topic after strip and prefix")
		c.ack(p)
		return nil
	}
	fields := map[string]any{"topic": topic, "payload": p.Payload, "text": lines.Text(p.Payload), "json": parse(p.Payload), "qos": int(p.Qos), "retain": p.Retain}
	err = post(ctx, time.Now(), fields, func(err error) {
		var hopeless interface{ Permanent() bool }
		switch {
		case err == nil:
			c.ack(p)
		case errors.As(err, &hopeless) && hopeless.Permanent():
			s.env.Lost(1, "an event that can't be stored")
			c.ack(p)
		default: // the remote sends it again on the next connection, and only there
			c.fail(fmt.Errorf("the connection was given up for an event that couldn't be stored: %w", err))
		}
	})
	if err != nil {
		return postError{err}
	}
	return nil
}

func (s *Source) inRule(topic string) (In, bool) {
	for _, r := range s.o.In {
		if match(r.Filter, topic) {
			return r, true
		}
	}
	return In{}, false
}

// remember is called for everything that is sent, only while there is a connection: link.plain is that one's.
func (s *Source) remember(p *packets.PublishPacket) {
	if !s.link.plain {
		return
	}
	if _, comes := s.inRule(p.TopicName); comes {
		s.echo.sent(p.TopicName, p.Payload, time.Now())
	}
}

// filters is what we want of the bus.
func (s *Source) filters() (f []string) {
	for _, r := range s.o.Out {
		f = append(f, r.Filter)
	}
	return f
}

// out puts an event on its way; when there is no more room it waits.
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
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos = name, bytes.Clone(payload), rule.QoS.Level()
	p.Retain = rule.Retain == "always" || rule.Retain != "never" && retain
	if err := s.window.add(ctx, p, done); err != nil {
		done(err) // not acknowledged: it comes again
	}
}

func (s *Source) outRule(topic string) (Out, bool) {
	for _, r := range s.o.Out {
		if match(r.Filter, topic) {
			return r, true
		}
	}
	return Out{}, false
}

// maxJSON is the largest payload that is read as JSON, in bytes.
const maxJSON = 1 << 20

// parse is the payload's value when it looks like JSON and is.
func parse(payload []byte) any {
	if len(payload) > maxJSON {
		return nil
	}
	var v any
	text := bytes.TrimLeft(payload, " \t\r\n")
	if len(text) == 0 || !bytes.ContainsRune([]byte(`{["-0123456789tfn`), rune(text[0])) || json.Unmarshal(text, &v) != nil {
		return nil
	}
	return v
}
