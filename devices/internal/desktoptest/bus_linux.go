// This file starts message buses, and services that dbusmock simulates on them.

package desktoptest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/godbus/dbus/v5"
)

// Bus is a private dbus-daemon.
type Bus struct {
	Address string
	t       *testing.T
	config  string
	p       *Program
}

const config = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`

// NewBus starts a bus.
func NewBus(t *testing.T) *Bus {
	t.Helper()
	Need(t, "dbus-daemon", "dbus")
	dir, err := os.MkdirTemp("", "bus") // not t.TempDir: a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &Bus{Address: "unix:path=" + dir + "/bus", t: t, config: t.TempDir() + "/bus.conf"}
	if err := os.WriteFile(b.config, fmt.Appendf(nil, config, b.Address), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Start()
	return b
}

// Start starts the bus again after Kill, at the same address.
func (b *Bus) Start() {
	b.t.Helper()
	_ = os.Remove(b.Address[len("unix:path="):])
	b.p = Start(b.t, nil, "dbus-daemon", "--config-file="+b.config, "--nofork", "--nopidfile", "--print-address=1")
	b.p.Line()
}

// Kill kills the bus.
func (b *Bus) Kill() { b.p.Kill() }

// Dial returns a connection to the bus, which ends with the test.
func (b *Bus) Dial() *dbus.Conn {
	b.t.Helper()
	c, err := dbus.Connect(b.Address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	return c
}

// Has waits until a service owns a name.
func (b *Bus) Has(name string) {
	b.t.Helper()
	c := b.Dial()
	defer c.Close()
	Eventually(b.t, name+" is on the bus", func() bool {
		var names []string
		if err := c.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
			b.t.Fatal(err)
		}
		return slices.Contains(names, name)
	})
}

// Mock starts a service of dbusmock by its template, and waits until it owns its name on the bus.
// parameters are JSON.
func (b *Bus) Mock(template, name, parameters string) *Program {
	b.t.Helper()
	python := ""
	for _, p := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(p, "-c", "import dbusmock").Run() == nil {
			python = p
			break
		}
	}
	if python == "" {
		missing(b.t, "dbusmock", "python3-dbusmock")
	}
	args := []string{"-m", "dbusmock", "--template", template}
	if parameters != "" {
		args = append(args, "--parameters", parameters)
	}
	p := Start(b.t, []string{"DBUS_SYSTEM_BUS_ADDRESS=" + b.Address, "DBUS_SESSION_BUS_ADDRESS=" + b.Address}, python, args...)
	b.Has(name)
	return p
}
