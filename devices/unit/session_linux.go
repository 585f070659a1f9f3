// This file is the connection to systemd on the message bus. org.freedesktop.systemd1(5).

package unit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/devices/internal/busconn"
)

const (
	systemd     = "org.freedesktop.systemd1"
	managerPath = dbus.ObjectPath("/org/freedesktop/systemd1")
	manager     = systemd + ".Manager"
	unitKind    = systemd + ".Unit"
	properties  = "org.freedesktop.DBus.Properties"

	callTime = 5 * time.Second  // for an answer of systemd
	waitMax  = 30 * time.Second // to reconnect to the bus
)

// session is a connection to the bus, and the units' object paths.
type session struct {
	conn *dbus.Conn
	*signalQueue
	units  map[dbus.ObjectPath][]string // a unit's names; several if it has aliases
	ctx    context.Context
	cancel context.CancelFunc
}

func (c *session) close() {
	c.cancel()
	c.conn.Close()
}

const daemon = "org.freedesktop.DBus"

// signalQueue receives signals of systemd and the bus itself; other signals are ignored, because
// any client may send us signals. It never blocks the connection.
type signalQueue struct {
	signals chan *dbus.Signal
	missed  chan struct{} // of capacity 1: a signal was dropped for lack of room

	mu      sync.Mutex
	systemd string // systemd's name on the bus; empty while it is unknown
}

// DeliverSignal is called by the connection's reader.
func (e *signalQueue) DeliverSignal(_, _ string, sig *dbus.Signal) {
	e.mu.Lock()
	known := sig.Sender == daemon || e.systemd != "" && sig.Sender == e.systemd
	e.mu.Unlock()
	if !known {
		return
	}
	select {
	case e.signals <- sig:
	default:
		select {
		case e.missed <- struct{}{}:
		default:
		}
	}
}

func (s *Source) connect(ctx context.Context) (c *session, err error) {
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	opening := context.AfterFunc(ctx, cancel) // only while connecting
	defer opening()
	c = &session{units: map[dbus.ObjectPath][]string{}, ctx: alive, cancel: cancel, signalQueue: &signalQueue{signals: make(chan *dbus.Signal, 1024), missed: make(chan struct{}, 1)}}
	address := busconn.System(s.o.Address)
	if s.o.Bus == "user" {
		if address, err = busconn.Session(s.o.Address); err != nil {
			cancel()
			return nil, err
		}
	}
	late := time.AfterFunc(callTime, cancel)
	c.conn, err = busconn.Connect(address, dbus.WithContext(alive), dbus.WithSignalHandler(c.signalQueue))
	intime := late.Stop()
	if err != nil {
		cancel()
		if !intime {
			err = fmt.Errorf("it doesn't answer within %s", callTime)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("the %s bus of D-Bus is not running: %w", s.o.Bus, err)
		}
		return nil, fmt.Errorf("connecting to the %s bus of D-Bus: %w", s.o.Bus, err)
	}
	if err := s.subscribe(ctx, c); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// subscribe finds the units and subscribes to their changes.
func (s *Source) subscribe(ctx context.Context, c *session) error {
	if err := c.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchInterface("org.freedesktop.DBus"),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, systemd)); err != nil {
		return fmt.Errorf("subscribing on the bus: %w", err)
	}
	if err := c.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(systemd), dbus.WithMatchObjectPath(managerPath),
		dbus.WithMatchInterface(manager), dbus.WithMatchMember("Reloading")); err != nil {
		return fmt.Errorf("subscribing on the bus: %w", err)
	}
	if err := c.call(ctx, manager+".Subscribe", nil); err != nil {
		return err
	}
	var owner string // a different owner later means that the one that was subscribed to left the bus, which is signalled
	if err := c.conn.BusObject().CallWithContext(ctx, daemon+".GetNameOwner", 0, systemd).Store(&owner); err != nil {
		return fmt.Errorf("querying the bus for systemd: %w", err)
	}
	c.mu.Lock()
	c.systemd = owner
	c.mu.Unlock()
	for _, u := range s.o.Units {
		name := full(u)
		var path dbus.ObjectPath
		if err := c.call(ctx, manager+".LoadUnit", []any{name}, &path); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := c.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(systemd), dbus.WithMatchObjectPath(path),
			dbus.WithMatchInterface(properties), dbus.WithMatchMember("PropertiesChanged"), dbus.WithMatchArg(0, unitKind)); err != nil {
			return fmt.Errorf("subscribing on the bus: %w", err)
		}
		c.units[path] = append(c.units[path], name)
		values, err := c.all(ctx, path, unitKind)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if text(values, "LoadState") == "not-found" {
			return unknownUnit{name, similar(name, c.names(ctx))}
		}
		if _, known := s.last[name]; !known && !s.o.Initial {
			s.last[name] = stateOf(values) // later changes are events
		}
	}
	return nil
}

// unknownUnit is the error of a name that no unit has.
type unknownUnit struct {
	name string
	near []string
}

func (u unknownUnit) Error() string {
	if len(u.near) == 0 {
		return fmt.Sprintf("there is no unit %s; `systemctl list-unit-files` lists them", u.name)
	}
	return fmt.Sprintf("there is no unit %s; similar: %s", u.name, strings.Join(u.near, ", "))
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
			return fmt.Errorf("systemd is not on the bus; does this machine use it? %w", err)
		}
		return fmt.Errorf("calling systemd: %w", err)
	}
	return nil
}

// all returns the properties of an object.
func (c *session) all(ctx context.Context, path dbus.ObjectPath, kind string) (map[string]dbus.Variant, error) {
	m := map[string]dbus.Variant{}
	err := c.ask(ctx, path, properties+".GetAll", []any{kind}, &m)
	return m, err
}

// names returns the names of all units: loaded ones and those in files.
func (c *session) names(ctx context.Context) []string {
	var loaded [][]any
	_ = c.call(ctx, manager+".ListUnits", nil, &loaded) // on an error the list is just shorter
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
		return []string{fmt.Sprintf("# the system bus, which systemd uses, can't be reached: %v", err)}
	}
	defer conn.Close()
	var units [][]any
	if err := conn.Object(systemd, managerPath).CallWithContext(ctx, manager+".ListUnits", 0).Store(&units); err != nil {
		return []string{fmt.Sprintf("# systemd does not list its units: %v", err)}
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
