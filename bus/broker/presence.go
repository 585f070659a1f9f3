package broker

// This file reports on $bus/clients/<id> which clients are connected, since when, and why the others are
// not. See docs/adr/0018-presence.md.
//
//	connect, disconnect ─▶ changes, the newest of each client ─▶ one goroutine ─▶ bus.Report
//
// Connections never wait for it. A client's topic changes at most once in presenceEvery: the first
// change after a quiet time is written at once, later ones as their newest. A change that the disk
// refuses is written later, as the newest by then.
//
// A topic exists as long as the client's session. The topic of a client whose session ended with its
// connection stays for absentFor, so that rules can see that it went offline; of these there are
// maxAbsent at most. The topic of a transient client is cleared when its connection ends.

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/quiet"
)

const (
	presenceEvery = time.Second
	presenceBatch = 1000                  // changes that are written together
	presenceGap   = 10 * time.Millisecond // between two writes, so that many connects share a sync
	absentFor     = 24 * time.Hour
	maxAbsent     = 10_000
	lastChanges   = 500 * time.Millisecond // for the changes of a stop that has used up its time
	busStopped    = "the bus stopped"
)

// presence holds the changes of clients' topics that are to be written or were written lately. A nil
// presence does nothing.
type presence struct {
	bus   *bus.Bus
	log   *slog.Logger
	quiet quiet.Log
	// connected reports whether a client identifier has a connection, and whether that has been
	// reported with online.
	connected func(id string) (connected, reported bool)

	mu      sync.Mutex
	changes map[string]*change
	ready   []*turn // now
	later   []*turn // in the order of their times, which all lie presenceEvery ahead when they are added
	absent  absentees
	opened  bool
	stop    context.Context // not nil when the broker closes: everything is written now, until it ends

	wake chan struct{} // has room for one
	done chan struct{} // closed when run has returned
}

// change is the newest state of a client.
type change struct {
	state  *bus.Presence // to be written; nil: none
	clear  bool          // the topic is to be cleared
	check  bool          // a session ended: the topic is to be cleared unless the client has another or a connection
	turn   *turn         // an earlier one does not count any more
	held   bool          // its next turn is delayed once, because a newer state is likely
	tried  bool          // it was written, or refused by the disk, within presenceEvery
	stored bool          // the topic has a value, or may have one
	seq    uint64        // of the last write
}

// turn is the moment at which a client's change is written.
type turn struct {
	id  string
	due time.Time // zero: now
}

func newPresence(b *bus.Bus, log *slog.Logger, connected func(string) (bool, bool)) *presence {
	return &presence{bus: b, log: log, connected: connected, changes: map[string]*change{}, absent: absentees{at: map[string]int{}},
		wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// open starts writing, beginning with the correction of what an earlier run left.
func (p *presence) open() {
	if p == nil {
		return
	}
	p.opened = true
	p.bus.OnSessionEnd(p.ended)
	go p.run()
}

// online reports a client's connection.
func (p *presence) online(id string, state bus.Presence) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.absent.remove(id)
	p.setLocked(id, &state, state.Transient) // most transient clients are gone before their turn, and cost no write
}

// offline reports the end of a client's connection. replaced means that another connection took over,
// which reports itself within moments.
func (p *presence) offline(id string, state bus.Presence, replaced bool) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if state.Transient {
		p.clearLocked(id)
		return
	}
	if p.setLocked(id, &state, replaced) && !state.Persistent {
		p.waitLocked(id, state.Since)
	}
}

// waitLocked keeps the topic of a client without a session for absentFor.
func (p *presence) waitLocked(id string, since time.Time) {
	p.absent.add(id, since)
	if len(p.absent.list) > maxAbsent {
		p.clearLocked(p.absent.oldest())
	}
}

