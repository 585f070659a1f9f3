// This file is the connection to BlueZ. Sources: org.bluez.Adapter(5) and org.bluez.Device(5) of
// BlueZ 5.83, 2025.

package ble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/devices/internal/busconn"
)

const (
	patience   = 3 * time.Second // for an answer
	daemon     = "org.freedesktop.DBus"
	properties = daemon + ".Properties"
	manager    = daemon + ".ObjectManager"
	bluez      = "org.bluez"
	adapterIs  = bluez + ".Adapter1"
	deviceIs   = bluez + ".Device1"
	maxQueue   = 4096                 // advertisements
	none       = dbus.ObjectPath("/") // is no adapter
)

// advertisement is a device's properties that have just changed.
type advertisement struct {
	at         time.Time
	path       dbus.ObjectPath
	address    string
	properties map[string]dbus.Variant
}

// link is one connection.
type link struct {
	conn           *dbus.Conn
	filter         filter
	advertisements chan advertisement
	missed         *atomic.Int64 // advertisements that found no room
	wake           chan struct{} // the adapter's state must be read again
	adapter        dbus.ObjectPath

	mu    sync.Mutex
	owner string // BlueZ's unique name on the bus; empty while it is absent
}

func dial(ctx context.Context, given string, f filter, missed *atomic.Int64) (*link, error) {
	address := busconn.System(given)
	l := &link{filter: f, missed: missed, advertisements: make(chan advertisement, maxQueue), wake: make(chan struct{}, 1), adapter: none}
	conn, err := busconn.Dial(ctx, busconn.Connect, address, patience, dbus.WithSignalHandler(l))
	if err != nil {
		return nil, fmt.Errorf("the message bus %s, through which BlueZ is reached, doesn't answer: %w", address, err)
	}
	l.conn = conn
	return l, nil
}

// listen subscribes to the signals, and then queries the owner.
func (l *link) listen(ctx context.Context) error {
	for _, rule := range []string{
		"sender='" + daemon + "',interface='" + daemon + "',member='NameOwnerChanged',arg0='" + bluez + "'",
		"sender='" + bluez + "',interface='" + manager + "'",
		"sender='" + bluez + "',interface='" + properties + "',member='PropertiesChanged',arg0='" + adapterIs + "'",
		"sender='" + bluez + "',interface='" + properties + "',member='PropertiesChanged',arg0='" + deviceIs + "'",
	} {
		if err := l.call(ctx, daemon, "/org/freedesktop/DBus", daemon+".AddMatch", "type='signal',"+rule).Err; err != nil {
			return fmt.Errorf("the message bus refuses to deliver signals: %w", err)
		}
	}
	var owner string
	_ = l.call(ctx, daemon, "/org/freedesktop/DBus", daemon+".GetNameOwner", bluez).Store(&owner) // an error: it is absent
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner == "" { // a signal is newer
		l.owner = owner
	}
	return nil
}

// DeliverSignal receives a signal. The connection's reader calls it for one after the other. It
// ignores signals that are not from the bus itself or BlueZ, because any client may send us signals,
// and never blocks.
func (l *link) DeliverSignal(iface, member string, sig *dbus.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sig.Sender == daemon {
		if member == "NameOwnerChanged" && len(sig.Body) == 3 && sig.Body[0] == bluez {
			l.owner, _ = sig.Body[2].(string)
			l.requestScan()
		}
		return
	}
	if l.owner == "" || sig.Sender != l.owner || len(sig.Body) < 2 {
		return
	}
	switch {
	case iface == manager && member == "InterfacesAdded":
		path, _ := sig.Body[0].(dbus.ObjectPath)
		interfaces, _ := sig.Body[1].(map[string]map[string]dbus.Variant)
		if _, ok := interfaces[adapterIs]; ok {
			l.requestScan()
		}
		if p, ok := interfaces[deviceIs]; ok {
			l.queue(path, p)
		}
	case iface == manager && member == "InterfacesRemoved":
		if interfaces, _ := sig.Body[1].([]string); slices.Contains(interfaces, adapterIs) {
			l.requestScan()
		}
	case iface == properties && sig.Body[0] == deviceIs:
		p, _ := sig.Body[1].(map[string]dbus.Variant)
		l.queue(sig.Path, p)
	case iface == properties && sig.Body[0] == adapterIs:
		p, _ := sig.Body[1].(map[string]dbus.Variant)
		_, power := p["Powered"]
		if discovering, ok := get[bool](p, "Discovering"); power || ok && !discovering {
			l.requestScan()
		}
	}
}

func (l *link) requestScan() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// queue queues an advertisement of a wanted device. Other changed properties, such as Connected, are
// of no interest.
func (l *link) queue(path dbus.ObjectPath, p map[string]dbus.Variant) {
	address, ok := addressIn(path)
	if !ok || !l.filter.wants(address) {
		return
	}
	kept := map[string]dbus.Variant{}
	for _, name := range []string{"ManufacturerData", "ServiceData", "RSSI", "Name"} {
		if v, ok := p[name]; ok {
			kept[name] = v
		}
	}
	if len(kept) == 0 {
		return
	}
	select {
	case l.advertisements <- advertisement{time.Now(), path, address, kept}:
	default:
		l.missed.Add(1)
	}
}

// addressIn returns the address in a device's path, as /org/bluez/hci0/dev_AA_BB_CC_DD_EE_FF.
func addressIn(path dbus.ObjectPath) (string, bool) {
	_, text, ok := strings.Cut(string(path), "/dev_")
	if !ok {
		return "", false
	}
	return addressOf(strings.ReplaceAll(text, "_", ":"))
}

