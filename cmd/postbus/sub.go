// This file is "sub", which acknowledges an event after printing it.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"
	"github.com/spf13/cobra"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/topic"
)

const (
	// briefly is how long, in seconds, the session of a sub without --persistent outlives a lost
	// connection, so that a restart of the bus loses no event.
	briefly  = 60
	retryMin = 500 * time.Millisecond
	retryMax = 15 * time.Second
	forever  = ^uint32(0) // a session that never expires, within what the bus allows
)

type subFlags struct {
	remote
	filters       []string
	qos           uint8
	id, since     string
	persistent    bool
	json, verbose bool
	bare          bool // no newline after the payload
	count         int
	random        bool                        // nobody chose the id
	format        func(payload []byte) []byte // replaces json and verbose
}

func (m *Main) subCommand() *cobra.Command {
	var f subFlags
	cmd := &cobra.Command{
		Use:   "sub -t FILTER...",
		Short: "Print events as they arrive",
		Long: `Print events as they arrive: the payload and a new line, or with --json one object a line. An event is
acknowledged after it was printed. After a lost connection it connects again, and misses no event.`,
		Example: `  postbus sub -t 'home/#' -v
  postbus sub -t 'home/#' --json | jq .payload
  postbus sub -t 'home/+/temp' --since 10m
  postbus sub -t 'alarm/#' --id logger --persistent >> alarms`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if err := f.checkCount(cmd); err != nil {
				return err
			}
			return m.sub(cmd.Context(), &f)
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.filters, "topic", "t", nil, "topic `FILTER`; may be repeated")
	fl.Uint8VarP(&f.qos, "qos", "q", 1, "0, 1 or 2")
	fl.StringVar(&f.id, "id", "", "client `NAME` (default: a random one)")
	fl.StringVar(&f.since, "since", "",
		"begin in the past: `AGE` as 10m or 7d, a time as 2026-01-31T12:00:00Z, or a sequence")
	fl.BoolVar(&f.persistent, "persistent", false, "the bus keeps events while this client is offline; needs --id")
	fl.BoolVar(&f.json, "json", false,
		"one JSON object a line: topic, payload or payload_base64, qos, retain, seq, time, source")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "print the topic before the payload")
	fl.BoolVarP(&f.bare, "no-newline", "N", false, "print no newline after the payload")
	fl.IntVarP(&f.count, "count", "n", 0, "end after `COUNT` events (default: no limit)")
	f.remoteFlags(cmd, "the bus: tcp://HOST:PORT, tls://HOST:PORT, unix:///PATH or http(s)://HOST:PORT")
	return cmd
}

func (f *subFlags) check() error {
	if len(f.filters) == 0 {
		return withHint(usagef("sub: no topic filter"), "postbus sub -t 'home/#'; -t '#' is everything")
	}
	for _, t := range f.filters {
		if err := topic.CheckSubscription(t); err != nil {
			return usagef("sub: filter %q: %w", t, err)
		}
	}
	if f.since != "" {
		if _, err := bus.ParseSince(f.since, time.Now()); err != nil {
			return usagef("sub: --%w", err)
		}
	}
	switch {
	case f.qos > 2:
		return usagef("sub: -q is 0, 1 or 2, not %d", f.qos)
	case f.persistent && f.id == "":
		return withHint(usagef("sub: --persistent needs --id, which identifies the session"),
			"choose a fixed name: --id logger --persistent")
	case f.persistent && f.qos == 0:
		return withHint(usagef("sub: --persistent needs -q 1 or 2: events of QoS 0 are not stored"),
			"leave -q out: 1 is the default")
	case f.bare && f.json:
		return usagef("sub: --no-newline and --json exclude each other: a line is an object")
	}
	return nil
}

func (f *subFlags) checkCount(cmd *cobra.Command) error {
	if cmd.Flags().Changed("count") && f.count < 1 {
		return withHint(usagef("%s: -n is a number of events, at least 1, not %d", cmd.Name(), f.count),
			"without -n there is no limit")
	}
	return nil
}

