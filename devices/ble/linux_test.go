//go:build linux

// This file tests with private message buses: with the BlueZ that dbusmock simulates, and with the
// test itself as BlueZ.

package ble

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/devices/internal/desktoptest"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

const mock = daemon + ".Mock"

// radio is BlueZ as dbusmock simulates it.
type radio struct {
	t   *testing.T
	bus *desktoptest.Bus
	p   *desktoptest.Program
	c   *dbus.Conn
}

func newRadio(t *testing.T, bus *desktoptest.Bus) *radio {
	t.Helper()
	return &radio{t, bus, bus.Mock("bluez5", bluez, ""), bus.Dial()}
}

func (r *radio) call(path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	r.t.Helper()
	c := r.c.Object(bluez, path).Call(method, 0, args...)
	if c.Err != nil {
		r.t.Fatalf("%s: %v", method, c.Err)
	}
	return c
}

func (r *radio) adapter(name string) {
	r.t.Helper()
	r.call("/org/bluez", bluez+".Mock.AddAdapter", name, "test")
}

func (r *radio) device(adapter, address, name string) dbus.ObjectPath {
	r.t.Helper()
	var path string
	if err := r.call("/org/bluez", bluez+".Mock.AddDevice", adapter, address, name).Store(&path); err != nil {
		r.t.Fatal(err)
	}
	return dbus.ObjectPath(path)
}

func (r *radio) update(path dbus.ObjectPath, iface string, p map[string]any) {
	r.t.Helper()
	variants := map[string]dbus.Variant{}
	for name, v := range p {
		variants[name] = dbus.MakeVariant(v)
	}
	r.call(path, mock+".UpdateProperties", iface, variants)
}

// bytesOf is the value of ManufacturerData or ServiceData with entries.
func bytesOf[K comparable](t *testing.T, entries map[K]string) map[K]dbus.Variant {
	out := map[K]dbus.Variant{}
	for k, text := range entries {
		out[k] = dbus.MakeVariant(unhex(t, text))
	}
	return out
}

// advertise sends a signal as BlueZ does for an advertisement. UpdateProperties of dbusmock takes no
// dictionaries.
func (r *radio) advertise(path dbus.ObjectPath, p map[string]dbus.Variant) {
	r.t.Helper()
	r.call(path, mock+".EmitSignal", properties, "PropertiesChanged", "sa{sv}as", []dbus.Variant{dbus.MakeVariant(deviceIs), dbus.MakeVariant(p), dbus.MakeVariant([]string{})})
}

func (r *radio) manufacturer(path dbus.ObjectPath, rssi int16, entries map[uint16]string) {
	r.t.Helper()
	r.advertise(path, map[string]dbus.Variant{"ManufacturerData": dbus.MakeVariant(bytesOf(r.t, entries)), "RSSI": dbus.MakeVariant(rssi)})
}

func (r *radio) service(path dbus.ObjectPath, entries map[string]string) {
	r.t.Helper()
	r.advertise(path, map[string]dbus.Variant{"ServiceData": dbus.MakeVariant(bytesOf(r.t, entries))})
}

// running is a running source.
type running struct {
	*kindtest.Bus
	t    *testing.T
	s    *Source
	stop func()
}

func run(t *testing.T, o Options) *running {
	t.Helper()
	if o.MinRSSI == 0 {
		o.MinRSSI = defaults().MinRSSI
	}
	r := &running{Bus: kindtest.NewBus(), t: t}
	r.s = New(o, r.Bus)
	r.s.retryMin = 20 * time.Millisecond
	r.stop = r.Start(t, r.s, nil)
	return r
}

// says waits until the degraded state contains a text; "<nil>" is none.
func (r *running) says(part string) {
	r.t.Helper()
	r.Eventually(r.t, fmt.Sprintf("Degraded reports %q", part), func() bool { return strings.Contains(r.Last(), part) })
}

