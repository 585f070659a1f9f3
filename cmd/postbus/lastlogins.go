// This file remembers how users logged in whom the config does not have, so that their last wills can
// be judged when they are due.

package main

import (
	linked "container/list" // list is a command of this package
	"sync"

	"github.com/postbus/postbus/bus/auth"
)

const maxLastLogins = 10_000

// lastLogins is the last logins of the users who logged in last. The zero value is ready.
type lastLogins struct {
	mu    sync.Mutex
	users map[string]*linked.Element
	order linked.List // of auth.Grant, the oldest first
}

func (l *lastLogins) put(g auth.Grant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users == nil {
		l.users = map[string]*linked.Element{}
	}
	if e := l.users[g.User]; e != nil {
		l.order.Remove(e)
	}
	l.users[g.User] = l.order.PushBack(g)
	if l.order.Len() > maxLastLogins {
		oldest := l.order.Remove(l.order.Front()).(auth.Grant)
		delete(l.users, oldest.User)
	}
}

func (l *lastLogins) get(user string) (auth.Grant, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.users[user]
	if e == nil {
		return auth.Grant{}, false
	}
	return e.Value.(auth.Grant), true
}
