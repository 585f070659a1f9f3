// This file runs what the key fleet of the config asks for: the exchange of events with other buses.

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/fleet"
	"github.com/postbus/postbus/bus/fleet/stream"
	"github.com/postbus/postbus/bus/web"
	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/plugins"
)

// fleets are the entries that run. apply is called by one goroutine at a time.
type fleets struct {
	bus *bus.Bus
	log *slog.Logger

	mu      sync.Mutex
	members []*fleetMember
}

// fleetMember is one entry of the config that runs.
type fleetMember struct {
	config config.FleetEntry
	index  int // among the entries of its fleet
	entry  *fleet.Entry
	stop   func()
}

// fleetIndexes numbers the entries of each fleet.
func fleetIndexes(list []config.FleetEntry) []int {
	next := map[string]int{}
	var out []int
	for _, e := range list {
		out = append(out, next[e.Name])
		next[e.Name]++
	}
	return out
}

// fleetPins are the pins of the journal that the config needs from the start on.
func fleetPins(list []config.FleetEntry) []string {
	var pins []string
	for i, index := range fleetIndexes(list) {
		pins = append(pins, fleet.PinName(list[i].Name, index))
	}
	return pins
}

// apply ends the entries that the config does not have any more or has differently, and starts the others.
func (f *fleets) apply(ctx context.Context, l *loaded) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	indexes := fleetIndexes(l.Fleet)
	had := f.members
	f.members = nil
	var errs []error
	var start []*fleetMember
	for i, c := range l.Fleet {
		same := slices.IndexFunc(had, func(m *fleetMember) bool {
			return m.config.Name == c.Name && m.index == indexes[i] && sameEntry(m.config, c)
		})
		if same >= 0 {
			f.members = append(f.members, had[same])
			had = slices.Delete(had, same, same+1)
			continue
		}
		start = append(start, &fleetMember{config: c, index: indexes[i]})
	}
	for _, m := range had {
		m.stop()
	}
	inFleet := func(name string) bool {
		return slices.ContainsFunc(l.Fleet, func(c config.FleetEntry) bool { return c.Name == name })
	}
	errs = append(errs, fleet.Leave(ctx, f.bus, inFleet))
	for _, m := range had {
		if !slices.ContainsFunc(start, func(n *fleetMember) bool { return n.config.Name == m.config.Name && n.index == m.index }) {
			f.bus.Pin(fleet.PinName(m.config.Name, m.index), 0)
		}
	}
	for _, m := range start {
		errs = append(errs, f.start(ctx, l, m))
		f.members = append(f.members, m)
	}
	return errors.Join(errs...)
}

// sameEntry compares what a running entry depends on.
func sameEntry(a, b config.FleetEntry) bool {
	x, y := config.Config{Fleet: []config.FleetEntry{a}}, config.Config{Fleet: []config.FleetEntry{b}}
	applied, restart := config.Diff(&x, &y)
	return len(applied)+len(restart) == 0
}

// start begins an entry. An error means that it runs, and could not note yet what it shares.
func (f *fleets) start(ctx context.Context, l *loaded, m *fleetMember) error {
	c := m.config
	m.entry = fleet.New(f.bus, func(ctx context.Context) (fleet.Hub, error) {
		o, err := hubOptions(l, c, f.log)
		if err != nil {
			return nil, err
		}
		return fleet.Via(o)(ctx)
	}, fleetOptions(c, m.index, f.log))
	err := m.entry.Prepare(ctx)
	run, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.entry.Run(run)
	}()
	m.stop = func() { cancel(); <-done }
	return err
}

// close ends all entries.
func (f *fleets) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	var tasks sync.WaitGroup
	for _, m := range f.members {
		tasks.Go(m.stop)
	}
	tasks.Wait()
	f.members = nil
}

// running lists the entries.
func (f *fleets) running() []*fleetMember {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.members)
}

// status lists what the entries do.
func (f *fleets) status() []fleet.Status {
	list := []fleet.Status{}
	for _, m := range f.running() {
		s := m.entry.Status()
		s.Hub = m.config.Hub
		list = append(list, s)
	}
	return list
}

// figures are those of the entries, for the metrics.
func (f *fleets) figures() []web.FleetFigures {
	var list []web.FleetFigures
	for _, m := range f.running() {
		s := m.entry.Status()
		list = append(list, figuresOf(&s, m.index))
	}
	return list
}

func figuresOf(s *fleet.Status, index int) web.FleetFigures {
	f := web.FleetFigures{Fleet: s.Fleet, Hub: index, State: string(s.State), Online: s.State == fleet.StateOnline,
		Groups: s.Sent, Bytes: s.SentBytes, Received: s.Received, Waiting: s.Waiting, Behind: s.Behind}
	for _, name := range slices.Sorted(maps.Keys(s.Peers)) {
		p := s.Peers[name]
		q := web.PeerFigures{Bus: name, Events: p.Events, Repeats: p.Repeats, Lost: p.Lost, Expired: p.Expired, Refused: p.Refused}
		if !p.Last.IsZero() {
			q.Last = float64(p.Last.UnixMilli()) / 1000
		}
		f.Peers = append(f.Peers, q)
	}
	return f
}

// busNameOf is the bus's name in a fleet.
func busNameOf(c config.FleetEntry) string {
	if c.Bus != "" {
		return c.Bus
	}
	host, _ := os.Hostname()
	return config.BusName(host)
}

func fleetOptions(c config.FleetEntry, index int, log *slog.Logger) fleet.Options {
	o := fleet.Options{Fleet: c.Name, Bus: busNameOf(c), Index: index, Since: fleet.Since(c.Since),
		Keep: c.Keep, KeepSize: c.KeepSize, Rate: c.Rate, Logger: log}
	for _, s := range c.Share {
		o.Share = append(o.Share, fleet.Share(s))
	}
	for _, t := range c.Take {
		o.Take = append(o.Take, fleet.Take(t))
	}
	return o
}

// hubOptions reads what a connection needs. It is called for each attempt: files may be replaced.
func hubOptions(l *loaded, c config.FleetEntry, log *slog.Logger) (stream.Options, error) {
	name := busNameOf(c)
	o := stream.Options{URLs: c.Hub, Name: "postbus " + name, Inbox: stream.InboxOf(c.Name, name), Stream: fleet.StreamName(c.Name),
		Shape: &stream.Shape{Subjects: []string{fleet.Subjects(c.Name)}}, Logger: log.With("fleet", c.Name)}
	for key, s := range map[string]config.Secret{"creds": c.Creds, "nkey": c.NKey} {
		if s.IsZero() {
			continue
		}
		text, err := readSecret(l, s)
		if err != nil {
			return o, c.KeyError(key, err, "")
		}
		o.Creds = text
	}
	if c.CA != "" {
		pool, err := readAuthorities(c.CA)
		if err != nil {
			return o, c.KeyError("ca", err, "")
		}
		o.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return o, nil
}

// readSecret reads a secret by its name, or a file.
func readSecret(l *loaded, s config.Secret) ([]byte, error) {
	if s.Name != "" {
		text, err := plugins.ReadSecret(l.secretDirs, s.Name)
		return []byte(text), err
	}
	text, err := plugins.ReadSecretFile(s.File)
	return []byte(text), err
}
