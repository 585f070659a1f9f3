// This file tests with private message buses, and services that dbusmock simulates.

package desktop

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/devices/internal/desktoptest"
)

// must calls a method.
func must(t *testing.T, c *dbus.Conn, name string, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	t.Helper()
	r := c.Object(name, path).Call(method, 0, args...)
	if r.Err != nil {
		t.Fatalf("%s: %v", method, r.Err)
	}
	return r
}

const mock = "org.freedesktop.DBus.Mock"

// logged starts logind with a session 1 of this user.
func logged(t *testing.T, b *desktoptest.Bus) (c *dbus.Conn, p *desktoptest.Program) {
	t.Helper()
	p = b.Mock("logind", logind, "")
	c = b.Dial()
	must(t, c, logind, logindPath, mock+".AddSession", "1", "seat0", uint32(os.Getuid()), "ada", true)
	return c, p
}

const session1 = dbus.ObjectPath("/org/freedesktop/login1/session/1")

func hint(t *testing.T, c *dbus.Conn, name string, on bool) {
	t.Helper()
	must(t, c, logind, session1, mock+".UpdateProperties", logind+".Session", map[string]dbus.Variant{name: dbus.MakeVariant(on)})
}

func TestLock(t *testing.T) {
	systemBus, sessionBus := desktoptest.NewBus(t), desktoptest.NewBus(t)
	c, _ := logged(t, systemBus)
	r := run(t, Options{Watch: []string{"lock"}, Initial: true, SystemBus: systemBus.Address, SessionBus: sessionBus.Address}, nil)
	r.want("lock false", "locked")
	hint(t, c, "LockedHint", true)
	r.want("lock true", "locked")
	hint(t, c, "LockedHint", false)
	r.want("lock false", "locked")

	// A desktop without the hint: the request counts.
	must(t, c, logind, session1, logind+".Session.Lock")
	r.want("lock true", "locked")
	hint(t, c, "IdleHint", true) // it causes a complete read
	must(t, c, logind, session1, logind+".Session.Unlock")
	r.want("lock false", "locked")

	// The request, then the hint, then unlocked by hand.
	must(t, c, logind, session1, logind+".Session.Lock")
	r.want("lock true", "locked")
	hint(t, c, "LockedHint", true)
	hint(t, c, "LockedHint", false)
	r.until("lock false", "locked")

	// The desktop's own report, which arrives late.
	p := sessionBus.Mock("gnome_screensaver", "org.gnome.ScreenSaver", "")
	g := sessionBus.Dial()
	must(t, g, "org.gnome.ScreenSaver", "/org/gnome/ScreenSaver", "org.gnome.ScreenSaver.SetActive", true)
	r.want("lock true", "locked")
	p.Kill()
	r.want("lock false", "locked")
	r.stop()
	r.none()
}

// ear is a watcher that records its signals.
type ear struct{ names []string }

func (e *ear) onSignal(sig *dbus.Signal) bool {
	e.names = append(e.names, sig.Name)
	return true
}
func (e *ear) read(context.Context, *link, bool) error { return nil }

// TestStrangersAreNotHeard sends signals from other programs, because any client may send us one.
func TestStrangersAreNotHeard(t *testing.T) {
	e := &ear{}
	w := &watch{names: []string{logind}, w: e, wake: make(chan struct{}, 1)}
	l := &link{watches: []*watch{w}, owners: map[string]string{logind: ":1.1", upower: ":1.2"}}
	signal := func(sender, name string, body ...any) {
		l.DeliverSignal("", name[strings.LastIndexByte(name, '.')+1:], &dbus.Signal{Sender: sender, Name: name, Path: session1, Body: body})
	}
	signal(":1.9", "stranger.Lock")
	signal(":1.2", "upower.Lock")
	signal(":1.9", daemon+".NameOwnerChanged", logind, ":1.1", ":1.9")
	signal("", "nobody.Lock")
	signal(daemon, daemon+".NameOwnerChanged", upower, ":1.2", "")
	signal(daemon, daemon+".NameOwnerChanged", logind, 7)
	signal(":1.1", "logind.Lock")
	signal(daemon, daemon+".NameOwnerChanged", logind, ":1.1", ":1.5")
	signal(":1.1", "old.Lock")
	signal(":1.5", "new.Lock")
	signal(daemon, daemon+".NameOwnerChanged", logind, ":1.5", "")
	signal("", "nobody.Lock")
	if got := strings.Join(e.names, " "); got != "logind.Lock "+daemon+".NameOwnerChanged new.Lock "+daemon+".NameOwnerChanged" {
		t.Error(got)
	}
}