// want waits for the next event, which must be this one.
func (r *running) want(text string) {
	r.t.Helper()
	e := r.Next(r.t)
	if got := fmt.Sprint(e["name"], " ", e["format"], " ", e["rssi"], " ", e["counter"], " ", e["values"]); got != text {
		r.t.Fatalf("got %q, want %q: %v", got, text, e)
	}
}

const (
	ruuvi205 = "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"
	ruuvi206 = "0512FC5394C37C0004FFFC040CAC364200CECBB8334C884F"
	beacon1  = "0215B5B182C7EAB14988AA99B5C1517008D900010002C6"
)

func ruuvi(n int) string {
	return fmt.Sprintf(" ruuvi -60 %d map[acceleration_x:0.004 acceleration_y:-0.004 acceleration_z:1.036 humidity:53.49 movements:66 pressure:1000.44 temperature:24.3 tx_power:4 voltage:2.977]", n)
}

func TestAdvertisements(t *testing.T) {
	bus := desktoptest.NewBus(t)
	b := newRadio(t, bus)
	b.adapter("hci0")
	r := run(t, Options{Bus: bus.Address, Names: map[string]string{"a4:c1:38:00:00:01": "cellar"}})
	r.says("<nil>")
	var adapter map[string]dbus.Variant
	if err := b.call("/org/bluez/hci0", properties+".GetAll", adapterIs).Store(&adapter); err != nil {
		t.Fatal(err)
	}
	filter, _ := get[map[string]dbus.Variant](adapter, "DiscoveryFilter")
	if on, _ := get[bool](adapter, "Discovering"); !on || filter["Transport"].Value() != "le" || filter["DuplicateData"].Value() != true {
		t.Fatalf("the adapter scans: %v, with the filter %v", on, filter)
	}

	// One measurement that is sent three times is one event.
	tag := b.device("hci0", "CB:B8:33:4C:88:4F", "Ruuvi 884F")
	for range 3 {
		b.manufacturer(tag, -60, map[uint16]string{companyRuuvi: ruuvi205})
	}
	b.manufacturer(tag, -60, map[uint16]string{companyRuuvi: ruuvi206})
	r.want("Ruuvi 884F" + ruuvi(205))
	r.want("Ruuvi 884F" + ruuvi(206))

	// BlueZ repeats the other payloads of a device with each. A beacon has no counter: each of its
	// advertisements is an event.
	b.manufacturer(tag, -61, map[uint16]string{companyRuuvi: ruuvi206, companyApple: beacon1})
	r.want("Ruuvi 884F ibeacon -61 <nil> map[]")
	b.manufacturer(tag, -62, map[uint16]string{companyRuuvi: ruuvi206, companyApple: beacon1})
	r.want("Ruuvi 884F ibeacon -62 <nil> map[]")
	b.manufacturer(tag, -60, map[uint16]string{companyRuuvi: ruuvi205, companyApple: beacon1})
	r.want("Ruuvi 884F" + ruuvi(205))

	thermometer := b.device("hci0", "A4:C1:38:00:00:01", "ATC_000001")
	b.service(thermometer, map[string]string{serviceATC: "01000038C1A40A09D015860B5A2A05"})
	b.service(thermometer, map[string]string{serviceATC: "01000038C1A40A09D015860B5A2A05"})
	b.service(thermometer, map[string]string{serviceATC: "01000038C1A40A09D015860B5A2A04"}) // only the flags
	r.want("cellar pvvx -79 42 map[battery:90 flags:5 humidity:55.84 temperature:23.14 voltage:2.95]")
	r.want("cellar pvvx -79 42 map[battery:90 flags:4 humidity:55.84 temperature:23.14 voltage:2.95]")

	button := b.device("hci0", "A4:C1:38:00:00:02", "")
	b.service(button, map[string]string{serviceBTHome: "4400013A01"})
	b.service(button, map[string]string{serviceBTHome: "4400013A01"})
	b.service(button, map[string]string{serviceBTHome: "4400023A01"})
	b.service(button, map[string]string{serviceBTHome: "4002"}) // can't be decoded
	b.service(button, map[string]string{serviceBTHome: "41a47266c95f730011223378237214"})
	b.service(button, map[string]string{serviceBTHome: "41a47266c95f731111223378237214"})
	b.service(button, map[string]string{serviceBTHome: "4400033A02"})
	r.want("A4:C1:38:00:00:02 bthome -79 1 map[button:press]")
	r.want("A4:C1:38:00:00:02 bthome -79 2 map[button:press]")
	r.want("A4:C1:38:00:00:02 bthome -79 <nil> map[]")
	r.want("A4:C1:38:00:00:02 bthome -79 3 map[button:double_press]")
	r.stop()
	r.None(t)
	if r.s.invalid.n != 1 || !strings.Contains(r.Logged(), "A4:C1:38:00:00:02: a BTHome device sent nothing that is known") {
		t.Errorf("%d invalid ones are counted: %s", r.s.invalid.n, r.Logged())
	}
	if strings.Count(r.Logged(), "encrypts its measurements") != 1 {
		t.Errorf("the log says of encryption: %s", r.Logged())
	}
}

