//go:build linux

// This file tests with private message buses: dunst on an X server without a screen, and a daemon
// that dbusmock simulates.

package notify

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/devices/internal/desktoptest"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// condition is the last argument of Degraded.
func condition(env *kindtest.Bus) string {
	env.Mu.Lock()
	defer env.Mu.Unlock()
	return env.Last()
}

// source runs a connected source.
func source(t *testing.T, o Options) (env *kindtest.Bus, want func(string), stop func()) {
	t.Helper()
	env = kindtest.NewBus()
	end := env.Start(t, New(o, env), nil)
	env.Eventually(t, "the source is connected", func() bool { return env.Last() == "<nil>" })
	return env, func(text string) {
			t.Helper()
			e := env.Next(t)
			if got := fmt.Sprint(e["action"], " ", e["tag"], " ", e["button"], " ", e["reason"]); got != text {
				t.Fatalf("got %q, want %q", got, text)
			}
		}, func() {
			t.Helper()
			end()
			env.None(t)
		}
}

// action makes an action that ends with the test.
func action(t *testing.T, o ActionOptions) (*Action, *kindtest.Bus) {
	t.Helper()
	env := kindtest.NewBus()
	o.App = "postbus"
	a := NewAction(o, env)
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a, env
}

func show(t *testing.T, a *Action, args Args) {
	t.Helper()
	if err := a.Do(t.Context(), args); err != nil {
		t.Fatal(err)
	}
}

// TestDunst presses buttons of a real daemon, which reports them only to the connection that showed
// the notification.
func TestDunst(t *testing.T) {
	bus, display := desktoptest.NewBus(t), desktoptest.NewDisplay(t)
	dunst := desktoptest.Need(t, "dunst", "dunst")
	ctl := desktoptest.Need(t, "dunstctl", "dunst")
	desktoptest.Need(t, "busctl", "systemd") // which dunstctl calls
	env := []string{"DISPLAY=" + display.Name, "DBUS_SESSION_BUS_ADDRESS=" + bus.Address, "WAYLAND_DISPLAY="}
	// dunst's menu of buttons is a program that picks a line
	menu := t.TempDir() + "/menu"
	if err := os.WriteFile(menu, []byte("#!/bin/sh\ngrep 'Not now'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	conf := t.TempDir() + "/dunstrc"
	if err := os.WriteFile(conf, []byte("[global]\ndmenu = "+menu+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Closed: true, SessionBus: bus.Address}
	_, want, _ := source(t, o)
	o.Tag, o.Closed = "bell", false
	_, bell, _ := source(t, o)
	one, _ := action(t, ActionOptions{SessionBus: bus.Address, Buttons: []Button{{"open", "Open the door"}}})
	two, _ := action(t, ActionOptions{SessionBus: bus.Address, Buttons: []Button{{"open", "Open the door"}, {"ignore", "Not now"}}})
	short, _ := action(t, ActionOptions{SessionBus: bus.Address, Timeout: 100 * time.Millisecond})

	err := one.Do(t.Context(), Args{Title: "Doorbell"})
	if err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), "no desktop shows notifications") {
		t.Error(err)
	}
	if got := describe(bus.Address); len(got) != 1 || !strings.Contains(got[0], "no desktop shows notifications") {
		t.Error(got)
	}
	daemon := desktoptest.Start(t, env, dunst, "-conf", conf)
	bus.Has(desktop)
	displayed := func(n string) {
		t.Helper()
		desktoptest.Eventually(t, n+" notifications are displayed", func() bool { return desktoptest.Output(t, env, ctl, "count", "displayed") == n })
	}

	show(t, one, Args{Title: "Doorbell", Body: "Somebody <b>is</b> & waits", Urgency: "critical", Tag: "bell"})
	displayed("1")
	desktoptest.Output(t, env, ctl, "action", "0")
	want("pressed bell open <nil>")
	bell("pressed bell open <nil>")
	desktoptest.Output(t, env, ctl, "close")
	want("closed bell <nil> dismissed")

	show(t, two, Args{Title: "Doorbell", Urgency: "critical", Tag: "bell"})
	displayed("1")
	desktoptest.Output(t, env, ctl, "context")
	want("pressed bell ignore <nil>")
	bell("pressed bell ignore <nil>")
	desktoptest.Output(t, env, ctl, "close")
	want("closed bell <nil> dismissed")

	// replaced, and removed
	for i := range 3 {
		show(t, one, Args{Title: fmt.Sprint("Door ", i), Replace: "door", Urgency: "critical"})
	}
	show(t, one, Args{Title: "Other", Replace: "other", Urgency: "critical"})
	displayed("2")
	show(t, one, Args{Replace: "door", Close: true})
	want("closed door <nil> closed")
	displayed("1")
	show(t, one, Args{Replace: "door", Close: true}) // doing it twice is harmless
	show(t, one, Args{Title: "Door again", Replace: "door", Urgency: "critical"})
	displayed("2")

	show(t, short, Args{Title: "Soon gone", Tag: "short"})
	want("closed short <nil> expired")

	if got := describe(bus.Address); len(got) != 1 || !strings.HasPrefix(got[0], "notify: {}  # dunst ") || !strings.HasSuffix(got[0], "with buttons") {
		t.Error(got)
	}

	// another daemon has no notification of ours
	daemon.Kill()
	desktoptest.Eventually(t, "dunst is gone", func() bool { return one.Do(t.Context(), Args{Replace: "door", Close: true}) != nil })
	desktoptest.Start(t, env, dunst, "-conf", conf)
	bus.Has(desktop)
	show(t, one, Args{Title: "Door", Replace: "door", Urgency: "critical"})
	displayed("1")
	desktoptest.Output(t, env, ctl, "action", "0")
	want("pressed door open <nil>")
	desktoptest.Output(t, env, ctl, "close")
	want("closed door <nil> dismissed")
}

// notified returns the arguments of the calls of Notify that the mock received.
func notified(t *testing.T, c *dbus.Conn) (out []string) {
	t.Helper()
	var list []struct {
		At   uint64
		Name string
		Args []dbus.Variant
	}
	if err := c.Object(desktop, desktopPath).Call("org.freedesktop.DBus.Mock.GetCalls", 0).Store(&list); err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		if x.Name == "Notify" {
			var s []string
			for _, a := range x.Args {
				s = append(s, fmt.Sprint(a.Value()))
			}
			out = append(out, strings.Join(s, "|"))
		}
	}
	return out
}