type managed map[dbus.ObjectPath]map[string]map[string]dbus.Variant

// adapters returns the paths of the adapters, in order.
func (o managed) adapters() []dbus.ObjectPath {
	var out []dbus.ObjectPath
	for path, interfaces := range o {
		if _, ok := interfaces[adapterIs]; ok {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}

func base(path dbus.ObjectPath) string {
	return string(path[strings.LastIndexByte(string(path), '/')+1:])
}

// scan finds the adapter, and makes it scan. It calls known for each device that BlueZ knows already.
// BlueZ ends the scan when the connection ends.
func (l *link) scan(ctx context.Context, adapter string, known func(address, name string)) error {
	l.mu.Lock()
	owner := l.owner
	l.mu.Unlock()
	l.adapter = none
	if owner == "" {
		return errors.New("BlueZ is not running; waiting for it: install it with `sudo apt-get install bluez`, and start it with `sudo systemctl enable --now bluetooth`")
	}
	var all managed
	if err := l.call(ctx, bluez, "/", manager+".GetManagedObjects").Store(&all); err != nil {
		return refused("list its adapters", err)
	}
	adapters := all.adapters()
	if len(adapters) == 0 {
		return errors.New("BlueZ has no Bluetooth adapter; waiting for one: `bluetoothctl list` lists them; on a Raspberry Pi dtoverlay=disable-bt in config.txt must not be set")
	}
	found := adapters[0]
	if adapter != "" {
		i := slices.IndexFunc(adapters, func(p dbus.ObjectPath) bool { return base(p) == adapter })
		if i < 0 {
			var names []string
			for _, p := range adapters {
				names = append(names, base(p))
			}
			return fmt.Errorf("there is no Bluetooth adapter %s; available: %s", adapter, strings.Join(names, ", "))
		}
		found = adapters[i]
	}
	if on, ok := get[bool](all[found][adapterIs], "Powered"); ok && !on {
		return poweredOff(found)
	}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if address, ok := addressIn(path); ok && strings.HasPrefix(string(path), string(found)+"/") {
			if name, ok := get[string](all[path][deviceIs], "Name"); ok {
				known(address, name)
			}
		}
	}
	l.adapter = found
	// DuplicateData: a signal for each advertisement, also for one that repeats the last.
	filter := map[string]dbus.Variant{"Transport": dbus.MakeVariant("le"), "DuplicateData": dbus.MakeVariant(true)}
	if err := l.call(ctx, bluez, found, adapterIs+".SetDiscoveryFilter", filter).Err; err != nil {
		return refused("filter advertisements", err)
	}
	err := l.call(ctx, bluez, found, adapterIs+".StartDiscovery").Err
	switch e := (dbus.Error{}); {
	case err == nil:
	case errors.As(err, &e) && e.Name == bluez+".Error.InProgress": // this connection's scan still runs
	case errors.As(err, &e) && e.Name == bluez+".Error.NotReady":
		return poweredOff(found)
	default:
		return refused("scan", err)
	}
	return nil
}

func poweredOff(adapter dbus.ObjectPath) error {
	return fmt.Errorf("the Bluetooth adapter %s is powered off; waiting for it: `sudo rfkill unblock bluetooth` and `bluetoothctl power on`", base(adapter))
}

// refused says what BlueZ did not do.
func refused(what string, err error) error {
	var e dbus.Error
	if errors.As(err, &e) && e.Name == daemon+".Error.AccessDenied" {
		return fmt.Errorf("this user may not use BlueZ; add it to the group bluetooth and restart postbus: %w", err)
	}
	return fmt.Errorf("BlueZ doesn't %s: %w", what, err)
}

// call calls a method and waits for its answer, at most for patience. It starts no service.
func (l *link) call(ctx context.Context, name string, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := l.conn.Object(name, path).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
	if errors.Is(c.Err, context.DeadlineExceeded) {
		c.Err = fmt.Errorf("%s doesn't answer within %s", name, patience)
	}
	return c
}

// get returns a property as a type; otherwise its zero value and false.
func get[T any](p map[string]dbus.Variant, name string) (T, bool) {
	v, ok := p[name].Value().(T)
	return v, ok
}

// Describe lists this machine's adapters and the devices that BlueZ knows, as they are written in a
// file.
func Describe() []string { return describe("") }

// maxDescribed bounds the listed devices.
const maxDescribed = 64

func describe(bus string) []string {
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	l, err := dial(ctx, bus, filter{}, new(atomic.Int64))
	if err != nil {
		return []string{"# " + err.Error()}
	}
	defer l.conn.Close()
	var all managed
	if err := l.call(ctx, bluez, "/", manager+".GetManagedObjects").Store(&all); err != nil {
		return nil // there is no BlueZ
	}
	var out []string
	for _, path := range all.adapters() {
		address, _ := get[string](all[path][adapterIs], "Address")
		state := "powered off"
		if on, _ := get[bool](all[path][adapterIs], "Powered"); on {
			state = "powered on"
		}
		out = append(out, fmt.Sprintf("adapter: %s  # %s, %s", base(path), address, state))
	}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if address, ok := addressIn(path); ok && all[path][deviceIs] != nil && len(out) < maxDescribed {
			name, _ := get[string](all[path][deviceIs], "Alias")
			out = append(out, fmt.Sprintf("devices: [%q]  # %s", address, strings.Join(strings.Fields(clip(name)), " ")))
		}
	}
	return out
}