// TestFilters checks what the options let through.
func TestFilters(t *testing.T) {
	bus := desktoptest.NewBus(t)
	b := newRadio(t, bus)
	b.adapter("hci0")
	b.adapter("hci1")
	r := run(t, Options{Bus: bus.Address, Adapter: "hci1", Devices: []string{"cb:b8:33:4c:88:4f"}, Formats: []string{"raw", "ruuvi"}, MinRSSI: -70})
	r.says("<nil>")
	wrong := b.device("hci0", "CB:B8:33:4C:88:4F", "wrong adapter")
	other := b.device("hci1", "CB:B8:33:4C:88:50", "other")
	tag := b.device("hci1", "CB:B8:33:4C:88:4F", "tag")
	b.manufacturer(wrong, -50, map[uint16]string{companyRuuvi: ruuvi205})
	b.manufacturer(other, -50, map[uint16]string{companyRuuvi: ruuvi205})
	b.manufacturer(tag, -71, map[uint16]string{companyRuuvi: ruuvi205})
	b.manufacturer(tag, -70, map[uint16]string{companyApple: beacon1})
	b.manufacturer(tag, -60, map[uint16]string{companyRuuvi: ruuvi205})
	b.manufacturer(tag, -60, map[uint16]string{0x1234: "0badcafe"})
	r.want("tag" + ruuvi(205))
	if e := r.Next(t); e["format"] != "raw" || e["manufacturer"] != 0x1234 || e["service"] != nil || e["data"] != "0badcafe" {
		t.Error(e)
	}

	// An advertisement of an unwanted format with which BlueZ repeats the beacon is no event.
	beacons := run(t, Options{Bus: bus.Address, Adapter: "hci1", Formats: []string{"ibeacon"}})
	beacons.says("<nil>")
	b.manufacturer(tag, -60, map[uint16]string{companyRuuvi: ruuvi205, companyApple: beacon1})
	b.manufacturer(tag, -61, map[uint16]string{companyRuuvi: ruuvi206, companyApple: beacon1})
	b.manufacturer(tag, -62, map[uint16]string{companyRuuvi: ruuvi206, companyApple: beacon1})
	beacons.want("tag ibeacon -60 <nil> map[]")
	beacons.want("tag ibeacon -62 <nil> map[]")
	beacons.stop()
	beacons.None(t)

	list := strings.Join(describe(bus.Address), "\n")
	for _, want := range []string{"adapter: hci0  # 00:01:02:03:04:05, powered on\nadapter: hci1  #", `devices: ["CB:B8:33:4C:88:50"]  # other`} {
		if !strings.Contains(list, want) {
			t.Errorf("the list lacks %q:\n%s", want, list)
		}
	}
	none := run(t, Options{Bus: bus.Address, Adapter: "hci7"})
	none.says("there is no Bluetooth adapter hci7; available: hci0, hci1")
}