// ended is called when a session has ended. It may have a successor of the same name already.
func (p *presence) ended(id string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.changes[id]; c != nil {
		c.check = true
	} else if c := p.changeLocked(id); c != nil {
		c.check, c.held = true, true // its connection may not have reported yet that it ended
	}
}

// setLocked makes state the newest of a client; false if the client has no topic.
func (p *presence) setLocked(id string, state *bus.Presence, held bool) bool {
	c := p.changeLocked(id)
	if c != nil {
		c.state, c.clear, c.held = state, false, held
	}
	return c != nil
}

// clearLocked has a client's topic cleared, if it has a value.
func (p *presence) clearLocked(id string) {
	p.absent.remove(id)
	if c := p.changeLocked(id); c != nil {
		c.state, c.clear, c.held = nil, c.stored, false
	}
}

// changeLocked returns a client's change and gives it a turn; nil if the client has no topic.
func (p *presence) changeLocked(id string) *change {
	c := p.changes[id]
	if c == nil {
		topic, ok := bus.ClientTopic(id)
		if !ok {
			p.quiet.Warn(p.log, "", "client has no topic below $bus/clients: its identifier is too long", "client", shortened(id))
			return nil
		}
		c = &change{stored: p.bus.RetainedSeq(topic) != 0}
		p.changes[id] = c
	}
	if !c.tried {
		p.nowLocked(id, c)
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return c
}

func (p *presence) laterLocked(id string, c *change) {
	c.turn = &turn{id, time.Now().Add(presenceEvery)}
	p.later = append(p.later, c.turn)
}

func (p *presence) nowLocked(id string, c *change) {
	if c.turn == nil || !c.turn.due.IsZero() {
		c.turn = &turn{id: id}
		p.ready = append(p.ready, c.turn)
	}
}

// write is one change on its way to the disk.
type write struct {
	id     string
	change *change
	state  *bus.Presence // nil: the topic is cleared
	stored bool          // the topic had a value before
	commit bus.Pending
	err    error
}

// run writes changes until the broker has closed.
func (p *presence) run() {
	defer close(p.done)
	before := p.earlier()
	for {
		batch, wait, stop := p.take()
		if len(batch) > 0 {
			p.write(batch)
			if stop == nil {
				time.Sleep(presenceGap)
				continue
			}
		}
		if stop != nil {
			if len(batch) == 0 || stop.Err() != nil {
				return
			}
			continue
		}
		if before != nil {
			if !before() {
				before = nil
			}
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-p.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take returns the changes whose turn it is, or how long to wait for the next turn. While the broker
// closes, all have their turn.
func (p *presence) take() (batch []*write, wait time.Duration, stop context.Context) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	stop = p.stop
	for len(p.absent.list) > 0 && !now.Before(p.absent.list[0].since.Add(absentFor)) {
		p.clearLocked(p.absent.oldest())
	}
	for len(p.ready) > 0 && len(batch) < presenceBatch {
		batch = p.takeLocked(batch, p.ready[0])
		p.ready = p.ready[1:]
	}
	for len(p.later) > 0 && len(batch) < presenceBatch && (stop != nil || !now.Before(p.later[0].due)) {
		batch = p.takeLocked(batch, p.later[0])
		p.later = p.later[1:]
	}
	wait = time.Hour
	if len(p.absent.list) > 0 {
		wait = min(wait, p.absent.list[0].since.Add(absentFor).Sub(now))
	}
	if len(p.later) > 0 {
		wait = min(wait, p.later[0].due.Sub(now))
	}
	return batch, max(wait, time.Millisecond), stop
}

// takeLocked adds the change of a turn, if there is something to write.
func (p *presence) takeLocked(batch []*write, t *turn) []*write {
	c := p.changes[t.id]
	if c == nil || c.turn != t {
		return batch
	}
	if c.held && p.stop == nil {
		c.held = false
		p.laterLocked(t.id, c)
		return batch
	}
	if c.check {
		c.check = false
		if connected, _ := p.connected(t.id); !connected && !p.bus.HasSession(t.id) && !p.absent.has(t.id) {
			c.state, c.clear = nil, c.stored
		}
	}
	if c.state == nil && !c.clear {
		if c.seq > p.bus.Last() && p.stop == nil { // RetainedSeq does not know the last write yet
			p.laterLocked(t.id, c)
		} else {
			delete(p.changes, t.id)
		}
		return batch
	}
	w := &write{id: t.id, change: c, state: c.state, stored: c.stored}
	c.state, c.clear, c.stored, c.tried = nil, false, true, true
	return append(batch, w)
}

// write writes changes and returns when they are durable or refused.
func (p *presence) write(batch []*write) {
	for _, w := range batch {
		topic, _ := bus.ClientTopic(w.id)
		var payload []byte
		if w.state != nil {
			payload, w.err = json.Marshal(w.state)
		}
		if w.err == nil {
			w.commit, w.err = p.bus.Report(topic, payload)
		}
	}
	var refused error
	for _, w := range batch {
		if w.err == nil {
			<-w.commit.Done()
			w.err = w.commit.Err()
		}
		if w.err != nil {
			refused = w.err
		}
	}
	if refused != nil && !errors.Is(refused, bus.ErrClosed) {
		p.quiet.Warn(p.log, "", "reporting clients on $bus/clients failed, will retry", "err", refused)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range batch {
		c := w.change
		switch {
		case w.err == nil:
			c.seq, c.stored = w.commit.Seq(), w.state != nil
			c.clear = c.clear && c.stored
		case c.clear: // meanwhile the client was forgotten
			c.stored, c.clear = w.stored, w.stored
		default:
			c.stored = w.stored
			if c.state == nil {
				c.state, c.clear = w.state, w.state == nil
			}
		}
		if p.stop == nil || w.err == nil {
			p.laterLocked(w.id, c)
		}
	}
}

// earlier returns a function that corrects the next presenceBatch topics that an earlier run left, and
// reports whether there are more: parts keep the correction from delaying clients' changes. Clients that
// have not reconnected become offline; topics of sessions that ended are cleared.
func (p *presence) earlier() (next func() bool) {
	after := ""
	stopped := p.bus.Before()
	if stopped.IsZero() {
		stopped = time.Now()
	}
	return func() bool {
		var page []string
		err := p.bus.RetainedTopics(bus.ClientsFilter, after, func(topic string, _ int) bool {
			page = append(page, topic)
			return len(page) < presenceBatch
		})
		if err != nil {
			return false // the bus is closed
		}
		for _, topic := range page {
			p.correct(topic, stopped)
			after = topic
		}
		return len(page) == presenceBatch
	}
}

// correct brings a topic that an earlier run wrote up to date.
func (p *presence) correct(topic string, stopped time.Time) {
	e, ok := p.bus.RetainedValue(topic)
	id, known := bus.ClientOf(topic)
	var state bus.Presence
	if !ok || !known || json.Unmarshal(e.Payload, &state) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, reported := p.connected(id)
	if reported || p.changes[id] != nil || p.bus.RetainedSeq(topic) != e.Seq { // this run has reported something
		return
	}
	if state.Transient || state.Persistent && !p.bus.HasSession(id) {
		p.clearLocked(id)
		return
	}
	if state.Online {
		state.Online, state.Since, state.Reason = false, stopped, busStopped
		p.setLocked(id, &state, false)
	}
	if !state.Persistent {
		p.waitLocked(id, state.Since)
	}
}

// close writes the remaining changes, until ctx ends. All connections have ended.
func (p *presence) close(ctx context.Context) {
	if p == nil || !p.opened {
		return
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.Background(), lastChanges)
		defer cancel()
	}
	p.mu.Lock()
	p.stop = ctx
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	select {
	case <-p.done:
	case <-ctx.Done(): // a write hangs; it ends with the journal
	}
}
