// This file is a PC with a pressure sensor that the kernel's own driver reads: a BMP280, whose registers
// i2c-stub holds.

package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/vmtest"
)

// Of linux/i2c-dev.h.
const (
	i2cSlaveForce = 0x0706
	i2cSMBus      = 0x0720
	i2cByteData   = 2
)

// registers writes registers of the chip at address 0x76 of the stub, byte by byte, and returns the folder
// of its bus.
func registers(t *testing.T, at byte, values ...byte) (bus string) {
	t.Helper()
	buses, err := filepath.Glob("/sys/bus/i2c/devices/i2c-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range buses {
		if name, _ := os.ReadFile(b + "/name"); strings.Contains(string(name), "stub") {
			bus = b
		}
	}
	f, err := os.OpenFile("/dev/"+filepath.Base(bus), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), i2cSlaveForce, 0x76); err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		data := [34]byte{v}
		request := struct {
			write, command byte
			size           uint32
			data           *byte
		}{0, at + byte(i), i2cByteData, &data[0]}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), i2cSMBus, uintptr(unsafe.Pointer(&request))); errno != 0 {
			t.Fatal(errno)
		}
	}
	return bus
}

// TestPCPressureSensor has the numbers of the data sheet's example, BST-BMP280-DS001, 3.12.
func TestPCPressureSensor(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	little := func(list ...int) (out []byte) {
		for _, n := range list {
			out = append(out, byte(n), byte(n>>8))
		}
		return out
	}
	registers(t, 0xd0, 0x58) // its identity
	registers(t, 0x88, little(27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)...)
	bus := registers(t, 0xf7, 0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00)
	p := postbus(t, "/tmp/pressure", map[string]string{"other": "source: {timer: {every: 1h}}\npublish: [{topic: pc/other, payload: x}]\n"})
	c := connect(t, p, "reader", false, nil)
	c.subscribe(t, 1, "pc/air")
	write(t, p.dir+"/plugins/air.yaml", `
source: {iio: {every: 1s, names: {bmp280: desk}}}
publish:
  - changed: event.values
    topic: pc/air
    payload: "${event.name} ${round(event.temperature, 2)} °C ${round(event.pressure, 2)} hPa"
`)
	state(t, p, "air", func(s status) bool { return s.State == "degraded" }) // no driver yet
	if err := os.WriteFile(bus+"/new_device", []byte("bmp280 0x76\n"), 0); err != nil {
		t.Fatal(err)
	}
	if m := c.next(t); string(m.Payload()) != "desk 25.08 °C 1006.53 hPa" {
		t.Errorf("%s", m.Payload())
	}
	state(t, p, "air", func(s status) bool { return s.State == "running" })
	registers(t, 0xfa, 0x70)
	if m := c.next(t); !strings.HasPrefix(string(m.Payload()), "desk 7.") {
		t.Errorf("%s", m.Payload())
	}
}