// TestBlueZComesAndGoes checks what is reported, that the source continues by itself, and that a
// measurement from before isn't an event again.
func TestBlueZComesAndGoes(t *testing.T) {
	bus := desktoptest.NewBus(t)
	r := run(t, Options{Bus: bus.Address})
	r.says("BlueZ is not running; waiting for it: install it with `sudo apt-get install bluez`")
	var b *radio
	for i, data := range []string{ruuvi205, ruuvi206} {
		b = newRadio(t, bus)
		r.says("BlueZ has no Bluetooth adapter")
		b.adapter("hci0")
		r.says("<nil>")
		tag := b.device("hci0", "CB:B8:33:4C:88:4F", "tag")
		b.manufacturer(tag, -60, map[uint16]string{companyRuuvi: ruuvi205})
		b.manufacturer(tag, -60, map[uint16]string{companyRuuvi: data})
		r.want("tag" + ruuvi(205+i))

		b.update("/org/bluez/hci0", adapterIs, map[string]any{"Powered": false, "Discovering": false})
		r.says("the Bluetooth adapter hci0 is powered off; waiting for it")
		b.update("/org/bluez/hci0", adapterIs, map[string]any{"Powered": true})
		r.says("<nil>")
		var on bool
		if err := b.call("/org/bluez/hci0", properties+".Get", adapterIs, "Discovering").Store(&on); err != nil || !on {
			t.Fatalf("the adapter that is on again scans: %v, %v", on, err)
		}

		// Another program or the driver ended the scan.
		b.update("/org/bluez/hci0", adapterIs, map[string]any{"Discovering": false})
		desktoptest.Eventually(t, "the adapter scans again", func() bool {
			return b.call("/org/bluez/hci0", properties+".Get", adapterIs, "Discovering").Store(&on) == nil && on
		})

		b.call("/org/bluez", bluez+".Mock.RemoveAdapter", "hci0")
		r.says("BlueZ has no Bluetooth adapter")
		b.p.Kill()
		r.says("BlueZ is not running")
	}
	bus.Kill()
	r.says("the message bus")
	bus.Start()
	r.says("BlueZ is not running")
}

// stub is the test as BlueZ.
type stub struct {
	refuse error // what StartDiscovery answers; nil: it scans
}

func (s *stub) GetManagedObjects() (map[dbus.ObjectPath]map[string]map[string]dbus.Variant, *dbus.Error) {
	return map[dbus.ObjectPath]map[string]map[string]dbus.Variant{"/org/bluez/hci0": {adapterIs: {"Powered": dbus.MakeVariant(true)}}}, nil
}
func (s *stub) SetDiscoveryFilter(map[string]dbus.Variant) *dbus.Error { return nil }
func (s *stub) StartDiscovery() *dbus.Error {
	if s.refuse == nil {
		return nil
	}
	return dbus.NewError(s.refuse.Error(), []any{"no"})
}

