// This file is `postbus plugin replay`.

package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/plugins"
)

type replayFlags struct {
	remote
	since   string
	compare bool
	json    bool
	quiet   bool
}

func (m *Main) pluginReplayCommand() *cobra.Command {
	var s settings
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Show what a plugin file would have made of past events",
		Long: `Maps the events that the journal holds with a plugin file, which need not be installed, and prints what it would have
published and done: time passes as it did, so that timers and windows count. It begins with nothing kept, publishes nothing and
runs no action. With --compare it prints the difference to what the plugin of this name has published: + would be there, - was.`,
		Example: `  postbus plugin replay door.yaml --since 24h
  postbus plugin replay --since 7d --compare plugins.d/door.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.overrides(cmd)
			s.file = f.config
			l, err := m.load(&s)
			if err != nil {
				return err
			}
			return m.replayJournal(cmd.Context(), l, &f, args[0])
		},
	}
	s.dirFlags(cmd)
	cmd.Flags().StringVar(&f.since, "since", "24h", "begin at `POINT`: an age (10m, 24h, 7d), a time or a sequence")
	cmd.Flags().BoolVar(&f.compare, "compare", false, "print the difference to what was published")
	cmd.Flags().BoolVar(&f.json, "json", false, "print a JSON object a line")
	cmd.Flags().BoolVar(&f.quiet, "summary", false, "print the last line only")
	f.remoteFlags(cmd, "the bus: http://HOST:PORT or https://HOST:PORT")
	return cmd
}

func (m *Main) replayJournal(ctx context.Context, l *loaded, f *replayFlags, file string) error {
	if _, err := bus.ParseSince(f.since, time.Now()); err != nil {
		return usagef("plugin replay: --since: %w", err)
	}
	id := strings.TrimSuffix(filepath.Base(file), ".yaml")
	spec, errs := checkFile(checker(l), pluginFile{file, file, id})
	if len(errs) > 0 {
		return &configError{where: file, list: errs}
	}
	filters := spec.Filters()
	if len(filters) == 0 {
		return fmt.Errorf("%s: its sources are not topics of this bus: there is nothing to replay", file)
	}
	if f.compare {
		filters = append(filters, spec.Outputs()...)
	}
	out := bufio.NewWriter(m.Stdout)
	defer out.Flush()
	buffered := *m
	buffered.Stdout = out
	m = &buffered
	diff := &difference{m: m, f: f, pending: map[string][]signed{}}
	replay := spec.Replayer(plugins.HostName(""), l.pluginEnv, func(r plugins.Replayed) {
		switch {
		case f.compare:
			diff.would(r)
		case !f.quiet:
			m.printReplayed("", &r, f.json)
		}
	})
	own := "plugin:" + id
	err := m.journal(ctx, &f.remote, f.since, filters, func(e *bus.Event) {
		if f.compare && e.Source == own && spec.Publishes(e.Topic) {
			diff.was(e)
		}
		replay.Event(e)
	})
	if err != nil {
		return err
	}
	replay.End(time.Now())
	differs := 0
	if f.compare {
		differs = diff.end()
	}
	st := &replay.Stats
	if f.json {
		b, err := json.Marshal(st)
		if err != nil {
			return err
		}
		m.printf("%s\n", b)
		return nil
	}
	m.printf("%s mapped: %s to publish, %s", plural(st.Events, "event"), plural(st.Published, "event"), plural(st.Jobs, "job"))
	if st.Errors > 0 {
		m.printf(", %s, the last: %s", plural(st.Errors, "error"), oneLine(st.LastError))
	}
	if st.Pending > 0 {
		m.printf("; %s pending", plural(st.Pending, "timer"))
	}
	if f.compare {
		m.printf("; %s to what was published (actions are not compared)", plural(differs, "difference"))
	}
	m.printf("\n")
	return nil
}

// printReplayed prints an outcome, behind a sign.
func (m *Main) printReplayed(sign string, r *plugins.Replayed, asJSON bool) {
	if asJSON {
		b, err := json.Marshal(struct {
			Sign string `json:"sign,omitempty"`
			*plugins.Replayed
		}{sign, r})
		if err == nil {
			m.printf("%s\n", b)
		}
		return
	}
	if sign != "" {
		sign += " "
	}
	m.printf("%s%s  %s\n", sign, r.Time.Local().Format("2006-01-02 15:04:05.000"), oneLine(r.String()))
}

// difference compares the events of a replay with those that were published, by topic and payload.
type difference struct {
	m       *Main
	f       *replayFlags
	pending map[string][]signed // by topic, payload, QoS and retain; those of one sign
	order   uint64
}

type signed struct {
	sign  string
	order uint64
	r     plugins.Replayed
}

func (d *difference) would(r plugins.Replayed) {
	if r.Action == "" {
		d.add("+", r)
	}
}

func (d *difference) was(e *bus.Event) {
	d.add("-", plugins.Replayed{Time: e.Time, Topic: e.Topic, Payload: e.Payload, QoS: e.QoS, Retain: e.Retain, Cause: e.Cause})
}

// add pairs an event with an earlier one of the other sign, or keeps it.
func (d *difference) add(sign string, r plugins.Replayed) {
	key := fmt.Sprintf("%s\x00%d%t\x00%s", r.Topic, r.QoS, r.Retain, r.Payload)
	list := d.pending[key]
	if len(list) > 0 && list[0].sign != sign {
		if list = list[1:]; len(list) == 0 {
			delete(d.pending, key)
		} else {
			d.pending[key] = list
		}
		return
	}
	d.order++
	d.pending[key] = append(list, signed{sign, d.order, r})
}

// end prints what has no counterpart, in the order of time, and returns how many those are.
func (d *difference) end() int {
	var all []signed
	for _, list := range d.pending {
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b signed) int {
		return cmp.Or(a.r.Time.Compare(b.r.Time), cmp.Compare(a.order, b.order))
	})
	for i := range all {
		if !d.f.quiet {
			d.m.printReplayed(all[i].sign, &all[i].r, d.f.json)
		}
	}
	return len(all)
}

// journal calls each for the events of the journal that match a filter, in the order of their sequences.
func (m *Main) journal(ctx context.Context, r *remote, since string, filters []string, each func(*bus.Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	filters = widest(filters)
	streams := make([]*eventStream, len(filters))
	for i, f := range filters {
		q := url.Values{"filter": {f}, "since": {since}}
		resp, err := m.request(ctx, r, http.MethodGet, "/api/v1/events?"+q.Encode(), "application/x-ndjson", nil)
		if err != nil {
			return err
		}
		s := &eventStream{lines: bufio.NewReaderSize(resp.Body, 64<<10), batches: make(chan []bus.Event, 4)}
		streams[i] = s
		reading.Go(func() {
			defer resp.Body.Close()
			s.read(ctx)
		})
	}
	var last uint64
	for {
		var first *eventStream
		for _, s := range streams {
			if !s.ended && (s.event == nil || s.event.Seq == last) { // none read yet, or already given
				s.next()
			}
			if s.ended && s.err != nil {
				return s.err
			}
			if !s.ended && (first == nil || s.event.Seq < first.event.Seq) {
				first = s
			}
		}
		if first == nil || slices.ContainsFunc(streams, func(s *eventStream) bool { return s.ended && first.event.Seq >= s.until }) {
			return nil // the others were opened later, and reach further
		}
		last = first.event.Seq
		each(first.event)
	}
}

// widest returns the filters that no other one covers, so that no event is read twice for them.
func widest(filters []string) (out []string) {
	slices.Sort(filters)
	filters = slices.Compact(filters)
	for _, f := range filters {
		wider := func(g string) bool { return g != f && topic.Covers(g, f) && (g < f || !topic.Covers(f, g)) }
		if !slices.ContainsFunc(filters, wider) {
			out = append(out, f)
		}
	}
	return out
}

// eventStream reads an answer of /api/v1/events, line by line and ahead.
type eventStream struct {
	lines   *bufio.Reader
	batches chan []bus.Event

	batch []bus.Event
	event *bus.Event
	ended bool

	// Set before batches is closed.
	until uint64 // the sequence after the newest event
	err   error
}

// readAhead is how many events are decoded before they are mapped.
const readAhead = 256

// read decodes events until the last line, an error or the end of ctx.
func (s *eventStream) read(ctx context.Context) {
	defer close(s.batches)
	for s.err == nil && s.until == 0 {
		batch := make([]bus.Event, 0, readAhead)
		for len(batch) < readAhead && s.err == nil && s.until == 0 {
			batch = s.line(batch)
		}
		select {
		case s.batches <- batch:
		case <-ctx.Done():
			s.err = ctx.Err() // what was read so far is no result
			return
		}
	}
}

// next takes the next event.
func (s *eventStream) next() {
	for len(s.batch) == 0 {
		batch, ok := <-s.batches
		if !ok {
			s.ended, s.event = true, nil
			return
		}
		s.batch = batch
	}
	s.event, s.batch = &s.batch[0], s.batch[1:]
}

// line reads one line: an event, or the last one.
func (s *eventStream) line(batch []bus.Event) []bus.Event {
	line, err := s.lines.ReadSlice('\n')
	var long []byte
	for errors.Is(err, bufio.ErrBufferFull) {
		long = append(long, line...)
		line, err = s.lines.ReadSlice('\n')
	}
	if long != nil {
		line = append(long, line...)
	}
	if err != nil {
		s.err = fmt.Errorf("the answer ended too early: %w", err)
		return batch
	}
	var v struct {
		Seq     uint64    `json:"seq"`
		Time    time.Time `json:"time"`
		Topic   string    `json:"topic"`
		Payload *string   `json:"payload"`
		Base64  []byte    `json:"payload_base64"`
		QoS     byte      `json:"qos"`
		Retain  bool      `json:"retain"`
		Source  string    `json:"source"`
		Origin  struct {
			Bus  string    `json:"bus"`
			Time time.Time `json:"time"`
		} `json:"origin"`
		Next uint64 `json:"next"`
	}
	if err := json.Unmarshal(line, &v); err != nil {
		s.err = fmt.Errorf("the answer is not a list of events: %w", err)
		return batch
	}
	if v.Seq == 0 {
		s.until = max(v.Next, 1)
		return batch
	}
	e := bus.Event{Seq: v.Seq, Time: v.Time, Topic: v.Topic, Payload: v.Base64, QoS: v.QoS, Retain: v.Retain, Source: v.Source, Origin: bus.Origin(v.Origin)}
	if v.Payload != nil {
		e.Payload = []byte(*v.Payload)
	}
	return append(batch, e)
}
