// This file is the only list of the kinds of plugins. A new kind is a package with a function
// Kinds, which implements the contract in plugins/kind, and its name here.

package main

import (
	"slices"

	"github.com/postbus/postbus/devices/ble"
	"github.com/postbus/postbus/devices/desktop"
	"github.com/postbus/postbus/devices/gpio"
	"github.com/postbus/postbus/devices/host"
	"github.com/postbus/postbus/devices/i2c"
	"github.com/postbus/postbus/devices/iio"
	"github.com/postbus/postbus/devices/input"

	"github.com/postbus/postbus/devices/modbus"
	"github.com/postbus/postbus/devices/notify"
	"github.com/postbus/postbus/devices/onewire"
	"github.com/postbus/postbus/devices/process"
	"github.com/postbus/postbus/devices/pwm"
	"github.com/postbus/postbus/devices/serial"
	"github.com/postbus/postbus/devices/unit"
	"github.com/postbus/postbus/devices/usb"
	"github.com/postbus/postbus/plugins"
	"github.com/postbus/postbus/plugins/bridge"
	"github.com/postbus/postbus/plugins/exec"
	"github.com/postbus/postbus/plugins/execd"
	"github.com/postbus/postbus/plugins/file"
	"github.com/postbus/postbus/plugins/http"
	"github.com/postbus/postbus/plugins/mail"
	"github.com/postbus/postbus/plugins/mqtt"
	"github.com/postbus/postbus/plugins/ping"
	"github.com/postbus/postbus/plugins/sql"
	"github.com/postbus/postbus/plugins/tcp"
	"github.com/postbus/postbus/plugins/timer"
	"github.com/postbus/postbus/plugins/udp"
	"github.com/postbus/postbus/plugins/uds"
	"github.com/postbus/postbus/plugins/webhook"
	"github.com/postbus/postbus/plugins/websocket"
)

// catalog lists every kind.
func catalog() *plugins.Catalog {
	return plugins.NewCatalog(slices.Concat(
		mqtt.Kinds(), timer.Kinds(), host.Kinds(), process.Kinds(), unit.Kinds(), gpio.Kinds(),
		pwm.Kinds(), i2c.Kinds(), iio.Kinds(), onewire.Kinds(), input.Kinds(), usb.Kinds(), serial.Kinds(),
		modbus.Kinds(), ble.Kinds(), desktop.Kinds(), notify.Kinds(), webhook.Kinds(), http.Kinds(), exec.Kinds(),
		execd.Kinds(), file.Kinds(), udp.Kinds(), tcp.Kinds(), uds.Kinds(), bridge.Kinds(), ping.Kinds(), sql.Kinds(),
		mail.Kinds(), websocket.Kinds(),
	)...)
}

// described are the kinds that can list this machine's devices, for `postbus devices`.
var described = []struct {
	kind      string
	linuxOnly bool
	describe  func() []string // as plugin file text, with comments
}{
	{"gpio", true, gpio.Describe}, {"pwm", true, pwm.Describe}, {"i2c", true, i2c.Describe}, {"iio", true, iio.Describe}, {"onewire", true, onewire.Describe},
	{"input", true, input.Describe}, {"usb", true, usb.Describe}, {"serial", false, serial.Describe}, {"ble", true, ble.Describe}, {"desktop", true, desktop.Describe},
	{"notify", false, notify.Describe}, {"unit", true, unit.Describe}, {"process", false, process.Describe},
}
