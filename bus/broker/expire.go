package broker

// This file ends the connections of expired logins. When a client's token expires, its connection
// gets a DISCONNECT and is closed. Each such connection has one timer, which Close stops; the
// others have none.

import (
	"time"

	"github.com/postbus/postbus/bus/broker/frame"
)

// Login is an optional interface of an Identity. It returns the user, and when the login ends
// (zero: never). With it a client that presents only a token becomes a user, and its connection
// ends with the token.
type Login interface {
	Login() (user string, until time.Time)
}

// tokenExpired is the reason that the client gets. The session remains, so nothing is lost.
const tokenExpired = "the token has expired: connect again with a new one"

// expireAt ends the connection at a time of the wall clock; the zero time means never.
func (c *conn) expireAt(until time.Time) {
	if until.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	c.expires = time.AfterFunc(time.Until(until), func() {
		if time.Now().Before(until) { // the clock was set back meanwhile
			c.expireAt(until)
			return
		}
		c.broker.log.Debug("client's token expired", "client", c.id, "user", c.user, "remote", c.remote)
		c.end(frame.CodeNotAuthorized, tokenExpired)
	})
}
