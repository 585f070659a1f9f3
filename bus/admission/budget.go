// Package admission bounds what connections cost before their clients have logged in: anybody can
// open one.
//
// All of them share a Budget of memory. When it is used up, one has to go: the oldest connection of
// the address that uses most of it, so that a flood from one address ends its own connections and not
// those of others. A connection that sends its login at once is in this state for a few milliseconds
// only. A Listener begins to charge a connection when it is accepted, and makes the TLS handshake
// before it hands the connection on.
//
// The package knows nothing of MQTT, HTTP and users. Whoever checks the login calls Place.Release.
package admission

import (
	"container/list"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/postbus/postbus/bus/internal/remote"
	"github.com/postbus/postbus/bus/quiet"
)

const (
	budget   = 16 << 20
	costOpen = 8 << 10 // of a connection: its structures, goroutines and small buffer
)

// ErrBudget means that a connection was ended because of the budget.
var ErrBudget = errors.New("too many connections have not logged in yet")

// Budget is the connections that have not logged in, in bytes. Its methods do not block.
type Budget struct {
	log   *slog.Logger
	quiet quiet.Log
	full  atomic.Bool // a connection was ended since a Listener looked

	mu        sync.Mutex
	bytes     int
	addresses map[string]*address
}

// address is the connections of one address.
type address struct {
	places list.List // of *Place, in the order in which they came
	bytes  int
}

// NewBudget makes a budget of 16 MiB. A nil log stands for none.
func NewBudget(log *slog.Logger) *Budget {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Budget{log: log, addresses: map[string]*address{}}
}

// Place is one connection in a budget. The methods of a nil Place do nothing.
type Place struct {
	budget *Budget
	remote string

	// The following fields are protected by Budget.mu.
	waiting *list.Element // in address.places; nil: the client has logged in, or the connection is gone
	bytes   int
	evicted bool
	end     func()
}

// Add charges a new connection from a remote address, and ends others if the budget demands it. end is
// how the connection is ended; it must not block.
func (b *Budget) Add(from string, end func()) *Place {
	p := &Place{budget: b, remote: from, end: end}
	site := remote.Site(from)
	b.mu.Lock()
	a := b.addresses[site]
	if a == nil {
		a = &address{}
		b.addresses[site] = a
	}
	p.waiting = a.places.PushBack(p)
	victims := b.chargeLocked(p, costOpen)
	b.mu.Unlock()
	b.end(victims)
	return p
}

// Charge adds to the cost of the connection while its client has not logged in. A negative cost gives
// something back. The error is ErrBudget when the connection itself has to go.
func (p *Place) Charge(cost int) error {
	if p == nil {
		return nil
	}
	b := p.budget
	b.mu.Lock()
	var victims []*Place
	if p.waiting != nil {
		victims = b.chargeLocked(p, cost)
	}
	evicted := p.evicted
	b.mu.Unlock()
	b.end(victims)
	if evicted {
		return ErrBudget
	}
	return nil
}

// OnEvict replaces the way in which the connection is ended. It reports false if it has been ended.
func (p *Place) OnEvict(end func()) bool {
	if p == nil {
		return true
	}
	p.budget.mu.Lock()
	defer p.budget.mu.Unlock()
	p.end = end
	return !p.evicted
}

// Release ends the charge: the client has logged in, or its connection has ended.
func (p *Place) Release() {
	if p == nil {
		return
	}
	p.budget.mu.Lock()
	defer p.budget.mu.Unlock()
	if p.waiting != nil {
		p.budget.removeLocked(p)
	}
}

func (b *Budget) chargeLocked(p *Place, cost int) (victims []*Place) {
	p.bytes += cost
	b.bytes += cost
	b.addresses[remote.Site(p.remote)].bytes += cost
	for b.bytes > budget {
		var most *address
		for _, a := range b.addresses {
			if most == nil || a.bytes > most.bytes {
				most = a
			}
		}
		victim := most.places.Front().Value.(*Place)
		victim.evicted = true
		b.removeLocked(victim)
		victims = append(victims, victim)
		b.full.Store(true)
	}
	return victims
}

// end ends connections, without the budget's lock.
func (b *Budget) end(victims []*Place) {
	for _, v := range victims {
		b.mu.Lock()
		end := v.end
		b.mu.Unlock()
		end()
		b.quiet.Warn(b.log, remote.Site(v.remote), "connection closed: "+ErrBudget.Error(), "remote", v.remote)
	}
}

func (b *Budget) removeLocked(p *Place) {
	site := remote.Site(p.remote)
	a := b.addresses[site]
	a.places.Remove(p.waiting)
	a.bytes -= p.bytes
	b.bytes -= p.bytes
	if a.places.Len() == 0 {
		delete(b.addresses, site)
	}
	p.waiting, p.bytes = nil, 0
}
