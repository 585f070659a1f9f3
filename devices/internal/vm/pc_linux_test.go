// This file is a PC: a keyboard and a serial adapter that are plugged in, used and unplugged.

package vm

import (
	"os/exec"
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/vmtest"
)

func TestPCKeyboard(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	p := postbus(t, "/tmp/pc", map[string]string{"plugged": `
source: {usb: {class: hid}}
publish:
  - topic: pc/usb/${event.action}
    payload: {name: "${event.name}"}
`})
	c := connect(t, p, "reader", false, nil)
	c.subscribe(t, 1, "pc/#")
	expect := func(want string) {
		t.Helper()
		if m := c.next(t); m.Topic()+" "+string(m.Payload()) != want {
			t.Errorf("%s %s, want %s", m.Topic(), m.Payload(), want)
		}
	}
	// A plugin file that is added while the program runs; its keyboard is not plugged in yet.
	write(t, p.dir+"/plugins/keys.yaml", `
source: {input: {device: QEMU QEMU USB Keyboard}}
publish:
  - topic: pc/key/${event.key}
    payload: "${event.value}"
`)
	state(t, p, "keys", func(s status) bool { return s.State == "degraded" })
	for range 2 {
		began := time.Now()
		vmtest.Ask(t, "plug")
		expect(`pc/usb/add {"name":"QEMU USB Keyboard"}`)
		vmtest.Figure("plugged in: at the subscriber after %s", time.Since(began).Round(time.Millisecond))
		state(t, p, "keys", func(s status) bool { return s.State == "running" })
		began = time.Now()
		vmtest.Ask(t, "down", "p")
		expect("pc/key/KEY_P press")
		vmtest.Figure("a key: at the subscriber after %s", time.Since(began).Round(time.Millisecond))
		vmtest.Ask(t, "up", "p")
		expect("pc/key/KEY_P release")
		vmtest.Ask(t, "unplug")
		expect(`pc/usb/remove {"name":"QEMU USB Keyboard"}`)
		state(t, p, "keys", func(s status) bool { return s.State == "degraded" })
	}
}

func TestPCSerialAdapter(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	if err := exec.Command("/bin/postbus", "plugin", "new", "serial").Run(); err != nil {
		vmtest.Figure("this postbus has no kind serial: nothing is shown of it")
		return
	}
	p := postbus(t, "/tmp/serial", nil)
	write(t, p.dir+"/plugins/adapter.yaml", `
sources:
  - serial: {port: "usb:0403:6001", format: json}
  - mqtt: {topics: [pc/display]}
publish:
  - when: event.topic == nil
    topic: pc/sensor
    payload: "${event.json}"
actions:
  - when: event.topic != nil
    serial: {port: "usb:0403:6001", text: "${event.text}"}
`)
	state(t, p, "adapter", func(s status) bool { return s.State == "degraded" }) // it is not plugged in yet
	c := connect(t, p, "reader", false, nil)
	c.subscribe(t, 1, "pc/sensor")
	for range 2 {
		vmtest.Ask(t, "attach")
		state(t, p, "adapter", func(s status) bool { return s.State == "running" })
		began := time.Now()
		vmtest.Ask(t, "say", "{\"celsius\": 21.5}\n")
		if got := string(c.next(t).Payload()); got != `{"celsius":21.5}` {
			t.Error(got)
		}
		vmtest.Figure("a line of a serial adapter: at the subscriber after %s", time.Since(began).Round(time.Millisecond))
		c.publish(t, "pc/display", "hello")
		if got := vmtest.Ask(t, "hear"); got != "hello\n" {
			t.Errorf("the other end hears %q", got)
		}
		vmtest.Ask(t, "detach")
		state(t, p, "adapter", func(s status) bool { return s.State == "degraded" })
	}
}