func inhibitors(t *testing.T, c *dbus.Conn) int {
	t.Helper()
	var list [][]any
	if err := must(t, c, logind, logindPath, logind+".Manager.ListInhibitors").Store(&list); err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestTheMachineSleepsWhenTheEventIsStored(t *testing.T) {
	bus := desktoptest.NewBus(t)
	c, p := logged(t, bus)
	gate := make(chan struct{})
	r := run(t, Options{Watch: []string{"sleep"}, SystemBus: bus.Address}, gate)
	held := func(n int, when string) {
		t.Helper()
		desktoptest.Eventually(t, fmt.Sprintf("%d inhibitors are held %s", n, when), func() bool { return inhibitors(t, c) == n })
	}
	prepare := func(on bool) {
		t.Helper()
		must(t, c, logind, logindPath, mock+".EmitSignal", logind+".Manager", "PrepareForSleep", "b", []dbus.Variant{dbus.MakeVariant(on)})
	}
	held(1, "at the start")
	for range 2 {
		prepare(true)
		r.want("sleep true", "asleep") // emit is waiting for the disk
		for range 20 {
			if n := inhibitors(t, c); n != 1 { // each is a round trip through logind
				t.Fatalf("%d inhibitors are held while the event isn't stored", n)
			}
		}
		gate <- struct{}{}
		held(0, "when it is stored")
		prepare(false)
		r.want("sleep false", "asleep")
		held(1, "after resume")
		gate <- struct{}{}
	}

	// logind restarts.
	p.Kill()
	r.says("logind is not running")
	c, _ = logged(t, bus)
	held(1, "by the new logind")
	r.says("")

	// Stopped in the middle: the machine isn't delayed.
	prepare(true)
	r.want("sleep true", "asleep")
	r.stop()
	held(0, "after the source ended")
}

func TestIdleAndSessions(t *testing.T) {
	bus := desktoptest.NewBus(t)
	r := run(t, Options{Watch: []string{"idle"}, Initial: true, SystemBus: bus.Address}, nil)
	r.says("logind is not running")
	bus.Mock("logind", logind, "")
	r.says("no user is logged in")
	c := bus.Dial()
	must(t, c, logind, logindPath, mock+".AddSession", "1", "seat0", uint32(os.Getuid()), "ada", true)
	must(t, c, logind, logindPath, mock+".EmitSignal", logind+".Manager", "SessionNew", "so", []dbus.Variant{dbus.MakeVariant("1"), dbus.MakeVariant(session1)})
	r.want("idle false", "idle")
	r.says("")
	hint(t, c, "IdleHint", true)
	r.want("idle true", "idle")

	other := run(t, Options{Watch: []string{"idle"}, Session: "7", SystemBus: bus.Address}, nil)
	other.says(`there is no session "7"; available: 1 (ada)`)
}

func TestPower(t *testing.T) {
	bus := desktoptest.NewBus(t)
	bus.Mock("upower", upower, `{"OnBattery": true}`)
	c := bus.Dial()
	display := func(state uint32, percentage float64, empty int64, present bool) {
		t.Helper()
		must(t, c, upower, upowerPath, mock+".SetupDisplayDevice", uint32(2), state, percentage, 40.0, 80.0, 10.0, empty, int64(0), present, "battery", uint32(1))
	}
	r := run(t, Options{Watch: []string{"power"}, Initial: true, SystemBus: bus.Address}, nil)
	fields := []string{"on_battery", "percentage", "state", "lid_closed"}
	r.want("power true <nil> <nil> false", fields...)
	display(2, 49.6, 3600, true)
	r.until("power true 50 discharging false", fields...)
	must(t, c, upower, upowerPath, mock+".UpdateProperties", upower, map[string]dbus.Variant{"LidIsClosed": dbus.MakeVariant(true)})
	r.until("power true 50 discharging true", fields...)
	display(2, 49.7, 3500, true) // makes no event
	must(t, c, upower, upowerPath, mock+".UpdateProperties", upower, map[string]dbus.Variant{"OnBattery": dbus.MakeVariant(false)})
	if e := r.want("power false 50 discharging true", fields...); e["time_to_empty"] != 3500.0 || e["time_to_full"] != nil {
		t.Error(e)
	}
	if got := strings.Join(describe(Options{SystemBus: bus.Address, SessionBus: bus.Address, SoundServer: silent}, defaultPaths), "\n"); !strings.Contains(got, "watch: [power]  # UPower, battery 50 %, discharging") {
		t.Error(got)
	}
}

func TestNetwork(t *testing.T) {
	bus := desktoptest.NewBus(t)
	bus.Mock("networkmanager", networks, "")
	c := bus.Dial()
	const path = dbus.ObjectPath(networksPath)
	// The template has no primary connection.
	must(t, c, networks, path, mock+".AddProperty", networks, "PrimaryConnection", dbus.MakeVariant(dbus.ObjectPath("/")))
	r := run(t, Options{Watch: []string{"network"}, Initial: true, SystemBus: bus.Address}, nil)
	fields := []string{"state", "connectivity", "connection", "type"}
	r.want("network connected full <nil> <nil>", fields...)
	const active = networksPath + "/ActiveConnection/0"
	must(t, c, networks, path, mock+".AddObject", active, networks+".Connection.Active",
		map[string]dbus.Variant{"Id": dbus.MakeVariant("Home"), "Type": dbus.MakeVariant("802-11-wireless")}, []any2{})
	must(t, c, networks, path, "org.freedesktop.DBus.Properties.Set", networks, "PrimaryConnection", dbus.MakeVariant(dbus.ObjectPath(active)))
	r.want("network connected full Home 802-11-wireless", fields...)
	must(t, c, networks, "/org/freedesktop", mock+".SetConnectivity", uint32(2))
	r.want("network connected portal Home 802-11-wireless", fields...)
	must(t, c, networks, "/org/freedesktop", mock+".SetGlobalConnectionState", uint32(20))
	r.want("network disconnected portal Home 802-11-wireless", fields...)
}

// any2 is a method of dbusmock's AddObject.
type any2 struct{ Name, In, Out, Code string }

// TestABusThatIsStartedAgain checks that a change meanwhile is an event.
func TestABusThatIsStartedAgain(t *testing.T) {
	t.Parallel()
	bus := desktoptest.NewBus(t)
	bus.Mock("upower", upower, `{"OnBattery": false}`)
	r := run(t, Options{Watch: []string{"power"}, Initial: true, SystemBus: bus.Address}, nil)
	r.want("power false", "on_battery")
	bus.Kill()
	r.says("power: the message bus")
	bus.Start()
	r.says("UPower is not running")
	bus.Mock("upower", upower, `{"OnBattery": true}`)
	r.want("power true", "on_battery")
	r.says("")
}

func TestAbsentThingsAreTroubleOnlyWhenNamed(t *testing.T) {
	bus := desktoptest.NewBus(t)
	logged(t, bus)
	r := run(t, Options{Initial: true, SystemBus: bus.Address, SessionBus: bus.Address, SoundServer: silent}, nil)
	r.several("lock false", "sleep false", "idle false")
	r.says("")
	none := run(t, Options{SystemBus: nowhere, SessionBus: nowhere, SoundServer: silent}, nil)
	none.says("power: the message bus unix:path=/nowhere/bus doesn't answer")
	none.says("camera: there is no camera; waiting for it")
	none.says("microphone: there is no sound server")
}

// TestNothingIsLeftOver starts and stops everything repeatedly.
func TestNothingIsLeftOver(t *testing.T) {
	bus, display, server := desktoptest.NewBus(t), desktoptest.NewDisplay(t), desktoptest.NewSound(t, "pulseaudio")
	server.Sink("one", "One")
	logged(t, bus)
	count := func() (goroutines, files int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(list)
	}
	once := func() {
		all := run(t, Options{Watch: append([]string{"window"}, common...), Initial: true, SystemBus: bus.Address, SessionBus: bus.Address, Display: display.Name, SoundServer: server.Socket}, nil)
		x := run(t, Options{Watch: []string{"idle"}, IdleAfter: time.Hour, Initial: true, Display: display.Name}, nil)
		all.several("lock false", "sleep false", "idle false", "volume false", "microphone false")
		if err := orderOf(t, "volume", server.Socket); err != nil {
			t.Fatal(err)
		}
		x.several("idle false")
		all.stop()
		x.stop()
	}
	once() // the first run starts the runtime's own goroutines
	goroutines, files := count()
	for range 5 {
		once()
	}
	desktoptest.Eventually(t, fmt.Sprintf("as few as the %d goroutines and %d files before", goroutines, files), func() bool {
		g, f := count()
		return g <= goroutines && f <= files
	})
}
