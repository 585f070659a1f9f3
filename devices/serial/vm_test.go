//go:build linux

// This file tests with a real kernel: a PC with a real ttyUSB0, whose adapter the host plugs and
// unplugs.

package serial

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/tty"
	"github.com/postbus/postbus/devices/internal/vmtest"
)

func TestMain(m *testing.M) { os.Exit(vmtest.Main(m)) }

func TestPortsOfAKernel(t *testing.T) {
	dir, err := os.MkdirTemp("", "serial") // not t.TempDir: a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var wire net.Conn // the other end of the adapter
	var in *bufio.Reader
	defer func() {
		if wire != nil {
			wire.Close()
		}
	}()
	vmtest.Test(t, vmtest.Machine{
		Arch:    "amd64",
		Modules: []string{"xhci-pci", "usbserial", "ftdi_sio"},
		Args:    []string{"-device", "qemu-xhci,id=xhci", "-chardev", "socket,id=ser,path=" + dir + "/s,server=on,wait=off"},
		Run:     "^TestGuest",
		Answer: func(vm *vmtest.VM, words []string) (string, error) {
			if wire == nil {
				var err error
				if wire, err = net.Dial("unix", dir+"/s"); err != nil {
					return "", err
				}
				in = bufio.NewReader(wire)
			}
			if err := wire.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				return "", err
			}
			switch words[0] {
			case "plug":
				for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // the previous adapter is removed asynchronously
					_, err := vm.QMP("device_add", map[string]any{"driver": "usb-serial", "id": "s", "bus": "xhci.0", "port": "1", "chardev": "ser", "always-plugged": true})
					if err == nil || !strings.Contains(err.Error(), "is in use") || time.Now().After(end) {
						return "", err
					}
				}
			case "unplug":
				_, err := vm.QMP("device_del", map[string]any{"id": "s"})
				return "", err
			case "say":
				_, err := io.WriteString(wire, words[1])
				return "", err
			case "hear": // a line
				line, err := in.ReadString('\n')
				return line, err
			}
			return "", fmt.Errorf("what is %q?", words)
		},
	})
}

// TestGuest is one test, since there is one adapter.
func TestGuest(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := newBus()
	o := options("usb:0403:6001")
	a := NewAction(actionOptions("usb:0403:6001"), b)
	defer a.Close()
	stop := b.start(t, o)
	b.Eventually(t, "waiting for it", func() bool { return strings.Contains(b.Last(), "there is no port of usb:0403:6001; available: ") })
	if err := a.Do(t.Context(), Args{Text: "x"}); err == nil {
		t.Error("an absent port was written to")
	}
	for i := range 3 {
		began := time.Now()
		vmtest.Ask(t, "plug")
		b.well(t)
		vmtest.Figure("plugged in: open after %s", time.Since(began).Round(time.Millisecond))
		vmtest.Ask(t, "say", fmt.Sprintf("hello %d\r\nhalf a li", i))
		b.texts(t, fmt.Sprintf("hello %d", i))
		if err := a.Do(t.Context(), Args{Text: fmt.Sprintf("answer %d", i)}); err != nil {
			t.Error(err)
		}
		if got := vmtest.Ask(t, "hear"); got != fmt.Sprintf("answer %d\n", i) {
			t.Errorf("the host heard %q", got)
		}
		if list := strings.Join(tty.Describe(), "\n"); !strings.Contains(list, `port: "usb:0403:6001:`) || !strings.Contains(list, "/dev/ttyUSB0, QEMU USB SERIAL") {
			t.Errorf("described: %s", list)
		} else if i == 0 {
			vmtest.Figure("%q", list)
		}
		began = time.Now()
		vmtest.Ask(t, "unplug")
		b.Eventually(t, "it is gone", func() bool { return strings.Contains(b.Last(), "waiting for it") })
		vmtest.Figure("unplugged: reported after %s", time.Since(began).Round(time.Millisecond))
	}
	if b.Losses[lostPart] != 3 {
		t.Errorf("lost %v", b.Losses)
	}
	vmtest.Ask(t, "plug")
	b.well(t)

	// A thousand lines, and a busy port.
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	began := time.Now()
	vmtest.Ask(t, "say", text.String())
	for i := range 1000 {
		b.texts(t, fmt.Sprintf("line %d", i))
	}
	vmtest.Figure("1,000 lines in %s", time.Since(began).Round(time.Millisecond))
	s := New(options("/dev/ttyUSB0"), newBus())
	if err := s.Open(t.Context()); err == nil || err.Error() != "/dev/ttyUSB0 is busy: it is held by postbus itself, perhaps for another plugin" {
		t.Error(err)
	}
	s.Close()
	b.Keep(true)
	stop()
	o.DTR, o.RTS, o.Baud, o.Parity = false, false, 250000, "even" // the port has these lines, and a speed that is in no table
	stop = b.start(t, o)
	b.Keep(false)
	b.well(t)
	vmtest.Ask(t, "say", "after\n")
	b.texts(t, "after")
	stop()
	if err := a.Do(t.Context(), Args{Text: "alone"}); err != nil {
		t.Error(err)
	}
	if got := vmtest.Ask(t, "hear"); got != "alone\n" {
		t.Errorf("the host heard %q", got)
	}
}
