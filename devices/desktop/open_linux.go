// This file opens a URL: by the desktop's portal, or by xdg-open where there is no portal.

package desktop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

const portal = "org.freedesktop.portal.Desktop"

// opened is how long xdg-open may run before it counts as successful: without a desktop the browser
// itself replaces it.
const opened = 5 * time.Second

// open calls the portal. The portal may ask the user, whose answer is not waited for.
func (a *Action) open(ctx context.Context, conn *dbus.Conn, url string) error {
	inner, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	options := map[string]dbus.Variant{}
	err := conn.Object(portal, "/org/freedesktop/portal/desktop").CallWithContext(inner, "org.freedesktop.portal.OpenURI.OpenURI", 0, "", url, options).Err
	var e dbus.Error
	if errors.As(err, &e) {
		switch e.Name {
		case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner", "org.freedesktop.DBus.Error.UnknownMethod",
			"org.freedesktop.DBus.Error.UnknownInterface", "org.freedesktop.DBus.Error.UnknownObject":
			return a.child(ctx, url)
		}
		if strings.HasPrefix(e.Name, "org.freedesktop.DBus.Error.Spawn.") {
			return a.child(ctx, url)
		}
	}
	if err != nil {
		return fmt.Errorf("open: the portal: %w", err)
	}
	return nil
}

// child runs xdg-open in a process group of its own. The action owns a process that keeps running
// because it became the browser.
func (a *Action) child(ctx context.Context, url string) error {
	c := exec.Command(a.opener, url)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output := &first{n: 300}
	c.Stderr = output
	c.WaitDelay = time.Second // for a browser that holds standard error open
	if err := c.Start(); err != nil {
		return fmt.Errorf("open: there is no portal, and %w; install xdg-utils", err)
	}
	ended, done := make(chan error, 1), make(chan struct{})
	a.children.Go(func() {
		ended <- c.Wait()
		close(done)
	})
	kill := func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	a.children.Go(func() {
		select {
		case <-a.alive.Done():
			kill()
		case <-done:
		}
	})
	t := time.NewTimer(opened)
	defer t.Stop()
	select {
	case err := <-ended:
		if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
			return fmt.Errorf("open: %s: %w: %s", a.opener, err, strings.TrimSpace(strings.ToValidUTF8(output.String(), "\ufffd")))
		}
		return nil
	case <-t.C:
		return nil
	case <-ctx.Done():
		kill()
		<-done
		return ctx.Err()
	}
}

// first keeps the first n bytes that are written to it.
type first struct {
	bytes.Buffer
	n int
}

func (f *first) Write(p []byte) (int, error) {
	_, _ = f.Buffer.Write(p[:min(len(p), f.n-f.Len())])
	return len(p), nil
}
