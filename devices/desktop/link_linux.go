// This file is a connection to a message bus: it is made again when it ends, and knows who owns the names that matter.

package desktop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/devices/busconn"
)

const (
	patience   = 3 * time.Second  // for an answer of a service
	retryLeast = 1 * time.Second  // to connect again; doubles
	retryMost  = 30 * time.Second //
	readAgain  = 5 * time.Second  // after a read failed
	settle     = 50 * time.Millisecond
	maxNames   = 64 // with a prefix, as media players
	daemon     = "org.freedesktop.DBus"
)

// watch is one thing that is watched, across connections. What is watched elsewhere than on a bus has but what, settle, wake
// and began.
type watch struct {
	what     string
	names    []string      // of its services
	prefix   string        // or the beginning of their names
	rules    []string      // the signals it hears
	optional bool          // no trouble when it is absent
	start    bool          // the bus may start its services
	settle   time.Duration // its news come in bursts: what comes within this time is read together
	w        watcher
	wake     chan struct{} // the state is to be read again
	began    bool          // it was read once
}

// watcher knows what a state is.
type watcher interface {
	// hear looks at a signal of its services and reports whether the state is to be read again. It must not block.
	hear(sig *dbus.Signal) bool
	// read reads the state and tells it; first is said of the first state that is told.
	read(ctx context.Context, l *link, first bool) error
}

// leaver is a watcher that has something to let go when the connection ends.
type leaver interface{ leave() }

// concerns reports whether a name is one of its services'.
func (w *watch) concerns(name string) bool {
	for _, n := range w.names {
		if n == name {
			return true
		}
	}
	return w.prefix != "" && strings.HasPrefix(name, w.prefix)
}

func (w *watch) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// absent says that a service isn't there; it is waited for.
type absent struct{ text string }

func (a absent) Error() string { return a.text }

// link is one connection.
type link struct {
	conn    *dbus.Conn
	watches []*watch

	mu     sync.Mutex
	owners map[string]string // of the services: their unique names on the bus
}

// address is where a bus is.
func address(bus int, given string) (string, error) {
	if bus == system {
		return busconn.System(given), nil
	}
	return busconn.Session(given)
}

// dial connects. The connection ends with ctx at the latest, and takes no files.
func dial(ctx context.Context, bus int, given string, options ...dbus.ConnOption) (*dbus.Conn, error) {
	return dialBy(ctx, busconn.Connect, bus, given, options...)
}

func dialBy(ctx context.Context, connect func(string, ...dbus.ConnOption) (*dbus.Conn, error), bus int, given string, options ...dbus.ConnOption) (*dbus.Conn, error) {
	a, err := address(bus, given)
	if err != nil {
		return nil, err
	}
	conn, err := busconn.Dial(ctx, connect, a, patience, options...)
	if err != nil {
		return nil, fmt.Errorf("the message bus %s doesn't answer: %w", a, err)
	}
	return conn, nil
}

// connected keeps a connection for the watches until ctx ends.
func (s *Source) connected(ctx context.Context, bus int, watches []*watch) {
	kept(ctx, func() error { return s.connection(ctx, bus, watches) }, func(err error) {
		for _, w := range watches {
			if !w.optional {
				s.trouble(w.what, err)
			}
		}
	})
}

// kept has something again and again until ctx ends, as a connection. ended hears why it ended.
func kept(ctx context.Context, once func() error, ended func(error)) {
	for pause := retryLeast; ctx.Err() == nil; pause = min(2*pause, retryMost) {
		began := time.Now()
		err := once()
		if ctx.Err() != nil {
			return
		}
		ended(err)
		if time.Since(began) > retryMost {
			pause = retryLeast
		}
		if !wait(ctx, pause) {
			return
		}
	}
}

// connection is the life of one connection: it returns why it ended.
func (s *Source) connection(ctx context.Context, bus int, watches []*watch) error {
	given := [...]string{s.o.SystemBus, s.o.SessionBus}[bus]
	l := &link{watches: watches, owners: map[string]string{}}
	conn, err := dial(ctx, bus, given, dbus.WithSignalHandler(l))
	if err != nil {
		return err
	}
	defer conn.Close()
	l.conn = conn
	alive, cancel := context.WithCancel(conn.Context())
	defer cancel()
	if err := l.listen(alive); err != nil {
		return err
	}
	var tasks sync.WaitGroup
	for _, w := range watches {
		tasks.Go(func() { s.follow(alive, l, w) })
	}
	<-alive.Done() // by ctx, or since the bus is gone
	conn.Close()
	tasks.Wait()
	return errors.New("the message bus is gone; it is waited for")
}