func (m *Main) sub(ctx context.Context, f *subFlags) error {
	u, err := m.mqttURL(&f.remote)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A closed pipe then is an error of Write, after which the session can be ended in order.
	signal.Ignore(syscall.SIGPIPE)
	if f.id == "" {
		f.id, f.random = clientID("sub"), true
	}
	s := &subscriber{m: m, terminal: isTerminal(m.Stdout), f: f, full: make(chan struct{}), broken: make(chan error, 1)}
	s.session = &printedSession{state.NewInMemory(), s}
	wait := retryMin
	for first := true; ; first = false {
		began := time.Now()
		up, err := s.once(ctx, u, first)
		var final finalError
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if first && !up || errors.As(err, &final) {
			return err
		}
		if up && time.Since(began) > retryMax {
			wait = retryMin
		}
		fmt.Fprintf(m.Stderr, "%s; retrying\n", oneLine(err.Error()))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, retryMax)
	}
}

type subscriber struct {
	m        *Main
	f        *subFlags
	session  session.SessionManager
	terminal bool          // the output is one: others' text must not control it
	printed  int           // events; only the client's goroutine uses this and done
	done     bool          // print and acknowledge no more
	full     chan struct{} // closed when --count is reached and acknowledged
	broken   chan error    // receives the output's error
}

// once runs one connection until it ends. nil: everything is done. up reports whether it was
// connected.
func (s *subscriber) once(ctx context.Context, u *url.URL, first bool) (up bool, err error) {
	o := connectOptions{id: s.f.id, random: s.f.random, clean: first && !s.f.persistent, expiry: briefly, session: s.session, onPublish: s.print}
	if s.f.persistent {
		o.expiry = forever
	}
	l, err := s.f.connect(ctx, u, o)
	if err != nil {
		return false, err
	}
	if err := s.subscribe(ctx, l); err != nil {
		l.leave(!s.f.persistent)
		return true, err
	}
	select {
	case <-s.full:
	case <-ctx.Done():
	case err := <-s.broken:
		if s.f.persistent {
			l.conn.Close() // unacknowledged: the next connection prints it
		} else {
			l.leave(true) // no connection follows
		}
		if errors.Is(err, syscall.EPIPE) { // as head and less cause when they have read enough
			return true, nil
		}
		return true, finalError{fmt.Errorf("standard output: %w", err)}
	case <-l.Done():
		return true, l.why()
	}
	l.leave(!s.f.persistent)
	return true, nil
}

func (s *subscriber) subscribe(ctx context.Context, l *link) error {
	p := &paho.Subscribe{}
	for _, t := range s.f.filters {
		// Retained messages are sent once, not at every reconnection.
		p.Subscriptions = append(p.Subscriptions, paho.SubscribeOptions{Topic: t, QoS: s.f.qos, RetainHandling: 1, RetainAsPublished: true})
	}
	// Requested without --json too: a session keeps its subscription options, and the next sub may
	// need it.
	p.Properties = &paho.SubscribeProperties{}
	p.Properties.User.Add("meta", "1")
	if s.f.since != "" {
		p.Properties.User.Add("since", s.f.since)
	}
	ack, err := l.Subscribe(ctx, p)
	if ack == nil || len(ack.Reasons) != len(s.f.filters) {
		if err == nil {
			err = errors.New("the bus did not answer SUBSCRIBE")
		}
		select {
		case <-l.Done():
			return l.why()
		default:
			return err
		}
	}
	for i, code := range ack.Reasons {
		if code < 0x80 {
			continue
		}
		err := fmt.Errorf("the bus refused the subscription to %q: %s", s.f.filters[i], reason(code, ""))
		if code == 0x87 {
			err = withHint(err, "check the user's subscribe and deny rules in the bus's config")
		}
		return finalError{err}
	}
	return nil
}

