//go:build linux

package tty

import (
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/vmtest"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestMain(m *testing.M) { os.Exit(vmtest.Main(m)) }

func TestRS485OfAPortThatHasNone(t *testing.T) {
	_, port := kindtest.PTY(t)
	s := setting()
	s.RS485 = true
	want := "rs485 of " + port + ": this port's driver has no RS-485 mode; leave it out for an adapter that switches by itself"
	if _, err := Open(Name(port), s); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	p, err := Open(Name(port), setting())
	if err != nil {
		t.Fatal("it is still taken:", err)
	}
	p.Close()
}

// TestRS485Layout compares with linux/serial.h: eight words, of which three have a name.
func TestRS485Layout(t *testing.T) {
	var r rs485
	if n := unsafe.Sizeof(r); n != 32 || unsafe.Offsetof(r.flags) != 0 || unsafe.Offsetof(r.beforeSend) != 4 || unsafe.Offsetof(r.afterSend) != 8 {
		t.Errorf("%d bytes: %+v", n, r)
	}
}

// TestRS485OfAKernel runs on a board with four PL011, as on a Raspberry Pi. The first is the
// console.
func TestRS485OfAKernel(t *testing.T) {
	vmtest.Test(t, vmtest.Machine{Arch: "armhf", Run: "^TestGuest"})
}

func TestGuest(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	watcher, err := unix.Open("/dev/ttyAMA1", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err, Describe())
	}
	defer unix.Close(watcher)
	other := &Port{File: os.NewFile(uintptr(watcher), "watcher")}
	flags := func() uint32 {
		t.Helper()
		var r rs485
		if err := other.rs485(unix.TIOCGRS485, &r); err != nil {
			t.Fatal(err)
		}
		return r.flags
	}
	s := setting()
	s.RS485 = true
	for range 2 {
		p, err := Open("/dev/ttyAMA1", s)
		if err != nil {
			t.Fatal(err)
		}
		if got := flags(); got != rs485Enabled|rs485OnSend {
			t.Errorf("open: the flags are %#x", got)
		}
		if _, err := p.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if got := flags(); got&rs485Enabled != 0 {
			t.Errorf("closed: the flags are %#x", got)
		}
	}
	board := rs485{flags: rs485Enabled | rs485AfterSend, afterSend: 3} // the settings of a device tree are kept
	if err := other.rs485(unix.TIOCSRS485, &board); err != nil {
		t.Fatal(err)
	}
	p, err := Open("/dev/ttyAMA1", s)
	if err != nil {
		t.Fatal(err)
	}
	if got := flags(); got != board.flags {
		t.Errorf("open: the board's flags are %#x", got)
	}
	p.Close()
	if got := flags(); got != board.flags {
		t.Errorf("closed: the board's flags are %#x", got)
	}
	vmtest.Figure("RS-485: %s", strings.Join(Describe(), ", "))
}
