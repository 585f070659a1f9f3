package fleet

// This file is the importer: it reads the hub's stream and appends what this bus takes to its journal.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/fleet/stream"
)

// readPlace is where the importer stands in the stream.
type readPlace struct {
	place
	// Fresh is the newest message of the stream when this bus came. A lane that it does not know begins, up
	// to there, with what it finds: what came before is no loss for it.
	Fresh uint64 `json:"fresh,omitempty"`
	Hello bool   `json:"hello,omitempty"` // it has said hello since it came, or since its last loss
}

// importer reads one hub.
type importer struct {
	*Entry
	info   stream.Info
	infoAt time.Time            // when info was asked for
	at     readPlace            // what is durable here
	stored readPlace            // as it is in the journal
	seen   map[string]uint64    // of lanes: what was appended, or left out, and is durable
	dirty  map[string]string    // lanes whose seen is not in the journal, and their bus
	again  map[string]uint64    // lanes with a hole, up to this number: the stream was read again from its start
	reread map[string]time.Time // when that was because of a bus
	hello  time.Time            // when this bus said hello
	// unread are subjects with a message of a newer format. What follows it waits for the version that reads it:
	// the stream is then read again, because events are missing before it.
	unread map[string]bool
	// settled is the newest message of the stream when it was read again from its start. A hole before a message up
	// to there is real: one reading finds what is missing of all lanes.
	settled uint64
}

// maxUnread bounds what an importer remembers about lanes that are not in order.
const maxUnread = 10_000

// importAll reads the stream until something fails.
func (e *Entry) importAll(ctx context.Context) error {
	m := &importer{Entry: e, seen: map[string]uint64{}, dirty: map[string]string{}, again: map[string]uint64{}, reread: map[string]time.Time{}, unread: map[string]bool{}}
	if err := m.ask(ctx); err != nil {
		return err
	}
	known, err := e.load(e.topic("import"), &m.at)
	if err != nil {
		e.log.Error("reading the position on the hub failed; reading from its start", "err", err)
		m.at, known = readPlace{}, true
	}
	m.stored = m.at
	if !known {
		if err := m.begin(ctx); err != nil {
			return err
		}
	}
	for {
		from, err := m.from(ctx)
		if err != nil {
			return err
		}
		if err := m.read(ctx, from); !errors.Is(err, errReadAgain) {
			return err
		}
		if err := m.ask(ctx); err != nil {
			return err
		}
		m.settled = m.info.Last
	}
}

// ask asks the hub for the stream as it is now.
func (m *importer) ask(ctx context.Context) (err error) {
	m.infoAt = time.Now()
	m.info, err = m.hub.Info(ctx)
	return err
}

// errReadAgain means that the stream has to be read from another place.
var errReadAgain = errors.New("the stream is read again")

