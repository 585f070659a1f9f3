//go:build linux

// This file tests a machine that refuses a port, and leftovers.

package serial

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/tty"
	"github.com/postbus/postbus/devices/internal/vmtest"
)

// TestBusyPortIsWaitedFor lets another program open the port when it returns.
func TestBusyPortIsWaitedFor(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "ttyUSB0")
	p, b := newPTY(t), newBus()
	other, err := tty.Open(tty.Name(p.port), defaults().setting())
	if err != nil {
		t.Fatal(err)
	}
	b.start(t, options(link))
	if err := os.Symlink(p.port, link); err != nil {
		t.Fatal(err)
	}
	b.Eventually(t, "it is busy", func() bool { return strings.Contains(b.Last(), p.port+" is busy: it is held by postbus itself") })
	other.Close()
	b.well(t)
	p.send(t, "hello\n")
	b.texts(t, "hello")
}

func TestRS485(t *testing.T) {
	t.Parallel()
	p, b := newPTY(t), newBus()
	o, ao := options(p.port), actionOptions(p.port)
	o.RS485, ao.RS485 = true, true
	s, a := New(o, b), NewAction(ao, newBus())
	for name, err := range map[string]error{"source": s.Open(t.Context()), "action": a.Do(t.Context(), Args{Text: "x"})} {
		if err == nil || !strings.Contains(err.Error(), "this port's driver has no RS-485 mode") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Close()
	a.Close()
}

// TestHighDescriptors has more open files than select(2) supports.
func TestHighDescriptors(t *testing.T) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur < 1200 {
		limit.Cur = min(limit.Max, 1<<14)
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur < 1200 {
			return
		}
	}
	for range 1100 {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	p, b := newPTY(t), newBus()
	a := NewAction(actionOptions(p.port), b)
	defer a.Close()
	b.start(t, options(p.port))
	b.well(t)
	p.send(t, "hello\n")
	b.texts(t, "hello")
	if err := a.Do(t.Context(), Args{Text: "x"}); err != nil {
		t.Error(err)
	}
	p.expect(t, "x\n")
}

// TestNothingIsLeftOver opens and closes repeatedly.
func TestNothingIsLeftOver(t *testing.T) {
	link := filepath.Join(t.TempDir(), "none")
	vmtest.NothingLeftOver(t, func() {
		p, b := newPTY(t), newBus()
		a := NewAction(actionOptions(p.port), b)
		stop := b.start(t, options(p.port))
		b.well(t)
		if err := a.Do(t.Context(), Args{Text: "x"}); err != nil {
			t.Error(err)
		}
		stop()
		a.Close()
		p.Close()
		stop = b.start(t, options(link))
		b.Eventually(t, "waiting for it", func() bool { return strings.Contains(b.Last(), "waiting for") })
		stop()
		s := New(options(t.TempDir()), b)
		if err := s.Open(t.Context()); err == nil {
			t.Error("a folder is a port")
		}
		s.Close()
	})
}