// newStub owns BlueZ's name.
func newStub(t *testing.T, bus *desktoptest.Bus, s *stub) *dbus.Conn {
	t.Helper()
	c := bus.Dial()
	for path, iface := range map[dbus.ObjectPath]string{"/": manager, "/org/bluez/hci0": adapterIs} {
		if err := c.Export(s, path, iface); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.RequestName(bluez, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRefusals(t *testing.T) {
	for name, want := range map[string]string{
		bluez + ".Error.InProgress":    "<nil>",
		bluez + ".Error.NotReady":      "powered off",
		daemon + ".Error.AccessDenied": "add it to the group bluetooth",
		bluez + ".Error.Failed":        "BlueZ doesn't scan: no",
	} {
		bus := desktoptest.NewBus(t)
		newStub(t, bus, &stub{refuse: fmt.Errorf("%s", name)})
		r := run(t, Options{Bus: bus.Address})
		r.says(want)
		r.stop()
	}
}

func advertise(t testing.TB, c *dbus.Conn, n int, data []byte) {
	path := dbus.ObjectPath(fmt.Sprintf("/org/bluez/hci0/dev_00_00_00_00_%02X_%02X", n>>8, n&0xff))
	p := map[string]dbus.Variant{"RSSI": dbus.MakeVariant(int16(-50)), "ManufacturerData": dbus.MakeVariant(map[uint16]dbus.Variant{companyRuuvi: dbus.MakeVariant(data)})}
	if err := c.Emit(path, properties+".PropertiesChanged", deviceIs, p, []string{}); err != nil {
		t.Fatal(err)
	}
}

// TestFlood sends 5,000 advertisements of 3,000 devices at once, while nothing is stored, and checks
// that each is an event or counted, and the table bounded.
func TestFlood(t *testing.T) {
	const many, all = 3000, 5000
	bus := desktoptest.NewBus(t)
	c := newStub(t, bus, &stub{})
	env := kindtest.NewBus()
	s := New(Options{Bus: bus.Address, MinRSSI: -127}, env)
	gate, posted := make(chan struct{}), make(chan struct{}, 1)
	stop := env.Start(t, s, func(ctx context.Context) error {
		return s.Stream(ctx, func(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error {
			select {
			case posted <- struct{}{}:
			default:
			}
			select {
			case <-gate:
			case <-ctx.Done():
				return ctx.Err()
			}
			return env.Post(ctx, at, fields, done)
		})
	})
	env.Eventually(t, "it scans", func() bool { return env.Last() == "<nil>" })
	data := unhex(t, ruuvi205)
	for i := range all {
		data[17] = byte(i / many)
		advertise(t, c, i%many, data)
		if i == 0 {
			<-posted // it is in post, and stays there
		}
	}
	desktoptest.Eventually(t, "all have come", func() bool { return s.missed.Load() == all-1-maxQueue })
	close(gate)
	env.Eventually(t, "each advertisement is an event or lost", func() bool {
		return len(env.Events) == 1+maxQueue && env.Losses["more Bluetooth advertisements came than could be stored"] == all-1-maxQueue
	})
	advertise(t, c, many, data) // it has room again
	env.Eventually(t, "the last one is an event", func() bool { return len(env.Events) == 1+maxQueue+1 })
	stop()
	if n := s.devices.order.Len(); n != maxDevices || s.devices.forgotten.n < many-maxDevices {
		t.Errorf("%d devices are remembered, %d were forgotten", n, s.devices.forgotten.n)
	}
}

// TestStrangersAreIgnored has signals of other programs, because any client may send us one.
func TestStrangersAreIgnored(t *testing.T) {
	l := &link{advertisements: make(chan advertisement, maxQueue), missed: new(atomic.Int64), wake: make(chan struct{}, 1), owner: ":1.1"}
	p := map[string]dbus.Variant{"RSSI": dbus.MakeVariant(int16(-50))}
	deliver := func(sender, iface, member, path string, body ...any) {
		l.DeliverSignal(iface, member, &dbus.Signal{Sender: sender, Path: dbus.ObjectPath(path), Body: body})
	}
	const path = "/org/bluez/hci0/dev_00_00_00_00_00_01"
	deliver(":1.9", properties, "PropertiesChanged", path, deviceIs, p, []string{})
	deliver(":1.9", manager, "InterfacesAdded", "/", dbus.ObjectPath(path), map[string]map[string]dbus.Variant{deviceIs: p, adapterIs: {}})
	deliver(":1.9", manager, "InterfacesRemoved", "/", dbus.ObjectPath(path), []string{adapterIs})
	deliver(":1.9", daemon, "NameOwnerChanged", "/", bluez, ":1.1", ":1.9")
	deliver(daemon, daemon, "NameOwnerChanged", "/", "org.other", ":1.1", ":1.9")
	// BlueZ itself, but nonsense.
	for _, body := range [][]any{{}, {deviceIs}, {7, 7, 7}, {deviceIs, 7, 7}, {adapterIs, "x", 7}} {
		deliver(":1.1", properties, "PropertiesChanged", path, body...)
		deliver(":1.1", manager, "InterfacesAdded", "/", body...)
		deliver(":1.1", manager, "InterfacesRemoved", "/", body...)
	}
	for _, path := range []string{"/org/bluez/hci0", "/org/bluez/hci0/dev_", "/org/bluez/hci0/dev_00_00_00_00_00_0G", path + "/service0001"} {
		deliver(":1.1", properties, "PropertiesChanged", path, deviceIs, p, []string{})
	}
	if len(l.advertisements) != 0 || len(l.wake) != 0 || l.owner != ":1.1" {
		t.Errorf("%d advertisements, %d wakes, the owner is %s", len(l.advertisements), len(l.wake), l.owner)
	}
	deliver(":1.1", properties, "PropertiesChanged", path, deviceIs, p, []string{})
	deliver(":1.1", manager, "InterfacesAdded", "/", dbus.ObjectPath(path), map[string]map[string]dbus.Variant{deviceIs: p})
	deliver(daemon, daemon, "NameOwnerChanged", "/", bluez, ":1.1", "")
	deliver("", properties, "PropertiesChanged", path, deviceIs, p, []string{}) // nobody
	if len(l.advertisements) != 2 || len(l.wake) != 1 || l.owner != "" {
		t.Errorf("%d advertisements, %d wakes, the owner is %q", len(l.advertisements), len(l.wake), l.owner)
	}
}

// TestTheTableIsBounded has more devices than are remembered.
func TestTheTableIsBounded(t *testing.T) {
	env := kindtest.NewBus()
	table := newDevices(env.Log())
	for i := range 10000 {
		d := table.get(fmt.Sprint(i))
		for k := range 100 {
			d.remember(seen{key: fmt.Sprint(k)})
		}
		table.get("the first") // is never silent
	}
	if table.order.Len() != maxDevices || len(table.byAddress) != maxDevices || table.forgotten.n != 10001-maxDevices {
		t.Errorf("%d and %d devices, %d forgotten", table.order.Len(), len(table.byAddress), table.forgotten.n)
	}
	if d := table.get("9999"); len(d.seen) != maxSeen || d.seen[0].key != "92" {
		t.Errorf("%v", d.seen)
	}
	if d := table.order.Front().Value.(*device); d.address != fmt.Sprint(10000-maxDevices+1) {
		t.Errorf("the longest silent is %s", d.address)
	}
	if n := strings.Count(env.Logged(), "more Bluetooth devices"); n != 13 {
		t.Errorf("logged %d times", n)
	}
}

// BenchmarkAdvertisement is the cost of one advertisement, from the signal to the event.
func BenchmarkAdvertisement(b *testing.B) {
	env := kindtest.NewBus()
	s := New(defaults(), env)
	data := unhex(b, ruuvi205)
	post := func(context.Context, time.Time, map[string]any, func(error)) error { return nil }
	b.ReportAllocs()
	for i := range b.N {
		data[16], data[17] = byte(i>>8), byte(i)
		p := map[string]dbus.Variant{"RSSI": dbus.MakeVariant(int16(-50)), "ManufacturerData": dbus.MakeVariant(map[uint16]dbus.Variant{companyRuuvi: dbus.MakeVariant(data)})}
		if err := s.received(b.Context(), advertisement{time.Now(), "/", fmt.Sprint(i % 3000), p}, post); err != nil {
			b.Fatal(err)
		}
	}
}

// TestNothingIsLeftOver starts and stops the source repeatedly.
func TestNothingIsLeftOver(t *testing.T) {
	bus := desktoptest.NewBus(t)
	newStub(t, bus, &stub{})
	once := func() {
		r := run(t, Options{Bus: bus.Address})
		r.says("<nil>")
		r.stop()
	}
	once()
	before := runtime.NumGoroutine()
	for range 5 {
		once()
	}
	kindtest.NoMoreGoroutines(t, before)
}
