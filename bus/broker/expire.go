package broker

// This file ends the connections of expired logins. When a client's token, password or certificate
// expires, its connection gets a DISCONNECT and is closed. Each such connection has one timer, which
// Close stops; the others have none.

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

// loginExpired is the reason that the client gets. The session remains, so nothing is lost.
const loginExpired = "the token, password or certificate has expired: connect again with a new one"

// loginEnds returns when the login of the connection's identity ends; zero: never.
func (c *conn) loginEnds() (until time.Time) {
	if l, ok := (*c.identity.Load()).(Login); ok {
		_, until = l.Login()
	}
	return until
}

// watchLogin ends the connection when its login ends, by the wall clock. Reauthorize calls it again
// after it has changed the identity, perhaps during CONNECT: the last call knows the last identity.
func (c *conn) watchLogin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expires != nil {
		c.expires.Stop()
		c.expires = nil
	}
	until := c.loginEnds()
	if c.ending || until.IsZero() {
		return
	}
	c.expires = time.AfterFunc(time.Until(until), func() {
		// The clock was set back meanwhile, or a timer that Stop came too late for has an old end.
		if until := c.loginEnds(); until.IsZero() || time.Now().Before(until) {
			c.watchLogin()
			return
		}
		c.broker.log.Debug("client's login expired", "client", c.id, "user", c.user, "remote", c.remote)
		c.end(frame.CodeNotAuthorized, loginExpired)
	})
}
