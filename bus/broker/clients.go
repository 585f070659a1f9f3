package broker

// This file is what an administrator sees of clients and does to them: see, disconnect, ban.

import (
	"errors"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/ban"
	"github.com/postbus/postbus/bus/broker/frame"
)

// owner returns the connection of a client; nil if it has none.
func (b *Broker) owner(client string) *conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.owners[client]
}

// Connection describes the connection of a client; false when it has none.
func (b *Broker) Connection(client string) (bus.Connection, bool) {
	c := b.owner(client)
	if c == nil || !c.reported.Load() { // its CONNECT is being answered
		return bus.Connection{}, false
	}
	d := bus.Connection{Presence: c.presence(), KeepAlive: c.keepAlive, EventsIn: c.eventsIn.Load(), BytesIn: c.bytesIn.Load()}
	c.mu.Lock()
	d.EventsOut, d.BytesOut = c.eventsOut, c.bytesOut
	c.mu.Unlock()
	return d, true
}

// AbsentAfter lists up to n clients without a connection and without a session, which $bus/clients
// still knows, in the order of their identifiers from behind one on.
func (b *Broker) AbsentAfter(client string, n int) []string { return b.presence.idsAfter(client, n) }

// Absent reports whether AbsentAfter lists a client.
func (b *Broker) Absent(client string) bool { return b.presence.knows(client) }

// Disconnect ends a client's connection as an administrator; false when the client has none.
func (b *Broker) Disconnect(client string) bool {
	c := b.owner(client)
	if c == nil {
		return false
	}
	c.end(frame.CodeAdministrative, "an administrator ended the connection")
	return true
}

// errNoBans is the error of a broker without a list of bans.
var errNoBans = errors.New("this bus keeps no bans")

// Ban keeps clients out from now on, and disconnects those that it names.
func (b *Broker) Ban(x ban.Ban) error {
	if b.bans == nil {
		return errNoBans
	}
	if err := b.bans.Add(x); err != nil {
		return err
	}
	// A client that is connecting looks for a ban once more when it is among the owners.
	var banned []*conn
	b.mu.Lock()
	for _, c := range b.owners {
		if b.banned(c) != nil {
			banned = append(banned, c)
		}
	}
	b.mu.Unlock()
	for _, c := range banned {
		c.end(frame.CodeAdministrative, "an administrator banned the client")
	}
	return nil
}

// Unban ends a ban, and reports whether there was one.
func (b *Broker) Unban(x ban.Ban) (existed bool, err error) {
	if b.bans == nil {
		return false, errNoBans
	}
	return b.bans.Remove(x)
}

// Bans lists the bans in force.
func (b *Broker) Bans() []ban.Ban {
	if b.bans == nil {
		return nil
	}
	return b.bans.All()
}

// banned returns the ban that keeps a connection out as an error, or nil.
func (b *Broker) banned(c *conn) error {
	if b.bans == nil {
		return nil
	}
	if x, ok := b.bans.Find(c.id, c.user, c.remote); ok {
		return errors.New(x.String())
	}
	return nil
}
