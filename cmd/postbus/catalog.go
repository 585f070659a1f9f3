// This file is the only list of the kinds of plugins. A new kind is a package and a line here.

package main

import (
	"github.com/postbus/postbus/devices/desktop"
	"github.com/postbus/postbus/devices/gpio"
	"github.com/postbus/postbus/devices/host"
	"github.com/postbus/postbus/devices/i2c"
	"github.com/postbus/postbus/devices/input"
	"github.com/postbus/postbus/devices/modbus"
	"github.com/postbus/postbus/devices/notify"
	"github.com/postbus/postbus/devices/onewire"
	"github.com/postbus/postbus/devices/process"
	"github.com/postbus/postbus/devices/pwm"
	"github.com/postbus/postbus/devices/serial"
	"github.com/postbus/postbus/devices/tty"
	"github.com/postbus/postbus/devices/unit"
	"github.com/postbus/postbus/devices/usb"
	"github.com/postbus/postbus/plugins"
	"github.com/postbus/postbus/plugins/bridge"
	"github.com/postbus/postbus/plugins/exec"
	"github.com/postbus/postbus/plugins/execd"
	"github.com/postbus/postbus/plugins/file"
	"github.com/postbus/postbus/plugins/http"
	"github.com/postbus/postbus/plugins/mqtt"
	"github.com/postbus/postbus/plugins/tcp"
	"github.com/postbus/postbus/plugins/timer"
	"github.com/postbus/postbus/plugins/udp"
	"github.com/postbus/postbus/plugins/uds"
	"github.com/postbus/postbus/plugins/webhook"
)

// env is the parameter of each kind's constructor.
type env = *plugins.Env

