// This file is the session bus: its address, and the signals on it.

package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/devices/internal/busconn"
)

const (
	patience = 3 * time.Second // for an answer
	retryMin = 1 * time.Second // to reconnect; doubles
	retryMax = 30 * time.Second

	daemon      = "org.freedesktop.DBus"
	daemonPath  = dbus.ObjectPath("/org/freedesktop/DBus")
	desktop     = "org.freedesktop.Notifications"
	desktopPath = dbus.ObjectPath("/org/freedesktop/Notifications")

	// The signal that the action sends and the source receives: Reported(action, tag, button,
	// reason).
	ourInterface = "com.github.postbus.Notify"
	ourPath      = dbus.ObjectPath("/com/github/postbus/Notify")
	signalName   = ourInterface + ".Reported"
)

// dial connects to the session bus. The connection ends with ctx at the latest.
func dial(ctx context.Context, address string, options ...dbus.ConnOption) (*dbus.Conn, error) {
	address, err := busconn.Session(address)
	if err != nil {
		return nil, err
	}
	conn, err := busconn.Dial(ctx, busconn.Connect, address, patience, options...)
	if err != nil {
		return nil, fmt.Errorf("the session bus %s doesn't answer: %w", address, err)
	}
	return conn, nil
}

// call calls a method and waits for its answer, at most for patience.
func call(ctx context.Context, conn *dbus.Conn, name string, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := conn.Object(name, path).CallWithContext(ctx, method, 0, args...)
	if errors.Is(c.Err, context.DeadlineExceeded) {
		c.Err = fmt.Errorf("%s doesn't answer within %s", name, patience)
	}
	return c
}

// listen subscribes to signals.
func listen(ctx context.Context, conn *dbus.Conn, rules ...string) error {
	for _, r := range rules {
		if err := call(ctx, conn, daemon, daemonPath, daemon+".AddMatch", "type='signal',"+r).Err; err != nil {
			return fmt.Errorf("the session bus refuses to deliver signals: %w", err)
		}
	}
	return nil
}

// signalHandler receives a connection's signals. It never blocks: signals without room are dropped.
type signalHandler struct {
	signals chan *dbus.Signal
	wanted  func(sig *dbus.Signal) bool
	dropped func()
}

// DeliverSignal is called by the connection's reader.
func (h *signalHandler) DeliverSignal(_, _ string, sig *dbus.Signal) {
	if !h.wanted(sig) {
		return
	}
	select {
	case h.signals <- sig:
	default:
		h.dropped()
	}
}
