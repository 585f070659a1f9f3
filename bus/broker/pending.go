package broker

// This file bounds what connections cost before their clients have logged in: anybody can open one.
//
// All of them share a budget of memory. When it is used up, one has to go: the oldest connection of
// the address that has the most of them, so that a flood from one address ends its own connections
// and not those of others. A connection that sends its CONNECT at once is in this state for a few
// milliseconds only.

import (
	"container/list"
	"errors"
	"sync"
)

const (
	pendingBudget = 16 << 20
	pendingCost   = 8 << 10  // of a connection: its structures, goroutines and small buffer
	pendingTLS    = 40 << 10 // more for one with TLS
)

var errPendingBudget = errors.New("too many connections have not logged in yet")

// pending is the connections that have not logged in.
type pending struct {
	mu        sync.Mutex
	bytes     int
	addresses map[string]*pendingAddress
}

// pendingAddress is those of one address.
type pendingAddress struct {
	conns list.List // of *conn, in the order in which they came
	bytes int
}

// add charges a new connection, and ends others if the budget demands it.
func (p *pending) add(c *conn, cost int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.addresses == nil {
		p.addresses = map[string]*pendingAddress{}
	}
	a := p.addresses[c.address]
	if a == nil {
		a = &pendingAddress{}
		p.addresses[c.address] = a
	}
	c.waiting = a.conns.PushBack(c)
	p.chargeLocked(c, cost)
}

// charge adds to the cost of a connection while it has not logged in. It reports an error when the
// connection itself has to go.
func (p *pending) charge(c *conn, cost int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.waiting != nil {
		p.chargeLocked(c, cost)
	}
	if c.evicted {
		return errPendingBudget
	}
	return nil
}

func (p *pending) chargeLocked(c *conn, cost int) {
	c.charged += cost
	p.bytes += cost
	p.addresses[c.address].bytes += cost
	for p.bytes > pendingBudget {
		var most *pendingAddress
		for _, a := range p.addresses {
			if most == nil || a.bytes > most.bytes {
				most = a
			}
		}
		victim := most.conns.Front().Value.(*conn)
		victim.evicted = true
		p.removeLocked(victim)
		victim.broker.count.refused.Add(1)
		victim.Close() // does not block, and takes no lock that is held while pending's is taken
	}
}

// remove ends the charge: the client has logged in, or its connection has ended. It reports whether
// the connection was there.
func (p *pending) remove(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.waiting == nil {
		return false
	}
	p.removeLocked(c)
	return true
}

func (p *pending) removeLocked(c *conn) {
	a := p.addresses[c.address]
	a.conns.Remove(c.waiting)
	a.bytes -= c.charged
	p.bytes -= c.charged
	if a.conns.Len() == 0 {
		delete(p.addresses, c.address)
	}
	c.waiting, c.charged = nil, 0
}
