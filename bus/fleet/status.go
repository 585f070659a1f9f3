package fleet

// This file is what an entry reports about itself.

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/postbus/postbus/bus/fleet/stream"
)

// State says whether an entry works.
type State string

// The states of an entry.
const (
	StateConnecting State = "connecting"
	StateOnline     State = "online"
	StateOffline    State = "offline"  // the hub can't be reached, or something fails: see Status.Error
	StateConflict   State = "conflict" // another bus has the name
)

// Status is what an entry does. Figures are since the start of the program.
type Status struct {
	Fleet string   `json:"fleet"`
	Bus   string   `json:"bus"`
	Hub   []string `json:"hub,omitempty"` // its addresses, as the config has them; the caller's
	State State    `json:"state"`
	Error string   `json:"error,omitempty"`
	Hint  string   `json:"hint,omitempty"`

	Sent      uint64 `json:"sent"`       // groups
	SentBytes uint64 `json:"sent_bytes"` // of them
	Waiting   uint64 `json:"waiting"`    // records of the journal that are not on the hub yet
	Received  uint64 `json:"received"`   // messages
	Behind    uint64 `json:"behind"`     // messages on the hub that were not read yet

	Peers map[string]*Peer `json:"peers"`
}

// Peer is another bus of the fleet.
type Peer struct {
	Events  uint64    `json:"events"`        // imported
	Repeats uint64    `json:"repeats"`       // that were there already
	Lost    uint64    `json:"lost"`          // at most so many
	Expired uint64    `json:"expired"`       // on the way
	Refused uint64    `json:"refused"`       // that could not be imported, see the log
	Last    time.Time `json:"last,omitzero"` // when the newest was accepted there, by this bus's clock
	Problem string    `json:"problem,omitempty"`
}

// Status returns a copy.
func (e *Entry) Status() Status {
	waiting := e.waiting()
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.status
	s.Fleet, s.Bus = e.o.Fleet, e.o.Bus
	s.Peers = make(map[string]*Peer, len(e.status.Peers))
	for name, p := range e.status.Peers {
		c := *p
		s.Peers[name] = &c
	}
	s.Waiting = waiting
	return s
}

// waiting counts the records behind the last one that is on the hub. Until the hub says which that is, it is
// the one that was stored; a layout without one has sent nothing.
func (e *Entry) waiting() uint64 {
	shares := e.allProgress()
	if len(shares) == 0 {
		_, _ = e.load(e.topic("export"), &shares) // an error is reported by export
	}
	last := e.bus.Last()
	if len(shares) == 0 {
		if l, err := e.loadLayouts(); err == nil && len(l) > 0 && len(l[len(l)-1].Share) > 0 {
			return last + 1 - min(last+1, l[len(l)-1].From)
		}
	}
	var n uint64
	for _, p := range shares {
		if !p.Ended {
			n = max(n, last-min(last, p.Done))
		}
	}
	return n
}

// setOnline records that the entry works.
func (e *Entry) setOnline() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status.State != StateOnline {
		e.log.Info("the connection to the hub changed", "state", StateOnline)
	}
	e.status.State, e.status.Error, e.status.Hint = StateOnline, "", ""
}

// fail records why the entry does not work now.
func (e *Entry) fail(err error) {
	state, hint := StateOffline, ""
	if errors.Is(err, errNameTaken) {
		state = StateConflict
	}
	var h interface{ Hint() string }
	switch {
	case errors.As(err, &h):
		hint = h.Hint()
	case errors.Is(err, stream.ErrOffline):
		hint = "check that the hub runs, and its address at hub:; `postbus fleet check` tries it"
	}
	e.mu.Lock()
	same := e.status.State == state && e.status.Error == err.Error()
	e.status.State, e.status.Error, e.status.Hint = state, err.Error(), hint
	e.mu.Unlock()
	if !same {
		e.log.Warn("no exchange with the hub, will retry; events are kept meanwhile", "err", err, "hint", hint)
	}
}

func (e *Entry) countSent(bytes int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status.Sent++
	e.status.SentBytes += uint64(bytes)
}

func (e *Entry) countRead(n, last uint64, info uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status.Received += n
	e.status.Behind = info - min(info, last)
}

// maxPeers bounds the buses that have figures of their own.
const maxPeers = 10_000

// peer calls f with the figures of a bus.
func (e *Entry) peer(name string, f func(*Peer)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.status.Peers[name]
	if p == nil {
		if len(e.status.Peers) >= maxPeers {
			return
		}
		p = &Peer{}
		e.status.Peers[name] = p
	}
	f(p)
}

// announced is what was published about a bus.
type announced struct {
	State State
	Peer  Peer
}

// announce publishes the state below $bus/fleet, retained, where it changed.
func (e *Entry) announce() {
	s := e.Status()
	for _, name := range slices.Sorted(maps.Keys(s.Peers)) {
		now := announced{s.State, *s.Peers[name]}
		topic := fmt.Sprintf("$bus/fleet/%s", name)
		if e.announced[topic] == now {
			continue
		}
		e.announced[topic] = now
		p := now.Peer
		shown := map[string]any{"fleet": s.Fleet, "state": s.State, "events": p.Events, "lost": p.Lost}
		if !p.Last.IsZero() {
			shown["last"] = p.Last.UTC().Format(time.RFC3339)
		}
		b, _ := json.Marshal(shown) // strings and numbers always encode
		e.bus.Announce(topic, b)
	}
}
