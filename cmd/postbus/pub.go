// This file is "pub". Exit code 0 means that every event at QoS 1 and 2 was acknowledged.

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
	"github.com/spf13/cobra"

	"github.com/postbus/postbus/bus/topic"
)

// maxLine is the longest line of --stdin-lines, in bytes: the largest packet that any bus accepts.
const maxLine = 256 << 20

// pubWindow is how many events may wait for their acknowledgement.
const pubWindow = 200

type pubFlags struct {
	remote
	topic, text, file string
	lines, retain     bool
	qos               uint8
	properties        []string
}

func (m *Main) pubCommand() *cobra.Command {
	var f pubFlags
	cmd := &cobra.Command{
		Use:   "pub -t TOPIC (-m TEXT | -f FILE | --stdin-lines)",
		Short: "Publish events",
		Long:  "Publish events. The exit code is 0 only when all of them were acknowledged, which at QoS 1 and 2\nmeans that they are on the bus's disk.",
		Example: `  postbus pub -t home/lamp/set -m on
  postbus pub -t home/mode -m away -r
  vmstat 1 | postbus pub -t desk/vmstat --stdin-lines`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return m.pub(cmd.Context(), &f)
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.topic, "topic", "t", "", "`TOPIC` name")
	fl.StringVarP(&f.text, "message", "m", "", "the payload is `TEXT`")
	fl.StringVarP(&f.file, "file", "f", "", "the payload is the content of `FILE`; - for standard input")
	fl.BoolVar(&f.lines, "stdin-lines", false, "each line of standard input is one event")
	fl.Uint8VarP(&f.qos, "qos", "q", 1, "0, 1 or 2")
	fl.BoolVarP(&f.retain, "retain", "r", false, "publish a retained message; an empty payload clears it")
	fl.StringArrayVar(&f.properties, "property", nil,
		"user property `NAME=VALUE` that travels with the event; may be repeated")
	f.remoteFlags(cmd, "the bus: tcp://HOST:PORT, tls://HOST:PORT, unix:///PATH or http(s)://HOST:PORT")
	return cmd
}

func (f *pubFlags) check(cmd *cobra.Command) error {
	if f.topic == "" {
		return withHint(usagef("pub: no topic"), "postbus pub -t TOPIC -m TEXT")
	}
	if err := topic.CheckName(f.topic); err != nil {
		return usagef("pub: topic %q: %w", f.topic, err)
	}
	given := 0
	for _, name := range []string{"message", "file", "stdin-lines"} {
		if cmd.Flags().Changed(name) {
			given++
		}
	}
	if given != 1 {
		return withHint(usagef("pub: want one of -m, -f and --stdin-lines"), "postbus pub -t %s -m TEXT", f.topic)
	}
	if f.qos > 2 {
		return usagef("pub: -q is 0, 1 or 2, not %d", f.qos)
	}
	for _, p := range f.properties {
		if name, _, ok := strings.Cut(p, "="); !ok || name == "" {
			return usagef("pub: --property %q: want NAME=VALUE", p)
		}
	}
	return nil
}

// packet returns the event, without a payload.
func (f *pubFlags) packet() *paho.Publish {
	p := &paho.Publish{Topic: f.topic, QoS: f.qos, Retain: f.retain, Properties: &paho.PublishProperties{}}
	for _, kv := range f.properties {
		name, value, _ := strings.Cut(kv, "=")
		p.Properties.User.Add(name, value)
	}
	return p
}

// payloads calls send for each event, in order.
func (m *Main) payloads(f *pubFlags, send func([]byte) error) error {
	switch {
	case f.lines:
		s := bufio.NewScanner(m.Stdin)
		s.Buffer(make([]byte, 64<<10), maxLine)
		for s.Scan() {
			if err := send([]byte(s.Text())); err != nil {
				return err
			}
		}
		return s.Err()
	case f.file == "-":
		b, err := io.ReadAll(io.LimitReader(m.Stdin, maxLine))
		if err != nil {
			return err
		}
		return send(b)
	case f.file != "":
		b, err := os.ReadFile(f.file)
		if err != nil {
			return err
		}
		return send(b)
	}
	return send([]byte(f.text))
}

