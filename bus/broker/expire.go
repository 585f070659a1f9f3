package broker

// This file is logins that end: a connection whose client came with a token is told and closed when the
// token ends. One timer for each of them, which Close stops; the others have none.

import (
	"time"

	"github.com/postbus/postbus/bus/broker/frame"
)

// Login is what an Identity may have besides: whose it is, and until when (zero: for good). It is how a
// client that gives a token alone becomes a user, and how its connection comes to an end with the token.
type Login interface {
	Login() (user string, until time.Time)
}

// tokenExpired is what the client is told; the session stays, so nothing is lost.
const tokenExpired = "the token has expired: connect again with a new one"

// expireAt ends the connection at a time of the wall clock; the zero time never comes.
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
