// This file is the connection to systemd on the bus. org.freedesktop.systemd1(5).

package unit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	systemd     = "org.freedesktop.systemd1"
	managerPath = dbus.ObjectPath("/org/freedesktop/systemd1")
	manager     = systemd + ".Manager"
	unitKind    = systemd + ".Unit"
	properties  = "org.freedesktop.DBus.Properties"

	callTime = 5 * time.Second  // for an answer of systemd
	waitMax  = 30 * time.Second // for the bus to come back
)

// session is a connection to the bus, and the units' places there.
type session struct {
	conn    *dbus.Conn
	signals chan *dbus.Signal
	units   map[dbus.ObjectPath]string // their names
	ctx     context.Context
	cancel  context.CancelFunc
}

func (c *session) close() {
	c.cancel()
	c.conn.Close()
	for range c.signals {
		// until the connection has closed it
	}
}

func (s *Source) connect(ctx context.Context) (c *session, err error) {
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	opening := context.AfterFunc(ctx, cancel) // only until it is connected
	defer opening()
	c = &session{units: map[dbus.ObjectPath]string{}, ctx: alive, cancel: cancel, signals: make(chan *dbus.Signal, 1024)}
	o := []dbus.ConnOption{dbus.WithContext(alive), dbus.WithSignalHandler(dbus.NewSequentialSignalHandler())}
	switch {
	case s.o.Address != "":
		c.conn, err = dbus.Connect(s.o.Address, o...)
	case s.o.Bus == "user": // not ConnectSessionBus, which may start one
		address := os.Getenv("DBUS_SESSION_BUS_ADDRESS")
		if address == "" {
			address = fmt.Sprintf("unix:path=/run/user/%d/bus", os.Getuid())
		}
		c.conn, err = dbus.Connect(address, o...)
	default:
		c.conn, err = dbus.ConnectSystemBus(o...)
	}
	if err != nil {
		cancel()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("the %s bus of D-Bus doesn't run: %w", s.o.Bus, err)
		}
		return nil, fmt.Errorf("connecting to the %s bus of D-Bus: %w", s.o.Bus, err)
	}
	c.conn.Signal(c.signals)
	if err := s.subscribe(ctx, c); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// subscribe finds the units and asks for news of them.
func (s *Source) subscribe(ctx context.Context, c *session) error {
	if err := c.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchInterface("org.freedesktop.DBus"),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, systemd)); err != nil {
		return fmt.Errorf("listening on the bus: %w", err)
	}
	if err := c.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(systemd), dbus.WithMatchObjectPath(managerPath),
		dbus.WithMatchInterface(manager), dbus.WithMatchMember("Reloading")); err != nil {
		return fmt.Errorf("listening on the bus: %w", err)
	}
	if err := c.call(ctx, manager+".Subscribe", nil); err != nil {
		return err
	}
	for _, u := range s.o.Units {
		name := full(u)
		var path dbus.ObjectPath
		if err := c.call(ctx, manager+".LoadUnit", []any{name}, &path); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := c.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(systemd), dbus.WithMatchObjectPath(path),
			dbus.WithMatchInterface(properties), dbus.WithMatchMember("PropertiesChanged"), dbus.WithMatchArg(0, unitKind)); err != nil {
			return fmt.Errorf("listening on the bus: %w", err)
		}
		c.units[path] = name
		values, err := c.all(ctx, path, unitKind)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if text(values, "LoadState") == "not-found" {
			return unknownUnit{name, similar(name, c.names(ctx))}
		}
		if _, known := s.last[name]; !known && !s.o.Initial {
			s.last[name] = stateOf(values) // what changes from now on is an event
		}
	}
	return nil
}

// unknownUnit is a name that no unit has.
type unknownUnit struct {
	name string
	near []string
}

func (u unknownUnit) Error() string {
	if len(u.near) == 0 {
		return fmt.Sprintf("there is no unit %s; `systemctl list-unit-files` lists them", u.name)
	}
	return fmt.Sprintf("there is no unit %s; there are %s", u.name, strings.Join(u.near, ", "))
}

// call calls a method of systemd itself.
func (c *session) call(ctx context.Context, method string, args []any, result ...any) error {
	return c.ask(ctx, managerPath, method, args, result...)
}

func (c *session) ask(ctx context.Context, path dbus.ObjectPath, method string, args []any, result ...any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	call := c.conn.Object(systemd, path).CallWithContext(ctx, method, 0, args...)
	if err := call.Store(result...); err != nil {
		var e dbus.Error
		if errors.As(err, &e) && (e.Name == "org.freedesktop.DBus.Error.ServiceUnknown" || e.Name == "org.freedesktop.DBus.Error.NameHasNoOwner") {
			return fmt.Errorf("systemd is not on the bus; does this machine run it? %w", err)
		}
		return fmt.Errorf("asking systemd: %w", err)
	}
	return nil
}

// all are the properties of an object.
func (c *session) all(ctx context.Context, path dbus.ObjectPath, kind string) (map[string]dbus.Variant, error) {
	m := map[string]dbus.Variant{}
	err := c.ask(ctx, path, properties+".GetAll", []any{kind}, &m)
	return m, err
}

// names are those of all units: loaded, and in files.
func (c *session) names(ctx context.Context) []string {
	var loaded [][]any
	_ = c.call(ctx, manager+".ListUnits", nil, &loaded) // without it there is less to say
	var out []string
	for _, u := range loaded {
		if len(u) > 2 {
			if name, ok := u[0].(string); ok && u[2] != "not-found" {
				out = append(out, name)
			}
		}
	}
	var files [][]any
	_ = c.call(ctx, manager+".ListUnitFiles", nil, &files)
	for _, f := range files {
		if len(f) > 0 {
			if path, ok := f[0].(string); ok {
				out = append(out, path[strings.LastIndexByte(path, '/')+1:])
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func text(m map[string]dbus.Variant, key string) string {
	s, _ := m[key].Value().(string)
	return s
}

// Describe lists this machine's services, as they are written in a file.
func Describe() []string {
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return []string{fmt.Sprintf("# no system bus, by which systemd tells: %v", err)}
	}
	defer conn.Close()
	var units [][]any
	if err := conn.Object(systemd, managerPath).CallWithContext(ctx, manager+".ListUnits", 0).Store(&units); err != nil {
		return []string{fmt.Sprintf("# systemd does not tell its units: %v", err)}
	}
	return describe(units)
}

func describe(units [][]any) []string {
	var out []string
	for _, u := range units {
		if len(u) < 5 {
			continue
		}
		name, ok := u[0].(string)
		if ok && strings.HasSuffix(name, ".service") && u[2] == "loaded" {
			out = append(out, fmt.Sprintf("units: [%s]  # %v: %v", name, u[3], u[1]))
		}
	}
	slices.Sort(out)
	return out
}