// begin chooses the place of a bus that is new to the hub.
func (m *importer) begin(ctx context.Context) error {
	from := m.info.First
	switch s := m.o.Since; {
	case s.All:
	case s.Age > 0:
		var err error
		if from, err = m.after(ctx, m.info.Now.Add(-s.Age)); err != nil {
			return err
		}
	default:
		from = m.info.Last + 1
	}
	m.at = readPlace{Fresh: m.info.Last, place: place{Created: m.info.Created.UnixNano()}}
	if from <= m.info.First {
		return m.store(ctx, m.topic("import"), m.at)
	}
	b := m.newBatch()
	err := m.hub.LastPerSubject(ctx, Subjects(m.o.Fleet), from-1, func(msg stream.Message) error {
		name, lane, ok := splitSubject(m.o.Fleet, msg.Subject)
		g, err := decodeHeader(msg.Data)
		if ok && err == nil && g.Kind == groupOfEvents {
			key := laneKey(g.Epoch, name, lane)
			b.pass(name, key, g.Last, 0)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := m.append(ctx, b); err != nil {
		return err
	}
	if last, ok, err := m.hub.At(ctx, from-1); err != nil {
		return err
	} else if ok {
		m.at.place = placeOf(m.info.Created, last)
	} else {
		m.at.Seq = from - 1
	}
	return m.store(ctx, m.topic("import"), m.at)
}

// after returns the first message that the hub stored at a time or later.
func (m *importer) after(ctx context.Context, t time.Time) (uint64, error) {
	lo, hi := m.info.First, m.info.Last+1
	for lo < hi {
		mid := lo + (hi-lo)/2
		msg, ok, err := m.hub.At(ctx, mid)
		if err != nil {
			return 0, err
		}
		if ok && !msg.Stored.Before(t) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, nil
}

// from returns where to read on: behind the place, or, if the stream is not what it was, from its start. What
// is there already is dropped.
func (m *importer) from(ctx context.Context) (uint64, error) {
	holds, err := m.at.holds(ctx, m.hub, m.info)
	if err != nil {
		return 0, err
	}
	if !holds {
		if m.at.Seq > 0 {
			m.log.Warn("the hub's stream is not what was read before; reading it again from its start", "seq", m.at.Seq, "last", m.info.Last)
		}
		m.at.place = place{Created: m.info.Created.UnixNano()}
		m.at.Fresh = 0
	}
	return max(m.at.Seq+1, m.info.First, 1), nil
}

// read appends messages from a sequence on.
func (m *importer) read(ctx context.Context, from uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	subjects := Subjects(m.o.Fleet)
	if len(m.o.Take) == 0 { // others ask for values
		subjects = prefix + "." + m.o.Fleet + ".*." + helloLane
	}
	reader, err := m.hub.Read(ctx, from, subjects)
	if err != nil {
		cancel()
		return err
	}
	messages := make(chan stream.Message, 8)
	ended := make(chan error, 1)
	go func() {
		defer close(messages)
		for {
			msg, err := reader.Next(ctx)
			if err != nil {
				ended <- err
				return
			}
			select {
			case messages <- msg:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	}()
	defer func() {
		cancel()
		for range messages {
		}
		reader.Close()
	}()
	// What was lost before the reader was there is found now, and what is lost later by the reader.
	if err := m.ask(ctx); err != nil {
		return err
	}
	if holds, err := m.at.holds(ctx, m.hub, m.info); err != nil || !holds {
		return cmp.Or(err, errReadAgain)
	}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		if !m.at.Hello && len(m.o.Take) > 0 && time.Since(m.hello) > time.Minute {
			if err := m.sayHello(ctx); err != nil {
				return err
			}
			m.at.Hello, m.hello = true, time.Now()
		}
		select {
		case msg, ok := <-messages:
			if !ok {
				return <-ended
			}
			if err := m.take(ctx, msg, messages); err != nil {
				return err
			}
		case <-tick.C:
			if err := m.storePlace(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take appends a message and those that are there already behind it, all at once.
func (m *importer) take(ctx context.Context, msg stream.Message, more <-chan stream.Message) error {
	b := m.newBatch()
	again := m.add(b, msg)
	for open := true; open && !again && len(b.list) < batchEvents && b.n < batchMessages; {
		select {
		case msg, open = <-more:
			if open {
				again = m.add(b, msg)
			}
		default:
			open = false
		}
	}
	if err := m.append(ctx, b); err != nil {
		return err
	}
	if again {
		m.at.place = place{Created: m.info.Created.UnixNano()}
		return errReadAgain
	}
	return nil
}

// append makes a batch durable, and then moves the place.
func (m *importer) append(ctx context.Context, b *batch) error {
	list := b.list
	for len(list) > 0 {
		p, err := m.bus.Import(list...)
		var bad *bus.ImportError
		if errors.As(err, &bad) {
			list = m.leaveOut(list, bad)
			continue
		}
		if err == nil {
			select {
			case <-p.Done():
				err = p.Err()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return fmt.Errorf("appending what other buses sent: %w", err)
		}
		break
	}
	for i := range list {
		if l := &list[i]; l.What == bus.ImportEvent {
			m.peer(l.Bus, func(p *Peer) { p.Events++; p.Last = time.Unix(0, l.Record.At) })
		}
	}
	for key, number := range b.seen {
		m.seen[key] = number
		m.dirty[key] = b.lane[key]
	}
	m.at.place = b.at
	m.countRead(b.n, m.at.Seq, m.info.Last)
	return nil
}

// leaveOut handles the item of a list that the bus does not accept: a retained value beyond the limits comes
// as an event that is not retained, and anything else is counted.
func (m *importer) leaveOut(list []bus.Imported, bad *bus.ImportError) []bus.Imported {
	item := &list[bad.Index]
	var limit *bus.LimitError
	if errors.As(bad.Err, &limit) && item.What == bus.ImportEvent && item.Record.Flags&flagRetain != 0 {
		item.Record.Flags &^= flagRetain
		item.Record.Stamp = 0
		m.quiet.Warn(m.log, item.Bus, "a value of another bus is not retained", "from", item.Bus, "topic", string(item.Record.Topic), "err", bad.Err)
		return list
	}
	m.refuse(item.Bus, bad.Err)
	return append(list[:bad.Index:bad.Index], list[bad.Index+1:]...)
}

// refuse counts what can't be imported.
func (m *importer) refuse(name string, err error) {
	m.peer(name, func(p *Peer) { p.Refused++; p.Problem = err.Error() })
	m.quiet.Warn(m.log, name, "what another bus sent can't be imported", "from", name, "err", err)
}

// storePlace stores the place, after what was left out in the lanes: the place must not be ahead of them.
func (m *importer) storePlace(ctx context.Context) error {
	if m.at == m.stored {
		return nil
	}
	b := m.newBatch()
	for key, name := range m.dirty {
		number := m.seen[key]
		if folded, ok := m.bus.SeenUpTo([]byte(key)); !ok || folded < number {
			b.pass(name, []byte(key), number, 0)
		}
	}
	if err := m.append(ctx, b); err != nil {
		return err
	}
	at := m.at
	if err := m.store(ctx, m.topic("import"), at); err != nil {
		return err
	}
	m.stored = at
	clear(m.dirty)
	clear(m.seen) // the fold has it
	if len(m.again) > maxUnread {
		clear(m.again)
	}
	return nil
}
