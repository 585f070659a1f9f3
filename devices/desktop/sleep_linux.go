// This file is the machine's sleep: logind delays it until the event is stored
// (org.freedesktop.login1, "Inhibitor Locks").

package desktop

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/godbus/dbus/v5"
)

// sleep reports sleep, and delays it meanwhile.
type sleep struct {
	s *Source

	mu      sync.Mutex
	pending []bool // signals of PrepareForSleep not reported yet

	link      *link    // of the last read
	owner     string   // logind's unique name at the last read
	awake     bool     // the machine's state as last reported
	inhibitor *os.File // the inhibitor lock: while it is open, the machine delays its sleep
}

func (p *sleep) onSignal(sig *dbus.Signal) bool {
	if sig.Name != logind+".Manager.PrepareForSleep" || len(sig.Body) != 1 {
		return false
	}
	asleep, ok := sig.Body[0].(bool)
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.pending); ok && n >= 64 { // no event has been accepted for a whole week
		p.pending = p.pending[2:]
		p.s.env.Lost(2, "the machine slept and woke up faster than events were accepted")
	}
	if ok {
		p.pending = append(p.pending, asleep)
	}
	return ok
}

func (p *sleep) next() (asleep, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pending) == 0 {
		return false, false
	}
	asleep, p.pending = p.pending[0], p.pending[1:]
	return asleep, true
}

// read reports the signals received. The inhibitor lock is held except from when an event of going
// to sleep is stored until resume. When the connection ends the lock is released, since no signal
// would say when to release it.
func (p *sleep) read(ctx context.Context, l *link, first bool) (err error) {
	owner := l.owner(logind)
	if owner == "" {
		p.release()
		return absent{"logind is not running; waiting for it"}
	}
	if p.link != l || p.owner != owner { // earlier signals are outdated
		p.release()
		p.link = nil
		p.mu.Lock()
		p.pending = nil
		p.mu.Unlock()
		asleep, err := p.asleep(ctx, l)
		if err != nil {
			return err
		}
		p.link, p.owner, p.awake = l, owner, !asleep
		err = p.hold(ctx)
		if terr := p.report(ctx, asleep, first); terr != nil || err != nil {
			return err
		}
	} else {
		err = p.hold(ctx) // if it was refused before
	}
	for {
		asleep, ok := p.next()
		if !ok {
			return err
		}
		p.awake = !asleep
		err = p.hold(ctx)
		if terr := p.report(ctx, asleep, false); terr != nil {
			return terr
		}
		if asleep {
			p.release()
		}
	}
}

func (p *sleep) report(ctx context.Context, asleep, first bool) error {
	return p.s.report(ctx, first, map[string]any{"what": "sleep", "asleep": asleep})
}

func (p *sleep) asleep(ctx context.Context, l *link) (bool, error) {
	var v dbus.Variant
	if err := l.call(ctx, logind, logindPath, "org.freedesktop.DBus.Properties.Get", logind+".Manager", "PreparingForSleep").Store(&v); err != nil {
		return false, fmt.Errorf("logind doesn't report whether the machine is about to sleep: %w", err)
	}
	b, _ := v.Value().(bool)
	return b, nil
}

// hold takes the inhibitor lock, unless it is held or the machine goes to sleep. The answer is an
// open file, which our usual connection doesn't accept, so it arrives over a connection of its own.
// The call has no timeout of its own, so that no answer is missed: the connection's end bounds it.
func (p *sleep) hold(ctx context.Context) error {
	if !p.awake || p.inhibitor != nil {
		return nil
	}
	conn, err := dialBy(ctx, dbus.Connect, system, p.s.o.SystemBus)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := conn.Object(logind, logindPath).Call(logind+".Manager.Inhibit", dbus.FlagNoAutoStart, "sleep", "postbus", "storing the event that the machine sleeps", "delay")
	var fd dbus.UnixFD
	if err := c.Store(&fd); err != nil {
		return fmt.Errorf("the machine may sleep before the event is stored: logind refuses a delay: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inhibitor")
	p.mu.Lock()
	p.inhibitor = f
	p.mu.Unlock()
	return ctx.Err()
}

// release releases the lock, so that the machine may sleep.
func (p *sleep) release() {
	p.mu.Lock()
	f := p.inhibitor
	p.inhibitor = nil
	p.mu.Unlock()
	if f != nil {
		f.Close()
	}
}