// catalog lists every kind.
func catalog() *plugins.Catalog {
	bridged := plugins.NewStream("bridge", bridge.About, bridge.Sample, bridge.Defaults(), bridge.Event{},
		func(o bridge.Options, e env) *bridge.Source { return bridge.New(o, e) })
	bridged.Passthrough = bridge.Passthrough
	return plugins.NewCatalog(
		plugins.NewStream("mqtt", mqtt.About, mqtt.Sample, mqtt.Defaults(), mqtt.Event{},
			func(o mqtt.Options, e env) *mqtt.Source { return mqtt.New(o, e) }),
		plugins.NewAction("mqtt", mqtt.ActionAbout, mqtt.ActionSample, mqtt.ActionDefaults(),
			func(o mqtt.ActionOptions, e env) *mqtt.Action { return mqtt.NewAction(o, e) }),
		plugins.NewSource("timer", timer.About, timer.Sample, timer.Defaults(), timer.Event{},
			func(o timer.Options, e env) *timer.Source { return timer.New(o, e) }),
		plugins.NewSource("host", host.About, host.Sample, host.Defaults(), host.Event{},
			func(o host.Options, e env) *host.Source { return host.New(o, e) }),
		plugins.NewSource("process", process.About, process.Sample, process.Defaults(), process.Event{},
			func(o process.Options, e env) *process.Source { return process.New(o, e) }),
		plugins.NewSource("unit", unit.About, unit.Sample, unit.Defaults(), unit.Event{},
			func(o unit.Options, e env) *unit.Source { return unit.New(o, e) }),
		plugins.NewStream("gpio", gpio.About, gpio.Sample, gpio.Defaults(), gpio.Event{},
			func(o gpio.Options, e env) *gpio.Source { return gpio.New(o, e) }),
		plugins.NewAction("gpio", gpio.ActionAbout, gpio.ActionSample, gpio.ActionDefaults(),
			func(o gpio.ActionOptions, e env) *gpio.Action { return gpio.NewAction(o, e) }),
		plugins.NewAction("pwm", pwm.ActionAbout, pwm.ActionSample, pwm.ActionDefaults(),
			func(o pwm.ActionOptions, e env) *pwm.Action { return pwm.NewAction(o, e) }),
		plugins.NewSource("i2c", i2c.About, i2c.Sample, i2c.Defaults(), i2c.Event{},
			func(o i2c.Options, e env) *i2c.Source { return i2c.New(o, e) }),
		plugins.NewSource("onewire", onewire.About, onewire.Sample, onewire.Defaults(), onewire.Event{},
			func(o onewire.Options, e env) *onewire.Source { return onewire.New(o, e) }),
		plugins.NewStream("input", input.About, input.Sample, input.Defaults(), input.Event{},
			func(o input.Options, e env) *input.Source { return input.New(o, e) }),
		plugins.NewSource("usb", usb.About, usb.Sample, usb.Defaults(), usb.Event{},
			func(o usb.Options, e env) *usb.Source { return usb.New(o, e) }),
		plugins.NewStream("serial", serial.About, serial.Sample, serial.Defaults(), serial.Event{},
			func(o serial.Options, e env) *serial.Source { return serial.New(o, e) }),
		plugins.NewAction("serial", serial.ActionAbout, serial.ActionSample, serial.ActionDefaults(),
			func(o serial.ActionOptions, e env) *serial.Action { return serial.NewAction(o, e) }),
		plugins.NewSource("modbus", modbus.About, modbus.Sample, modbus.Defaults(), modbus.Event{},
			func(o modbus.Options, e env) *modbus.Source { return modbus.New(o, e) }),
		plugins.NewAction("modbus", modbus.ActionAbout, modbus.ActionSample, modbus.ActionDefaults(),
			func(o modbus.ActionOptions, e env) *modbus.Action { return modbus.NewAction(o, e) }),
		plugins.NewSource("desktop", desktop.About, desktop.Sample, desktop.Defaults(), desktop.Event{},
			func(o desktop.Options, e env) *desktop.Source { return desktop.New(o, e) }),
		plugins.NewAction("desktop", desktop.ActionAbout, desktop.ActionSample, desktop.ActionDefaults(),
			func(o desktop.ActionOptions, e env) *desktop.Action { return desktop.NewAction(o, e) }),
		plugins.NewSource("notify", notify.About, notify.Sample, notify.Defaults(), notify.Event{},
			func(o notify.Options, e env) *notify.Source { return notify.New(o, e) }),
		plugins.NewAction("notify", notify.ActionAbout, notify.ActionSample, notify.ActionDefaults(),
			func(o notify.ActionOptions, e env) *notify.Action { return notify.NewAction(o, e) }),
		plugins.NewStream("webhook", webhook.About, webhook.Sample, webhook.Defaults(), webhook.Event{},
			func(o webhook.Options, e env) *webhook.Source { return webhook.New(o, e) }).Answering(),
		plugins.NewSource("http", http.About, http.Sample, http.Defaults(), http.Event{},
			func(o http.Options, e env) *http.Source { return http.New(o, e) }),
		plugins.NewAction("http", http.ActionAbout, http.ActionSample, http.ActionDefaults(),
			func(o http.ActionOptions, e env) *http.Action { return http.NewAction(o, e) }),
		plugins.NewSource("exec", exec.About, exec.Sample, exec.Defaults(), exec.Event{},
			func(o exec.Options, e env) *exec.Source { return exec.New(o, e) }),
		plugins.NewAction("exec", exec.ActionAbout, exec.ActionSample, exec.ActionDefaults(),
			func(o exec.ActionOptions, e env) *exec.Action { return exec.NewAction(o, e) }),
		plugins.NewStream("execd", execd.About, execd.Sample, execd.Defaults(), execd.Event{},
			func(o execd.Options, e env) *execd.Source { return execd.New(o, e) }),
		plugins.NewAction("execd", execd.ActionAbout, execd.ActionSample, execd.ActionDefaults(),
			func(o execd.ActionOptions, e env) *execd.Action { return execd.NewAction(o, e) }).Handing(),
		plugins.NewStream("file", file.About, file.Sample, file.Defaults(), file.Event{},
			func(o file.Options, e env) *file.Source { return file.New(o, e) }),
		plugins.NewAction("file", file.ActionAbout, file.ActionSample, file.ActionDefaults(),
			func(o file.ActionOptions, e env) *file.Action { return file.NewAction(o, e) }),
		plugins.NewStream("udp", udp.About, udp.Sample, udp.Defaults(), udp.Event{},
			func(o udp.Options, e env) *udp.Source { return udp.New(o, e) }),
		plugins.NewAction("udp", udp.ActionAbout, udp.ActionSample, udp.ActionDefaults(),
			func(o udp.ActionOptions, e env) *udp.Action { return udp.NewAction(o, e) }),
		plugins.NewStream("tcp", tcp.About, tcp.Sample, tcp.Defaults(), tcp.Event{},
			func(o tcp.Options, e env) *tcp.Source { return tcp.New(o, e) }),
		plugins.NewAction("tcp", tcp.ActionAbout, tcp.ActionSample, tcp.ActionDefaults(),
			func(o tcp.ActionOptions, e env) *tcp.Action { return tcp.NewAction(o, e) }),
		plugins.NewStream("uds", uds.About, uds.Sample, uds.Defaults(), uds.Event{},
			func(o uds.Options, e env) *uds.Source { return uds.New(o, e) }).Answering(),
		plugins.NewAction("uds", uds.ActionAbout, uds.ActionSample, uds.ActionDefaults(),
			func(o uds.ActionOptions, e env) *uds.Action { return uds.NewAction(o, e) }),
		bridged,
		plugins.NewAction("bridge", bridge.ActionAbout, bridge.ActionSample, bridge.ActionDefaults(),
			func(o bridge.ActionOptions, e env) *bridge.Action { return bridge.NewAction(o, e) }),
	)
}

// described are the kinds that can list this machine's devices, for `postbus devices`.
var described = []struct {
	kind      string
	linuxOnly bool
	describe  func() []string // as plugin file text, with comments
}{
	{"gpio", true, gpio.Describe}, {"pwm", true, pwm.Describe}, {"i2c", true, i2c.Describe}, {"onewire", true, onewire.Describe},
	{"input", true, input.Describe}, {"usb", true, usb.Describe}, {"serial", false, tty.Describe}, {"desktop", true, desktop.Describe},
	{"notify", false, notify.Describe}, {"unit", true, unit.Describe}, {"process", false, process.Describe},
}