func (m *Main) pub(ctx context.Context, f *pubFlags) error {
	u, err := m.mqttURL(&f.remote)
	if err != nil {
		return err
	}
	if f.file != "" && f.file != "-" { // a bad file fails before connecting
		if _, err := os.Stat(f.file); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	st := state.NewInMemory()
	l, err := f.connect(ctx, u, connectOptions{id: clientID("pub"), random: true, clean: true, session: st})
	if err != nil {
		return err
	}
	p := &publisher{link: l, state: st, template: f.packet(), waiting: make(chan chan packets.ControlPacket, pubWindow), ended: make(chan struct{})}
	p.bare = packetSize(p.template)
	go p.collect(ctx)
	read := make(chan error, 1)
	go func() { // because reading standard input cannot be interrupted
		read <- m.payloads(f, func(b []byte) error { return p.send(ctx, b) })
	}()
	select {
	case err = <-read:
		close(p.waiting)
		<-p.ended
	case <-p.ended: // also when ctx ends
	}
	if p.err != nil {
		err = p.err // the first cause
	}
	l.leave(true)
	var large *tooLarge
	if errors.As(err, &large) && f.lines {
		return withHint(fmt.Errorf("line %d: %w; %s before it", p.sent+1, large, acknowledged(p, f.qos)),
			"%s", large.Hint())
	}
	if err != nil && f.lines {
		return fmt.Errorf("%d events were acknowledged, the next one was not: %w", p.acked, err)
	}
	return err
}

// publisher keeps many events in flight and preserves their order. One goroutine calls send;
// collect receives the acknowledgements in the same order.
type publisher struct {
	link     *link
	state    *state.State
	template *paho.Publish
	waiting  chan chan packets.ControlPacket
	ended    chan struct{} // collect returned
	bare     int           // approximate bytes of a packet without payload
	sent     int           // owned by send
	acked    int
	err      error // set by collect; read it after ended
}

// tooLarge is the error of an event that the bus doesn't accept by its size: sending it would end
// the connection.
type tooLarge struct{ size, limit int }

func (e *tooLarge) Error() string {
	return fmt.Sprintf("the event is too large: a packet of %d bytes, and the bus accepts at most %d", e.size, e.limit)
}

// Hint says what to do.
func (*tooLarge) Hint() string {
	return "limits.packet_size in the bus's config sets the maximum; split the event, or publish a link to the data"
}

func acknowledged(p *publisher, qos uint8) string {
	n, what := p.acked, "acknowledged"
	if qos == 0 {
		n, what = p.sent, "sent"
	}
	if n == 1 {
		return "1 event was " + what
	}
	return fmt.Sprintf("%d events were %s", n, what)
}

// packetSize returns the size of o on the wire, in bytes.
func packetSize(o *paho.Publish) int {
	n, _ := o.Packet().ToControlPacket().WriteTo(io.Discard) // cannot fail
	return int(n)
}

// fits compares an event's size with the limit in CONNACK [MQTT-3.2.2-15]. It measures the event
// only when it is close to the limit.
func (p *publisher) fits(o *paho.Publish) error {
	if p.link.largest == 0 || p.bare+len(o.Payload)+8 < p.link.largest {
		return nil
	}
	if size := packetSize(o); size > p.link.largest {
		return &tooLarge{size, p.link.largest}
	}
	return nil
}

func (p *publisher) send(ctx context.Context, payload []byte) error {
	out := *p.template
	out.Payload = payload
	if err := p.fits(&out); err != nil {
		return err
	}
	if err := p.pass(ctx, out); err != nil {
		return err
	}
	p.sent++
	return nil
}

// pass sends one event.
func (p *publisher) pass(ctx context.Context, out paho.Publish) error {
	if out.QoS == 0 {
		_, err := p.link.Publish(ctx, &out)
		return err
	}
	// Client.Publish waits for the acknowledgement; these are its two halves before that.
	packet := out.Packet()
	answer := make(chan packets.ControlPacket, 1)
	if err := p.state.AddToSession(ctx, packet, answer); err != nil {
		return err
	}
	if _, err := packet.WriteTo(p.link.conn); err != nil {
		return p.link.why()
	}
	select {
	case p.waiting <- answer:
		return nil
	case <-p.ended:
		return p.err
	}
}

func (p *publisher) collect(ctx context.Context) {
	defer close(p.ended)
	for {
		var answer chan packets.ControlPacket
		var more bool
		select {
		case answer, more = <-p.waiting:
			if !more {
				return
			}
		case <-ctx.Done():
			p.err = errors.New("interrupted")
			return
		}
		select {
		case a := <-answer:
			if p.err = refusedEvent(p.template.Topic, a); p.err == errEnded {
				p.err = p.link.why()
			}
			if p.err != nil {
				return
			}
			p.acked++
		case <-p.link.Done():
			p.err = p.link.why()
			return
		case <-ctx.Done():
			p.err = errors.New("interrupted")
			return
		}
	}
}

var errEnded = errors.New("the connection ended before the acknowledgement")

// refusedEvent returns the error of a negative acknowledgement, nil for a positive one.
func refusedEvent(topic string, a packets.ControlPacket) error {
	code, text := byte(0x80), ""
	read := func(c byte, p *packets.Properties) {
		code = c
		if p != nil {
			text = p.ReasonString
		}
	}
	switch c := a.Content.(type) {
	case *packets.Puback:
		read(c.ReasonCode, c.Properties)
	case *packets.Pubrec:
		read(c.ReasonCode, c.Properties)
	case *packets.Pubcomp:
		read(c.ReasonCode, c.Properties)
	default:
		return errEnded
	}
	if code < 0x80 {
		return nil
	}
	err := fmt.Errorf("the bus refused the event: %s", reason(code, text))
	root, _, _ := strings.Cut(topic, "/")
	switch {
	case code == 0x87 && (root == "$SYS" || root == "$bus"):
		return withHint(err, "topics below $SYS and $bus are reserved; publish to another topic")
	case code == 0x87:
		return withHint(err, "check the user's publish and deny rules in the bus's config")
	case code == 0x97:
		return withHint(err, "the bus's disk is full or its limits.disk_free is reached; postbus acknowledges no event that it cannot store")
	}
	return err
}
