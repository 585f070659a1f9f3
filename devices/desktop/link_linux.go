// This file is a connection to a message bus. It is made again when it ends, and knows the owners
// of the watched names.

package desktop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/devices/internal/busconn"
	"github.com/postbus/postbus/plugins/kind"
)

const (
	patience  = 3 * time.Second  // for an answer of a service
	retryMin  = 1 * time.Second  // to reconnect; doubles
	retryMax  = 30 * time.Second //
	readAgain = 5 * time.Second  // after a read failed
	settle    = 50 * time.Millisecond
	maxNames  = 64 // with a prefix, as media players
	daemon    = "org.freedesktop.DBus"
)

// watch is one watched thing, across connections. A thing that isn't watched on a bus has only
// what, settle, wake and began.
type watch struct {
	what     string
	names    []string      // of its services
	prefix   string        // or their prefix
	rules    []string      // the signals to receive
	optional bool          // its absence is no error
	start    bool          // the bus may start its services
	settle   time.Duration // its signals arrive in bursts: those within this time cause one read
	w        watcher
	wake     chan struct{} // the state must be read again
	began    bool          // it was read once
}

// watcher reads a state.
type watcher interface {
	// onSignal inspects a signal of its services and reports whether the state must be read again.
	// It must not block.
	onSignal(sig *dbus.Signal) bool
	// read reads the state and reports it; first marks the first state that is reported.
	read(ctx context.Context, l *link, first bool) error
}

// releaser is a watcher that releases something when the connection ends.
type releaser interface{ release() }

// concerns reports whether a name is one of its services'.
func (w *watch) concerns(name string) bool {
	for _, n := range w.names {
		if n == name {
			return true
		}
	}
	return w.prefix != "" && strings.HasPrefix(name, w.prefix)
}

func (w *watch) requestRead() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// absent is the error of a missing service, which is waited for.
type absent struct{ text string }

func (a absent) Error() string { return a.text }

// link is one connection.
type link struct {
	conn    *dbus.Conn
	watches []*watch

	mu     sync.Mutex
	owners map[string]string // of the services: their unique names on the bus
}

// address returns the address of a bus.
func address(bus int, given string) (string, error) {
	if bus == system {
		return busconn.System(given), nil
	}
	return busconn.Session(given)
}

// dial connects. The connection ends with ctx at the latest, and accepts no files.
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

// watchBus keeps a connection for the watches until ctx ends.
func (s *Source) watchBus(ctx context.Context, bus int, watches []*watch) {
	reconnect(ctx, func() error { return s.connection(ctx, bus, watches) }, func(err error) {
		for _, w := range watches {
			if !w.optional {
				s.setCondition(w.what, err)
			}
		}
	})
}

// reconnect calls once, such as for a connection, again and again until ctx ends. It passes ended
// the reason of each end.
func reconnect(ctx context.Context, once func() error, ended func(error)) {
	for pause := retryMin; ctx.Err() == nil; pause = min(2*pause, retryMax) {
		began := time.Now()
		err := once()
		if ctx.Err() != nil {
			return
		}
		ended(err)
		if time.Since(began) > retryMax {
			pause = retryMin
		}
		if kind.Sleep(ctx, pause) != nil {
			return
		}
	}
}

// connection runs one connection. It returns why the connection ended.
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
	<-alive.Done() // by ctx, or because the bus stopped
	conn.Close()
	tasks.Wait()
	return errors.New("the message bus is gone; waiting for it")
}

// listen subscribes to the signals, and then queries the owners.
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
				return fmt.Errorf("the message bus refuses to deliver signals: %w", err)
			}
		}
	}
	var names []string
	if err := l.call(ctx, daemon, "/org/freedesktop/DBus", daemon+".ListNames").Store(&names); err != nil {
		return fmt.Errorf("the message bus doesn't list its clients: %w", err)
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

// find queries the owner of a name.
func (l *link) find(ctx context.Context, name string) {
	var owner string
	if l.call(ctx, daemon, "/org/freedesktop/DBus", daemon+".GetNameOwner", name).Store(&owner) != nil {
		return // it disconnected meanwhile
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.owners[name]; !known { // a signal is newer
		l.note(name, owner)
	}
}

// note sets an owner. The caller holds mu.
func (l *link) note(name, owner string) {
	if len(l.owners) < maxNames || owner == "" || l.owners[name] != "" {
		l.owners[name] = owner
	}
}

// owner returns the unique name of a service; empty when it is absent.
func (l *link) owner(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owners[name]
}

// DeliverSignal receives a signal. The connection's reader calls it for one after the other. It
// ignores signals that are not from the bus itself or the owners of the watched names, because any
// client may send us signals.
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
				w.w.onSignal(sig)
				w.requestRead()
			}
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.watches {
		for name, owner := range l.owners {
			if owner != "" && owner == sig.Sender && w.concerns(name) {
				if w.w.onSignal(sig) {
					w.requestRead()
				}
				break
			}
		}
	}
}

// follow reads a state while the connection lives.
func (s *Source) follow(ctx context.Context, l *link, w *watch) {
	if x, ok := w.w.(releaser); ok {
		defer x.release()
	}
	if w.start {
		for _, n := range w.names {
			if l.owner(n) == "" && !w.optional {
				_ = l.call(ctx, daemon, "/org/freedesktop/DBus", daemon+".StartServiceByName", n, uint32(0)).Err // an absence is reported below
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
			s.setCondition(w.what, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
			if w.settle > 0 && kind.Sleep(ctx, w.settle) != nil {
				return
			}
		case <-again:
		}
	}
}

// call calls a method and waits for its answer, at most for patience. It starts no service.
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

// properties returns an object's properties.
func (l *link) properties(ctx context.Context, name string, path dbus.ObjectPath, iface string) (map[string]dbus.Variant, error) {
	var p map[string]dbus.Variant
	err := l.call(ctx, name, path, "org.freedesktop.DBus.Properties.GetAll", iface).Store(&p)
	return p, err
}

// get returns a property as a type; otherwise its zero value and false.
func get[T any](p map[string]dbus.Variant, name string) (T, bool) {
	v, ok := p[name].Value().(T)
	return v, ok
}
