//go:build linux

package busconn

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSession checks that each call looks where libdbus and sd-bus do, because the bus may start
// after postbus.
func TestSession(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "bus")
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	usual := runtimePlaces("bus")[1]
	_, err := os.Stat(usual)
	there := err == nil // this user has a session
	if a, err := Session(""); !there && (err == nil || !strings.Contains(err.Error(), socket+" or "+usual)) {
		t.Errorf("%q, %v", a, err)
	}
	if err := os.WriteFile(socket, nil, 0o600); err != nil { // no socket
		t.Fatal(err)
	}
	if a, err := Session(""); !there && err == nil {
		t.Errorf("a file is %q", a)
	}
	os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range [][3]string{
		{"", "", "unix:path=" + socket}, {"", "autolaunch:", "unix:path=" + socket}, {"", "autolaunch:scope=*", "unix:path=" + socket},
		{"", "unix:path=/x", "unix:path=/x"}, {"unix:path=/y", "unix:path=/x", "unix:path=/y"},
	} {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", c[1])
		if a, err := Session(c[0]); a != c[2] || err != nil {
			t.Errorf("given %q, environment %q: %q, %v; want %q", c[0], c[1], a, err, c[2])
		}
	}
	t.Setenv("XDG_RUNTIME_DIR", "relative")
	if got := runtimePlaces("bus"); len(got) != 1 || got[0] != usual {
		t.Errorf("a relative folder: %q", got)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/z")
	if System("") != "unix:path=/z" || System("unix:path=/y") != "unix:path=/y" {
		t.Error("the system's bus isn't where the environment says")
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "")
	if a := System(""); !strings.Contains(a, "/run/dbus/system_bus_socket") {
		t.Errorf("the system's bus is at %q", a)
	}
}