// line is the output of --json. Payload and PayloadBase64 exclude each other.
type line struct {
	Topic         string      `json:"topic"`
	Payload       *string     `json:"payload,omitempty"`
	PayloadBase64 []byte      `json:"payload_base64,omitempty"`
	QoS           byte        `json:"qos"`
	Retain        bool        `json:"retain"`
	Dup           bool        `json:"dup,omitempty"`
	Seq           uint64      `json:"seq,omitempty"`
	Time          string      `json:"time,omitempty"`
	Source        string      `json:"source,omitempty"`
	Origin        *origin     `json:"origin,omitempty"` // the other bus of the fleet that accepted it first
	Gap           uint64      `json:"gap,omitempty"`    // events lost before this one
	Properties    [][2]string `json:"properties,omitempty"`
}

// origin is another bus, in the output of --json and in answers of the API.
type origin struct {
	Bus  string `json:"bus"`
	Time string `json:"time,omitempty"`
}

func newLine(p *paho.Publish) line {
	l := line{Topic: p.Topic, QoS: p.QoS, Retain: p.Retain, Dup: p.Duplicate()}
	if utf8.Valid(p.Payload) {
		text := string(p.Payload)
		l.Payload = &text
	} else {
		l.PayloadBase64 = p.Payload
	}
	if p.Properties == nil {
		return l
	}
	l.take(p.Properties.User)
	return l
}

// take separates the bus's own properties from those of the publisher, which precede them and may
// have the same names.
func (l *line) take(user paho.UserProperties) {
	last := func(key string) (value string, ok bool) {
		if n := len(user); n > 0 && user[n-1].Key == key {
			value, user = user[n-1].Value, user[:n-1]
			return value, true
		}
		return "", false
	}
	if source, ok := last("source"); ok {
		l.Source = source
		l.Time, _ = last("time")
		if seq, ok := last("seq"); ok {
			l.Seq, _ = strconv.ParseUint(seq, 10, 64)
		}
		if strings.HasPrefix(source, bus.FleetSource) {
			l.Origin = &origin{}
			l.Origin.Time, _ = last("origin-time")
			l.Origin.Bus, _ = last("origin")
		}
	}
	if gap, ok := last("gap"); ok {
		l.Gap, _ = strconv.ParseUint(gap, 10, 64)
	}
	for _, u := range user {
		l.Properties = append(l.Properties, [2]string{u.Key, u.Value})
	}
}

// print is called for one event at a time. When it returns, session.Ack is called.
func (s *subscriber) print(p *paho.Publish) {
	if s.done {
		return
	}
	l := newLine(p)
	var out []byte
	switch {
	case s.f.format != nil:
		out = s.f.format(p.Payload)
	case s.f.json:
		out, _ = json.Marshal(l) // cannot fail: strings and numbers
	case s.f.verbose:
		out = append(append([]byte(p.Topic), ' '), p.Payload...)
	default:
		out = p.Payload
	}
	if s.terminal {
		out = printable(out)
	}
	if !s.f.bare {
		out = append(out[:len(out):len(out)], '\n')
	}
	if l.Gap > 0 && !s.f.json {
		fmt.Fprintf(s.m.Stderr, "%d events before this one were lost\n", l.Gap)
	}
	if _, err := s.m.Stdout.Write(out); err != nil {
		s.done = true
		s.broken <- err
		return
	}
	s.printed++
	if p.QoS == 0 && s.printed == s.f.count {
		s.done = true
		close(s.full)
	}
}

// printedSession acknowledges printed events. Events beyond --count stay unacknowledged.
type printedSession struct {
	session.SessionManager
	s *subscriber
}

// Ack is called by the goroutine that called print before.
func (a *printedSession) Ack(p *packets.Publish) error {
	if a.s.done {
		return nil
	}
	err := a.SessionManager.Ack(p)
	if a.s.printed == a.s.f.count && a.s.f.count > 0 && err == nil {
		a.s.done = true
		close(a.s.full)
	}
	return err
}
