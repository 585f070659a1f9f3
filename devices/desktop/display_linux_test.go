// This file tests with an X server without a screen.

package desktop

import (
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/desktoptest"
)

func TestActiveWindow(t *testing.T) {
	t.Parallel()
	d := desktoptest.NewDisplay(t)
	r := run(t, Options{Watch: []string{"window"}, Initial: true, Display: d.Name}, nil)
	r.says("no window manager reports the active window")
	d.Manage()
	one := d.Start("xterm", "xterm", "-class", "One", "-title", "first", "-e", "sleep 600")
	r.until("window One first", "class", "title")
	if e := d.Output("xdotool", "xdotool", "getactivewindow", "getwindowpid"); e == "" {
		t.Error("xdotool sees no window")
	}
	r.says("")
	d.Start("xterm", "xterm", "-class", "Two", "-title", "second ü", "-e", "sleep 600")
	r.until("window Two second ü", "class", "title")
	// The title of the active window is followed, the other window's is not.
	d.Output("xdotool", "xdotool", "search", "--class", "One", "set_window", "--name", "not told")
	d.Output("xdotool", "xdotool", "getactivewindow", "set_window", "--name", "renamed")
	r.until("window Two renamed", "class", "title")
	d.Output("xdotool", "xdotool", "search", "--class", "One", "windowactivate")
	r.until("window One not told", "class", "title")
	one.Kill()
	r.until("window Two renamed", "class", "title")

	d.Kill()
	r.says("the X server " + d.Name + " can't be reached")
	d.Restart()
	d.Manage()
	x := d.Start("xterm", "xterm", "-class", "Three", "-title", "third", "-e", "sleep 600")
	r.until("window Three third xterm", "class", "title", "instance")
	x.Kill()
	r.until("window <nil> <nil> <nil>", "class", "title", "pid")
}

func TestIdleAfter(t *testing.T) {
	t.Parallel()
	d := desktoptest.NewDisplay(t)
	touch := func() { d.Output("xdotool", "xdotool", "mousemove_relative", "--", "5", "5") }
	touch()
	r := run(t, Options{Watch: []string{"idle"}, Initial: true, IdleAfter: 2 * time.Second, Display: d.Name}, nil)
	r.until("idle true", "idle") // the first event may be false, unless this is too slow
	var began time.Time
	desktoptest.Eventually(t, "somebody is there", func() bool {
		began = time.Now()
		touch()
		select {
		case e := <-r.env.Events:
			return e["idle"] == false
		case <-time.After(10 * time.Second):
			return false
		}
	})
	r.want("idle true", "idle")
	if took := time.Since(began); took < 1500*time.Millisecond {
		t.Errorf("idle after %s", took)
	}
	r.says("")
	d.Kill()
	r.says("idle: the X server")
}

// TestAServerThatIsFrozen checks that it doesn't delay the end, although the library waits for it.
func TestAServerThatIsFrozen(t *testing.T) {
	t.Parallel()
	d := desktoptest.NewDisplay(t)
	window := run(t, Options{Watch: []string{"window"}, Initial: true, Display: d.Name}, nil)
	window.says("no window manager")
	idle := run(t, Options{Watch: []string{"idle"}, Initial: true, IdleAfter: time.Hour, Display: d.Name}, nil)
	idle.want("idle false", "idle")
	d.Freeze()
	late := run(t, Options{Watch: []string{"window"}, Initial: true, Display: d.Name}, nil)
	for _, r := range []*running{window, idle, late} {
		r.stop()
	}
}

func TestNoX11(t *testing.T) {
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	t.Setenv("XDG_SESSION_TYPE", "")
	run(t, Options{Watch: []string{"window"}}, nil).says("$DISPLAY is not set")
	t.Setenv("WAYLAND_DISPLAY", "wayland-0")
	t.Setenv("DISPLAY", ":0")
	run(t, Options{Watch: []string{"window"}}, nil).says("this is a Wayland session")
	if got := strings.Join(Describe(), "\n"); strings.Contains(got, "X11") {
		t.Error(got)
	}
}