func TestWhatTheDaemonIsTold(t *testing.T) {
	for name, c := range map[string]struct{ can, body, actions, condition string }{
		"all":     {"body body-markup actions", "1 &lt; 2 &amp; &lt;b&gt;", "[open Open]", "<nil>"},
		"nothing": {"body", "1 < 2 & <b>", "[]", "this desktop shows notifications without buttons"},
	} {
		t.Run(name, func(t *testing.T) {
			bus := desktoptest.NewBus(t)
			bus.Mock("notification_daemon", desktop, `{"capabilities": "`+c.can+`"}`)
			a, env := action(t, ActionOptions{SessionBus: bus.Address, Buttons: []Button{{"open", "Open"}}, Timeout: 1500 * time.Millisecond})
			show(t, a, Args{Title: "One", Body: "1 < 2 & <b>", Icon: "dialog-warning", Urgency: "low", Replace: "x"})
			show(t, a, Args{Title: "Two", Replace: "x"})
			got := notified(t, bus.Dial())
			want := []string{"postbus|0|dialog-warning|One|" + c.body + "|" + c.actions + "|map[urgency:@y 0x0]|1500", "postbus|1||Two||" + c.actions + "|map[urgency:@y 0x1]|1500"}
			if !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			if got := condition(env); got != c.condition {
				t.Error(got)
			}
		})
	}
}

// TestWhoIsBelieved sends signals from other processes, because any client may send signals on a
// bus.
func TestWhoIsBelieved(t *testing.T) {
	bus := desktoptest.NewBus(t)
	bus.Mock("notification_daemon", desktop, `{"capabilities": "actions"}`)
	send := desktoptest.Need(t, "dbus-send", "dbus-bin")
	_, want, _ := source(t, Options{Closed: true, SessionBus: bus.Address})
	a, _ := action(t, ActionOptions{SessionBus: bus.Address, Buttons: []Button{{"open", "Open"}}})
	show(t, a, Args{Title: "One", Tag: "mine"})
	desktoptest.Output(t, nil, send, "--bus="+bus.Address, "--type=signal", string(ourPath), signalName, "string:pressed", "string:mine", "string:open", "string:") // another process
	stranger := bus.Dial()
	if err := stranger.Emit(desktopPath, desktop+".ActionInvoked", uint32(1), "open"); err != nil { // no daemon
		t.Fatal(err)
	}
	stranger.Send(&dbus.Message{Type: dbus.TypeSignal, Body: []any{uint32(1), "open"}, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(desktopPath), dbus.FieldInterface: dbus.MakeVariant(desktop), dbus.FieldMember: dbus.MakeVariant("ActionInvoked"),
		dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(uint32(1), "open")), dbus.FieldDestination: dbus.MakeVariant(a.conn.Names()[0])}}, nil)
	emit := func(member, types string, args ...any) {
		t.Helper()
		list := []dbus.Variant{}
		for _, x := range args {
			list = append(list, dbus.MakeVariant(x))
		}
		if err := stranger.Object(desktop, desktopPath).Call("org.freedesktop.DBus.Mock.EmitSignal", 0, desktop, member, types, list).Err; err != nil {
			t.Fatal(err)
		}
	}
	emit("ActionInvoked", "us", uint32(7), "open")  // another program's notification
	emit("ActionInvoked", "us", uint32(1), "close") // no button of ours
	emit("NotificationClosed", "uu", uint32(1), uint32(99))
	emit("ActionInvoked", "us", uint32(1), "open") // a daemon that sends them in this order
	want("closed mine <nil> unknown")
	want("pressed mine open <nil>")
}

