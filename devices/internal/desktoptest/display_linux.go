// This file starts an X server without a screen.

package desktoptest

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Display is an X server.
type Display struct {
	Name string // as :99
	t    *testing.T
	p    *Program
}

// NewDisplay starts an X server, without a window manager.
func NewDisplay(t *testing.T) *Display {
	t.Helper()
	Need(t, "Xvfb", "xvfb")
	p := Start(t, nil, "Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp", "-noreset")
	return &Display{Name: ":" + p.Line(), t: t, p: p}
}

// Start runs a program of a Debian package on it.
func (d *Display) Start(pkg, name string, args ...string) *Program {
	d.t.Helper()
	Need(d.t, name, pkg)
	return Start(d.t, []string{"DISPLAY=" + d.Name}, name, args...)
}

// Output runs a program on it to its end.
func (d *Display) Output(pkg, name string, args ...string) string {
	d.t.Helper()
	Need(d.t, name, pkg)
	return Output(d.t, []string{"DISPLAY=" + d.Name}, name, args...)
}

// Kill kills the X server.
func (d *Display) Kill() { d.p.Kill() }

// Freeze stops it, as a debugger does: its connections stay open, and it answers nothing.
func (d *Display) Freeze() { _ = syscall.Kill(d.p.PID(), syscall.SIGSTOP) }

// Restart starts it again with the same name.
func (d *Display) Restart() {
	d.t.Helper()
	d.p = Start(d.t, nil, "Xvfb", d.Name, "-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp", "-noreset")
	d.p.Line()
}

// Manage starts a window manager and waits until it works.
func (d *Display) Manage() {
	d.t.Helper()
	xdotool := Need(d.t, "xdotool", "xdotool")
	d.Start("openbox", "openbox")
	Eventually(d.t, "the window manager is ready", func() bool {
		c := exec.Command(xdotool, "get_desktop")
		c.Env = append(os.Environ(), "DISPLAY="+d.Name)
		return c.Run() == nil
	})
}
