//go:build linux

// This file tests with a real kernel: a PC into whose USB ports the host plugs devices.

package usb

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/vmtest"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestMain(m *testing.M) { os.Exit(vmtest.Main(m)) }

func TestPortsOfAKernel(t *testing.T) {
	vmtest.Test(t, vmtest.Machine{
		Arch:    "amd64",
		Modules: []string{"xhci-pci", "usbserial", "ftdi_sio", "usbhid", "hid-generic"},
		Args:    []string{"-device", "qemu-xhci,id=xhci", "-chardev", "null,id=ser"},
		Run:     "^TestGuest",
		Answer: func(vm *vmtest.VM, words []string) (string, error) {
			var err error
			switch words[0] {
			case "plug": // DRIVER ID
				args := map[string]any{"driver": words[1], "id": words[2], "bus": "xhci.0", "port": "2"}
				if words[1] == "usb-serial" {
					args["port"], args["chardev"], args["always-plugged"] = "1", "ser", true // otherwise it is plugged in only when the other end is connected
				}
				_, err = vm.QMP("device_add", args)
			case "unplug": // ID
				_, err = vm.QMP("device_del", map[string]any{"id": words[1]})
			}
			return "", err
		},
	})
}

// run runs a source.
func run(t *testing.T, o Options) (next func() map[string]any, stop func()) {
	t.Helper()
	o.Sys = "/sys"
	b := kindtest.NewBus()
	end := b.Start(t, New(o, b), nil)
	return func() map[string]any { t.Helper(); return b.Next(t) }, func() {
		t.Helper()
		end()
		b.None(t)
	}
}

func words(e map[string]any) string {
	return fmt.Sprint(e["action"], " ", e["vendor"], ":", e["product"], " ", e["name"], ", ", e["manufacturer"], ", ", e["class"], " ", e["classes"])
}

func TestGuestPlugAndUnplug(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	all, stopAll := run(t, Options{})
	serial, stopSerial := run(t, Options{Vendor: "0403"})
	const ftdi, keyboard = " 0403:6001 QEMU USB SERIAL, QEMU, vendor [vendor]", " 0627:0001 QEMU USB Keyboard, QEMU, hid [hid]"
	var path any
	for range 2 {
		began := time.Now()
		vmtest.Ask(t, "plug", "usb-serial", "s")
		e := all()
		if got := words(e); got != "add"+ftdi || path != nil && e["path"] != path {
			t.Errorf("%s in %v, before in %v", got, e["path"], path)
		}
		path = e["path"]
		vmtest.Figure("plugged in: reported after %s: %v", time.Since(began).Round(time.Millisecond), e)
		vmtest.Ask(t, "plug", "usb-kbd", "k")
		if got := words(all()); got != "add"+keyboard {
			t.Error(got)
		}
		began = time.Now()
		vmtest.Ask(t, "unplug", "s")
		e = all()
		if got := words(e); got != "remove"+ftdi || e["path"] != path || e["serial"] == nil { // of a removed device
			t.Errorf("%s, %v", got, e)
		}
		vmtest.Figure("unplugged: reported after %s", time.Since(began).Round(time.Millisecond))
		vmtest.Ask(t, "unplug", "k")
		if got := words(all()); got != "remove"+keyboard {
			t.Error(got)
		}
		for _, a := range []string{"add", "remove"} {
			if got := words(serial()); got != a+ftdi {
				t.Error(got)
			}
		}
	}
	stopAll()
	stopSerial()
}

func TestGuestInitial(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	next, stop := run(t, Options{})
	vmtest.Ask(t, "plug", "usb-kbd", "k2")
	next()
	stop()
	next, stop = run(t, Options{Initial: true})
	if got := words(next()); got != "present 0627:0001 QEMU USB Keyboard, QEMU, hid [hid]" {
		t.Error(got)
	}
	vmtest.Ask(t, "unplug", "k2")
	if got := words(next()); got != "remove 0627:0001 QEMU USB Keyboard, QEMU, hid [hid]" {
		t.Error(got)
	}
	stop()
	next, stop = run(t, Options{Initial: true, Class: "hub"})
	if got := next(); got["class"] != "hub" {
		t.Error(got)
	}
	next() // a controller has two
	stop()
	vmtest.Figure("%q", Describe())
}

// TestGuestNothingIsLeftOver opens and closes repeatedly.
func TestGuestNothingIsLeftOver(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	vmtest.NothingLeftOver(t, func() {
		_, stop := run(t, Options{})
		stop()
	})
}