func TestAnotherDaemonHasOtherNotifications(t *testing.T) {
	bus := desktoptest.NewBus(t)
	daemon := bus.Mock("notification_daemon", desktop, `{"capabilities": "actions"}`)
	_, want, _ := source(t, Options{SessionBus: bus.Address})
	a, _ := action(t, ActionOptions{SessionBus: bus.Address, Buttons: []Button{{"open", "Open"}}})
	press := func(id uint32) {
		t.Helper()
		if err := bus.Dial().Object(desktop, desktopPath).Call("org.freedesktop.DBus.Mock.EmitSignal", 0, desktop, "ActionInvoked", "us",
			[]dbus.Variant{dbus.MakeVariant(id), dbus.MakeVariant("open")}).Err; err != nil {
			t.Fatal(err)
		}
	}
	show(t, a, Args{Title: "One", Tag: "one"})
	press(1)
	want("pressed one open <nil>")
	daemon.Kill()
	bus.Mock("notification_daemon", desktop, `{"capabilities": "actions"}`)
	var id uint32 // of another program: the number that ours had
	if err := bus.Dial().Object(desktop, desktopPath).Call(desktop+".Notify", 0, "other", uint32(0), "", "Other", "", []string{"open", "Open"},
		map[string]dbus.Variant{}, int32(-1)).Store(&id); err != nil || id != 1 {
		t.Fatal(id, err)
	}
	press(1)
	show(t, a, Args{Title: "Two", Tag: "two"})
	press(2)
	want("pressed two open <nil>")
}

func TestABusThatIsStartedAgain(t *testing.T) {
	bus := desktoptest.NewBus(t)
	bus.Mock("notification_daemon", desktop, `{"capabilities": "actions"}`)
	env, want, _ := source(t, Options{SessionBus: bus.Address})
	a, _ := action(t, ActionOptions{SessionBus: bus.Address, Buttons: []Button{{"open", "Open"}}})
	show(t, a, Args{Title: "One"})
	bus.Kill()
	env.Eventually(t, "the source reports it", func() bool { return env.Last() != "<nil>" })
	if err := a.Do(t.Context(), Args{Title: "Two"}); err == nil {
		t.Error("a notification was shown without a bus")
	}
	bus.Start()
	bus.Mock("notification_daemon", desktop, `{"capabilities": "actions"}`)
	env.Eventually(t, "the source is connected again", func() bool { return env.Last() == "<nil>" })
	show(t, a, Args{Title: "Three", Tag: "three"})
	c := bus.Dial()
	if err := c.Object(desktop, desktopPath).Call("org.freedesktop.DBus.Mock.EmitSignal", 0, desktop, "ActionInvoked", "us", []dbus.Variant{dbus.MakeVariant(uint32(1)), dbus.MakeVariant("open")}).Err; err != nil {
		t.Fatal(err)
	}
	want("pressed three open <nil>")
}

func TestNothingIsLeftOver(t *testing.T) {
	bus := desktoptest.NewBus(t)
	bus.Mock("notification_daemon", desktop, `{"capabilities": "actions"}`)
	once := func() {
		_, _, stop := source(t, Options{SessionBus: bus.Address})
		a := NewAction(ActionOptions{SessionBus: bus.Address}, kindtest.NewBus())
		show(t, a, Args{Title: "One"})
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := a.Do(t.Context(), Args{Title: "Two"}); err == nil {
			t.Error("a closed action showed something")
		}
		stop()
	}
	once()
	before := runtime.NumGoroutine()
	for range 10 {
		once()
	}
	desktoptest.Eventually(t, fmt.Sprintf("as few as the %d goroutines before", before), func() bool { return runtime.NumGoroutine() <= before })
}