// listen asks for the signals, and then who is there.
func (l *link) listen(ctx context.Context) error {
	owner := "type='signal',sender='" + daemon + "',interface='" + daemon + "',member='NameOwnerChanged',"
	for _, w := range l.watches {
		rules := []string{}
		for _, n := range w.names {
			rules = append(rules, owner+"arg0='"+n+"'")
		}
		if w.prefix != "" {
			rules = append(rules, owner+"arg0namespace='"+strings.TrimSuffix(w.prefix, ".")+"'")
		}
		for _, r := range w.rules {
			rules = append(rules, "type='signal',"+r)
		}
		for _, r := range rules {
			if err := l.call(ctx, daemon, "/org/freedesktop/DBus", daemon+".AddMatch", r).Err; err != nil {
				return fmt.Errorf("the message bus lets nothing be heard: %w", err)
			}
		}
	}
	var names []string
	if err := l.call(ctx, daemon, "/org/freedesktop/DBus", daemon+".ListNames").Store(&names); err != nil {
		return fmt.Errorf("the message bus doesn't say who is there: %w", err)
	}
	for _, n := range names {
		for _, w := range l.watches {
			if w.concerns(n) {
				l.find(ctx, n)
				break
			}
		}
	}
	return nil
}

// find notes who owns a name.
func (l *link) find(ctx context.Context, name string) {
	var owner string
	if l.call(ctx, daemon, "/org/freedesktop/DBus", daemon+".GetNameOwner", name).Store(&owner) != nil {
		return // it went meanwhile
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.owners[name]; !known { // a signal knows better
		l.note(name, owner)
	}
}

// note sets an owner; mu is held.
func (l *link) note(name, owner string) {
	if len(l.owners) < maxNames || owner == "" || l.owners[name] != "" {
		l.owners[name] = owner
	}
}

// owner is the unique name of a service; empty when it is absent.
func (l *link) owner(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owners[name]
}

// DeliverSignal hears a signal. It is called by the connection's reader, one after the other. Only the bus itself and the
// owners of the watched names are heard: anybody may send a signal to us.
func (l *link) DeliverSignal(_, member string, sig *dbus.Signal) {
	if sig.Sender == daemon {
		if member != "NameOwnerChanged" || len(sig.Body) != 3 {
			return
		}
		name, _ := sig.Body[0].(string)
		owner, _ := sig.Body[2].(string)
		for _, w := range l.watches {
			if w.concerns(name) {
				l.mu.Lock()
				l.note(name, owner)
				if owner == "" && w.prefix != "" {
					delete(l.owners, name)
				}
				l.mu.Unlock()
				w.w.hear(sig)
				w.poke()
			}
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.watches {
		for name, owner := range l.owners {
			if owner != "" && owner == sig.Sender && w.concerns(name) {
				if w.w.hear(sig) {
					w.poke()
				}
				break
			}
		}
	}
}

// follow has a state read as long as the connection lives.
func (s *Source) follow(ctx context.Context, l *link, w *watch) {
	if x, ok := w.w.(leaver); ok {
		defer x.leave()
	}
	if w.start {
		for _, n := range w.names {
			if l.owner(n) == "" && !w.optional {
				_ = l.call(ctx, daemon, "/org/freedesktop/DBus", daemon+".StartServiceByName", n, uint32(0)).Err // it is told below that it is absent
				l.find(ctx, n)
			}
		}
	}
	s.repeat(ctx, w, func(first bool) error { return w.w.read(ctx, l, first) })
}

// repeat reads a state, and again whenever it may have changed, until ctx ends.
func (s *Source) repeat(ctx context.Context, w *watch, read func(first bool) error) {
	for {
		again := make(<-chan time.Time)
		err := read(!w.began)
		switch gone := (absent{}); {
		case ctx.Err() != nil:
			return
		case err == nil:
			w.began = true
		case !errors.As(err, &gone):
			again = time.After(readAgain)
		}
		if !w.optional {
			s.trouble(w.what, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
			if w.settle > 0 && !wait(ctx, w.settle) {
				return
			}
		case <-again:
		}
	}
}

// call calls a method and waits for its answer, but not for long. It starts no service.
func (l *link) call(ctx context.Context, name string, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return call(ctx, l.conn, name, path, method, args...)
}

func call(ctx context.Context, conn *dbus.Conn, name string, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := conn.Object(name, path).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
	if errors.Is(c.Err, context.DeadlineExceeded) {
		c.Err = fmt.Errorf("%s doesn't answer within %s", name, patience)
	}
	return c
}

// properties reads what an object says of itself.
func (l *link) properties(ctx context.Context, name string, path dbus.ObjectPath, iface string) (map[string]dbus.Variant, error) {
	var p map[string]dbus.Variant
	err := l.call(ctx, name, path, "org.freedesktop.DBus.Properties.GetAll", iface).Store(&p)
	return p, err
}

// get is a property as a type; otherwise its zero value and false.
func get[T any](p map[string]dbus.Variant, name string) (T, bool) {
	v, ok := p[name].Value().(T)
	return v, ok
}
