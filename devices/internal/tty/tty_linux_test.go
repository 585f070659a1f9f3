//go:build linux

// This file tests which ports a machine lists and refuses.

package tty

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func setting() Setting {
	return Setting{Baud: 115200, DataBits: 8, StopBits: 1, Parity: "none", DTR: true, RTS: true}
}

func TestRefusals(t *testing.T) {
	_, taken := kindtest.PTY(t)
	other, err := Open(Name(taken), setting())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, free := kindtest.PTY(t)
	for _, c := range []struct {
		name   string
		dtr    bool
		want   string
		absent bool
	}{
		{taken, true, taken + " is busy: it is held by postbus itself, perhaps for another plugin", false},
		{file, true, file + " is not a serial port, or does not accept the settings of the file: ", false},
		{dir, true, "opening " + dir + ": ", false},
		{free, false, free + " is not a serial port, or does not accept the settings of the file: Invalid serial port: error getting modem bits status", false},
		{file + "x", true, "there is no " + file + "x; available: ", true},
		{"usb:ffff:ffff", true, "there is no port of usb:ffff:ffff; available: ", true},
		{"usb-x", true, "there is no /dev/serial/by-id/usb-x; available: ", true},
	} {
		set := setting()
		set.DTR = c.dtr
		_, err := Open(Name(c.name), set)
		if a := (Absent{}); err == nil || !strings.HasPrefix(err.Error(), c.want) || errors.As(err, &a) != c.absent {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(Name(taken), setting())
	if err != nil {
		t.Fatal("it is still taken:", err)
	}
	again.Close()
	refusal := &os.PathError{Op: "open", Path: file, Err: unix.EACCES}
	if err := refused(file, refusal); !strings.Contains(err.Error(), `KERNEL=="file", GROUP="dialout"`) && os.Getgid() == 0 {
		t.Error(err)
	}
}

// tree makes a machine with two FTDI adapters, one of them without a serial number, a modem, and a
// chip.
func tree(t *testing.T) roots {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := roots{dir + "/dev", dir + "/sys"}
	put := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, path string) {
		put(path+".x", "")
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	usb := r.sys + "/devices/pci/usb1/"
	for name, ids := range map[string][4]string{"1-1": {"0403", "6001", "A50285BI", "FT232R USB UART"}, "1-2": {"0403", "6001", "", "FT232R USB UART"}, "1-3": {"12d1", "1001", "", "Mobile"}} {
		put(usb+name+"/idVendor", ids[0]+"\n")
		put(usb+name+"/idProduct", ids[1]+"\n")
		put(usb+name+"/product", ids[3]+"\n")
		if ids[2] != "" {
			put(usb+name+"/serial", ids[2]+"\n")
		}
	}
	for tty, at := range map[string]string{"ttyUSB0": "1-1/1-1:1.0/ttyUSB0", "ttyUSB10": "1-2/1-2:1.0/ttyUSB10", "ttyACM0": "1-3/1-3:1.0"} {
		put(usb+at+"/uevent", "")
		link(usb+at, r.sys+"/class/tty/"+tty+"/device")
		put(r.dev+"/"+tty, "")
	}
	put(r.sys+"/devices/platform/fe201000.serial/uevent", "")
	for tty, kind := range map[string]string{"ttyAMA0": "32", "ttyS0": "0"} {
		link(r.sys+"/devices/platform/fe201000.serial", r.sys+"/class/tty/"+tty+"/device")
		put(r.sys+"/class/tty/"+tty+"/type", kind+"\n")
		put(r.dev+"/"+tty, "")
	}
	put(r.sys+"/class/tty/tty1/uevent", "")
	put(r.dev+"/tty1", "")
	put(r.dev+"/serial/by-id/x", "")
	link(r.dev+"/ttyUSB0", r.dev+"/serial/by-id/usb-FTDI_A50285BI-port0")
	return r
}

func TestWhichPortsThereAre(t *testing.T) {
	r := tree(t)
	got := strings.ReplaceAll(strings.Join(describe(list(r)), "\n"), r.dev, "/dev")
	want := `port: "usb:12d1:1001"  # /dev/ttyACM0, Mobile
port: "/dev/ttyAMA0"
port: "usb:0403:6001:A50285BI"  # /dev/ttyUSB0, usb-FTDI_A50285BI-port0, FT232R USB UART
port: "usb:0403:6001"  # /dev/ttyUSB10, FT232R USB UART`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for port, want := range map[Name]string{
		"usb:0403:6001:A50285BI":   "/dev/ttyUSB0",
		"usb:12d1:1001":            "/dev/ttyACM0",
		"usb-FTDI_A50285BI-port0":  "/dev/ttyUSB0",
		"usb:0403:6001":            "usb:0403:6001 has 2 ports: write port: and one of usb-FTDI_A50285BI-port0, /dev/ttyUSB10",
		"usb:1a86:7523":            "there is no port of usb:1a86:7523; available: /dev/ttyACM0 (usb:12d1:1001), /dev/ttyAMA0, /dev/ttyUSB0 (usb:0403:6001:A50285BI), /dev/ttyUSB10 (usb:0403:6001)",
		"usb-FTDI_A50285BI-port1":  "there is no /dev/serial/by-id/usb-FTDI_A50285BI-port1; available: /dev/ttyACM0 (usb:12d1:1001), /dev/ttyAMA0, /dev/ttyUSB0 (usb:0403:6001:A50285BI), /dev/ttyUSB10 (usb:0403:6001)",
		Name(r.dev + "/ttyUSB0"):   "/dev/ttyUSB0",
		Name(r.dev + "/tty/x/y/z"): "there is no /dev/tty/x/y/z; available: /dev/ttyACM0 (usb:12d1:1001), /dev/ttyAMA0, /dev/ttyUSB0 (usb:0403:6001:A50285BI), /dev/ttyUSB10 (usb:0403:6001)",
	} {
		path, err := find(port, r)
		if err != nil {
			path = err.Error()
		}
		if path = strings.ReplaceAll(path, r.dev, "/dev"); path != want {
			t.Errorf("%s:\ngot  %s\nwant %s", port, path, want)
		}
	}
	Describe() // must return
}
