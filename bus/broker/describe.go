package broker

// This file describes a connection, for $bus/clients.

import (
	"errors"
	"strings"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker/frame"
)

// askTransient is the user property by which a client says on CONNECT that its identifier is random.
const askTransient = "transient"

// The reasons of the bus for the end of a connection that others must recognise.
const (
	takenOver = "another connection took the session over"
	busStops  = "the bus stops"
)

// presence describes the connection while it is open.
func (c *conn) presence() bus.Presence {
	return bus.Presence{Online: true, Since: moment(c.since), Address: c.remote, Version: versionName(c.version), Transport: transport(c.listener),
		User: c.user, Persistent: c.expiry > 0, Transient: c.transient}
}

// moment is a time in the precision of a report.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// endReason says why the connection ended.
func (c *conn) endReason() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.endedBy != "":
		return c.endedBy
	case c.failed != nil:
		var ferr *frame.Error
		if errors.As(c.failed, &ferr) {
			return ferr.Reason
		}
		return c.failed.Error()
	case c.farewell != "":
		return c.farewell
	}
	return "the connection was lost"
}

// versionName is the name of a protocol level.
func versionName(level byte) string {
	switch level {
	case 3:
		return "3.1"
	case 4:
		return "3.1.1"
	}
	return "5"
}

// transport is the scheme of a listener's address.
func transport(listener string) string {
	scheme, _, _ := strings.Cut(listener, "://")
	return scheme
}
