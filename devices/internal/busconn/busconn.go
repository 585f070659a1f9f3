// Package busconn connects to a message bus (D-Bus).
//
// What it promises:
//
//   - A connection of [Connect] receives no open files. The library accepts the files of any
//     message and closes none, so that any client that may send us a signal, which on the system
//     bus is every client, could exhaust this process's files. The bus refuses to deliver files to
//     a connection that did not negotiate them.
//   - [Dial] returns within a given time, and its connection ends with the context at the latest.
//   - [Session] and [System] find the addresses where libdbus and sd-bus do.
//
// It does not reconnect and subscribes to nothing: the kinds do.
package busconn

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// Connect connects to the first of the addresses that accepts a connection, as dbus.Connect does.
func Connect(addresses string, options ...dbus.ConnOption) (conn *dbus.Conn, err error) {
	for address := range strings.SplitSeq(addresses, ";") {
		keys, unix := strings.CutPrefix(address, "unix:")
		if !unix {
			conn, err = dbus.Connect(address, options...) // other transports pass no files
		} else {
			conn, err = connect(keys, options)
		}
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// Dial connects by connect, which is Connect, or dbus.Connect where files are wanted. Connecting
// may take as long as patience, and the connection ends with ctx at the latest.
func Dial(ctx context.Context, connect func(string, ...dbus.ConnOption) (*dbus.Conn, error), addresses string, patience time.Duration, options ...dbus.ConnOption) (*dbus.Conn, error) {
	inner, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(patience, cancel)
	conn, err := connect(addresses, append(options, dbus.WithContext(inner))...)
	intime := late.Stop()
	if err == nil {
		context.AfterFunc(conn.Context(), cancel)
		return conn, nil
	}
	if !intime || ctx.Err() != nil {
		err = fmt.Errorf("no connection within %s", patience)
	}
	cancel()
	return nil, err
}

// Session returns the address of the session bus: given, unless it is empty, otherwise where
// libdbus and sd-bus look for it: DBUS_SESSION_BUS_ADDRESS, $XDG_RUNTIME_DIR/bus, and the usual
// path of that folder. Each call looks again, because a bus may start later.
func Session(given string) (string, error) {
	if a := cmp.Or(given, os.Getenv("DBUS_SESSION_BUS_ADDRESS")); a != "" && !strings.HasPrefix(a, "autolaunch:") {
		return a, nil
	}
	places := runtimePlaces("bus")
	for _, path := range places {
		if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			return "unix:path=" + dbus.EscapeBusAddressValue(path), nil
		}
	}
	return "", errors.New("there is no session bus: DBUS_SESSION_BUS_ADDRESS is not set and no socket is at " + strings.Join(places, " or ") +
		"; postbus has to run as the user whose desktop it is")
}

// System returns the address of the system bus: given, unless it is empty, or
// DBUS_SYSTEM_BUS_ADDRESS, or the usual path.
func System(given string) string {
	usual := "unix:path=/run/dbus/system_bus_socket;unix:path=/var/run/dbus/system_bus_socket"
	if _, err := os.Stat("/run/dbus"); err == nil {
		usual = "unix:path=/run/dbus/system_bus_socket"
	}
	return cmp.Or(given, os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"), usual)
}

// runtimePlaces returns where a name of the user's runtime folder may be, the likeliest first.
func runtimePlaces(name string) []string {
	usual := filepath.Join(fmt.Sprintf("/run/user/%d", os.Getuid()), name)
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(dir) || filepath.Join(dir, name) == usual { // a relative one is invalid, as the XDG specification says
		return []string{usual}
	}
	return []string{filepath.Join(dir, name), usual}
}

func connect(keys string, options []dbus.ConnOption) (*dbus.Conn, error) {
	place := ""
	for key := range strings.SplitSeq(keys, ",") {
		name, value, _ := strings.Cut(key, "=")
		value, err := dbus.UnescapeBusAddressValue(value)
		switch {
		case err != nil:
			return nil, err
		case name == "path":
			place = value
		case name == "abstract":
			place = "@" + value
		case name == "runtime" && value == "yes":
			place = runtimePlaces("bus")[0]
		}
	}
	if place == "" {
		return nil, errors.New("the address has none of path, abstract and runtime")
	}
	socket, err := net.Dial("unix", place)
	if err != nil {
		return nil, err
	}
	conn, err := dbus.NewConn(buffered{socket, bufio.NewReader(socket)}, options...)
	if err != nil {
		socket.Close()
		return nil, err
	}
	if err = conn.Auth(nil); err == nil {
		err = conn.Hello()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// buffered reads in large pieces, because the library reads a message in its parts.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }
