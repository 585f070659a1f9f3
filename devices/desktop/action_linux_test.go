// This file tests the action with logind, the portal and an opener that the test simulates.

package desktop

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/devices/internal/desktoptest"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestLockByOrder(t *testing.T) {
	bus := desktoptest.NewBus(t)
	logged(t, bus)
	r := run(t, Options{Watch: []string{"lock"}, Initial: true, SystemBus: bus.Address, SessionBus: bus.Address}, nil)
	r.want("lock false", "locked")
	for _, c := range [][2]string{{"lock", "lock true"}, {"unlock", "lock false"}} {
		if err := do(t, ActionOptions{Do: c[0], SystemBus: bus.Address}, Args{}); err != nil {
			t.Fatal(err)
		}
		r.want(c[1], "locked")
	}
	if err := do(t, ActionOptions{Do: "lock", Session: "7", SystemBus: bus.Address}, Args{}); err == nil || !strings.Contains(err.Error(), `lock: there is no session "7"; available: 1 (`) {
		t.Error(err)
	}
}

// calls returns the names of the calls that a mock received.
func calls(t *testing.T, c *dbus.Conn) string {
	t.Helper()
	var list []struct {
		At   uint64
		Name string
		Args []dbus.Variant
	}
	if err := must(t, c, logind, logindPath, mock+".GetCalls").Store(&list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range list {
		names = append(names, x.Name)
	}
	return strings.Join(names, " ")
}

func TestPowerActions(t *testing.T) {
	bus := desktoptest.NewBus(t)
	bus.Mock("logind", logind, `{"CanHibernate": "na", "CanReboot": "challenge"}`)
	c := bus.Dial()
	o := func(do string) ActionOptions { return ActionOptions{Do: do, SystemBus: bus.Address} }
	late := func(o ActionOptions, up time.Duration) error {
		a := NewAction(o, kindtest.NewBus())
		defer a.Close()
		a.uptime = func() time.Duration { return up }
		return a.Do(t.Context(), Args{})
	}
	if err := late(o("suspend"), time.Second); err != nil {
		t.Error(err)
	}
	if err := late(o("poweroff"), time.Hour); err != nil {
		t.Error(err)
	}
	if got := calls(t, c); got != "CanSuspend Suspend CanPowerOff PowerOff" {
		t.Error(got)
	}
	for _, x := range []struct {
		do   string
		up   time.Duration
		want string
	}{
		{"poweroff", time.Minute, "has just started"},
		{"hibernate", time.Hour, "this machine does not support it"},
		{"reboot", time.Hour, "allow org.freedesktop.login1.reboot"},
	} {
		if err := late(o(x.do), x.up); err == nil || !kind.IsPermanent(err) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", x.do, err)
		}
	}
	if got := calls(t, c); strings.Count(got, "PowerOff") != 2 || strings.Contains(got, " Reboot") {
		t.Error(got)
	}
	if err := do(t, ActionOptions{Do: "suspend", SystemBus: "unix:path=/nowhere/bus"}, Args{}); err == nil || kind.IsPermanent(err) {
		t.Error(err)
	}
}

// portalMock is the desktop's portal.
type portalMock struct{ opened chan string }

// OpenURI is called over the bus.
func (p portalMock) OpenURI(_, uri string, _ map[string]dbus.Variant) (dbus.ObjectPath, *dbus.Error) {
	p.opened <- uri
	return "/org/freedesktop/portal/desktop/request/1", nil
}

// opener is a program in place of xdg-open that records its arguments.
func opener(t *testing.T, then string) (path, note string) {
	t.Helper()
	path, note = filepath.Join(t.TempDir(), "open"), filepath.Join(t.TempDir(), "note")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nprintf '%s|' \"$@\" > "+note+".new; mv "+note+".new "+note+"\n"+then+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path, note
}

func TestOpen(t *testing.T) {
	bus := desktoptest.NewBus(t)
	o := ActionOptions{Do: "open", SessionBus: bus.Address}
	path, note := opener(t, "")
	a := NewAction(o, kindtest.NewBus())
	defer a.Close()
	a.opener = path
	const address = "https://example.org/?q=$(id)&x=';"
	if err := a.Do(t.Context(), Args{URL: address}); err != nil { // there is no portal
		t.Fatal(err)
	}
	if text, err := os.ReadFile(note); err != nil || string(text) != address+"|" {
		t.Errorf("%q %v", text, err)
	}
	p := portalMock{make(chan string, 1)}
	c := bus.Dial()
	if err := c.Export(p, "/org/freedesktop/portal/desktop", "org.freedesktop.portal.OpenURI"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RequestName(portal, 0); err != nil {
		t.Fatal(err)
	}
	if err := a.Do(t.Context(), Args{URL: "mailto:ada@example.org"}); err != nil {
		t.Fatal(err)
	}
	if got := <-p.opened; got != "mailto:ada@example.org" {
		t.Error(got)
	}
}

func TestAnOpenerIsOwned(t *testing.T) {
	o := ActionOptions{Do: "open", SessionBus: "unix:path=/nowhere/bus"}
	path, _ := opener(t, "echo no browser >&2; exit 3")
	a := NewAction(o, kindtest.NewBus())
	a.opener = path
	if err := a.Do(t.Context(), Args{URL: "https://example.org"}); err == nil || !strings.Contains(err.Error(), "exit status 3: no browser") {
		t.Error(err)
	}
	a.opener = "/nowhere/xdg-open"
	if err := a.Do(t.Context(), Args{URL: "https://example.org"}); err == nil || !strings.Contains(err.Error(), "install xdg-utils") {
		t.Error(err)
	}
	// A process that keeps running ends with the event's context, or with the action, and its
	// children too.
	path, _ = opener(t, "sleep 600 & echo $! > \"$0.child\"; wait")
	a.opener = path
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Do(ctx, Args{URL: "https://example.org"}) }()
	child := ""
	desktoptest.Eventually(t, "the opener runs", func() bool {
		text, _ := os.ReadFile(path + ".child")
		child = strings.TrimSpace(string(text))
		return strings.HasSuffix(string(text), "\n")
	})
	cancel()
	select {
	case err := <-ended:
		if err != context.Canceled {
			t.Error(err)
		}
	case <-time.After(desktoptest.Patience):
		t.Error("it did not end")
	}
	desktoptest.Eventually(t, "the opener's child is gone", func() bool {
		text, err := os.ReadFile("/proc/" + child + "/stat")
		return err != nil || strings.Contains(string(text), ") Z ")
	})
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
