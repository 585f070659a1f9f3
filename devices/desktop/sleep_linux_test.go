// This file tests the machine's sleep with a logind that refuses on request.

package desktop

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/devices/internal/desktoptest"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// moody simulates logind: it refuses inhibitor locks while it is set to.
type moody struct {
	refuses, sleeps atomic.Bool
	given           *os.File
}

func (m *moody) Inhibit(_, _, _, _ string) (dbus.UnixFD, *dbus.Error) {
	if m.refuses.Load() {
		return 0, dbus.MakeFailedError(errors.New("too many"))
	}
	return dbus.UnixFD(m.given.Fd()), nil
}

func (m *moody) Get(_, _ string) (dbus.Variant, *dbus.Error) {
	return dbus.MakeVariant(m.sleeps.Load()), nil
}

// asleep makes a sleep on a bus with a moody logind; told returns its last report.
func asleep(t *testing.T) (p *sleep, l *link, m *moody, reported func() any) {
	bus := desktoptest.NewBus(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	m = &moody{given: w}
	c := bus.Dial()
	for _, face := range []string{logind + ".Manager", "org.freedesktop.DBus.Properties"} {
		if err := c.Export(m, logindPath, face); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.RequestName(logind, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	s := New(Options{SystemBus: bus.Address}, kindtest.NewBus())
	s.emit = kindtest.NewBus().Emit
	l = &link{owners: map[string]string{logind: c.Names()[0]}}
	if l.conn, err = dial(t.Context(), system, bus.Address, dbus.WithSignalHandler(l)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.conn.Close() })
	p = &sleep{s: s}
	t.Cleanup(p.release)
	return p, l, m, func() any { return s.reported["sleep <nil>"]["asleep"] }
}

// TestADelayThatIsRefusedIsAskedForAgain checks that a refused lock is requested again, because
// otherwise the source would report no error without a lock.
func TestADelayThatIsRefusedIsAskedForAgain(t *testing.T) {
	t.Parallel()
	p, l, m, _ := asleep(t)
	m.refuses.Store(true)
	for i := range 2 {
		if err := p.read(t.Context(), l, i == 0); err == nil || p.inhibitor != nil {
			t.Fatalf("reading %d: %v, %v", i, err, p.inhibitor)
		}
	}
	m.refuses.Store(false)
	if err := p.read(t.Context(), l, false); err != nil || p.inhibitor == nil {
		t.Fatal(err, p.inhibitor)
	}
	inhibitor := p.inhibitor
	if err := p.read(t.Context(), l, false); err != nil || p.inhibitor != inhibitor {
		t.Error("it was taken twice", err)
	}
	p.onSignal(&dbus.Signal{Name: logind + ".Manager.PrepareForSleep", Body: []any{true}})
	for range 2 {
		if err := p.read(t.Context(), l, false); err != nil || p.inhibitor != nil {
			t.Error("the machine is held up", err)
		}
	}
}

// TestWhatWasHeardBeforeIsOld wakes the machine up while the message bus is stopped.
func TestWhatWasHeardBeforeIsOld(t *testing.T) {
	t.Parallel()
	p, l, _, reported := asleep(t)
	p.onSignal(&dbus.Signal{Name: logind + ".Manager.PrepareForSleep", Body: []any{true}})
	if err := p.read(t.Context(), l, true); err != nil {
		t.Fatal(err)
	}
	if reported() != false || p.inhibitor == nil {
		t.Errorf("asleep %v, inhibitor %v", reported(), p.inhibitor)
	}
}
