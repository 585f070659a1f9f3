package usb

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// tree makes a sysfs with the files of a text "path value".
func tree(t *testing.T, files string) string {
	t.Helper()
	sys := t.TempDir()
	for line := range strings.Lines(files) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		p := filepath.Join(sys, "bus/usb/devices", name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return sys
}

const adapter = `
	1-1.4/idVendor 0403
	1-1.4/idProduct 6001
	1-1.4/product FT232R USB UART
	1-1.4/manufacturer FTDI
	1-1.4/serial A50285BI
	1-1.4/bDeviceClass 00
	1-1.4/bNumInterfaces  1
	1-1.4/busnum 1
	1-1.4/devnum 5
	1-1.4:1.0/bInterfaceClass ff
`

const headset = `
	2-1/idVendor 1234
	2-1/idProduct 0001
	2-1/bDeviceClass ef
	2-1/busnum 2
	2-1/devnum 3
	2-1:1.0/bInterfaceClass 01
	2-1:1.1/bInterfaceClass 03
	2-1:1.2/bInterfaceClass 42
	usb1/idVendor 1d6b
	usb1/idProduct 0002
	usb1/product xHCI Host Controller
	usb1/bDeviceClass 09
	usb1/busnum 1
	usb1/devnum 1
`

func TestWhatDevicesSay(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file's name can't have a colon here")
	}
	got := list(tree(t, adapter+headset))
	want := []device{
		{Path: "1-1.4", Vendor: "0403", Product: "6001", Name: "FT232R USB UART", Manufacturer: "FTDI", Serial: "A50285BI", Class: "vendor", Classes: []string{"vendor"}, Bus: 1, Number: 5},
		{Path: "2-1", Vendor: "1234", Product: "0001", Name: "1234:0001", Class: "audio", Classes: []string{"audio", "hid", "class_42", "miscellaneous"}, Bus: 2, Number: 3},
		{Path: "usb1", Vendor: "1d6b", Product: "0002", Name: "xHCI Host Controller", Class: "hub", Classes: []string{"hub"}, Bus: 1, Number: 1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"all but hubs": {Options{}, "1-1.4 2-1"},
		"hubs":         {Options{Hubs: true}, "1-1.4 2-1 usb1"},
		"class hub":    {Options{Class: "hub"}, "usb1"},
		"a part":       {Options{Class: "hid"}, "2-1"},
		"vendor":       {Options{Vendor: "0403"}, "1-1.4"},
		"product":      {Options{Vendor: "0403", Product: "6015"}, ""},
		"serial":       {Options{Serial: "A50285BI"}, "1-1.4"},
	} {
		t.Run(name, func(t *testing.T) {
			var paths []string
			for _, d := range got {
				if New(c.o, nil).wants(d) {
					paths = append(paths, d.Path)
				}
			}
			if s := strings.Join(paths, " "); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
	f := got[1].fields("add")
	if f["serial"] != nil || f["manufacturer"] != nil || f["action"] != "add" {
		t.Errorf("%v", f)
	}
}

func message(lines ...string) []byte { return []byte(strings.Join(lines, "\x00") + "\x00") }

func TestUevents(t *testing.T) {
	const path = "/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.4"
	for name, c := range map[string]struct {
		message []byte
		want    uevent
		ok      bool
	}{
		"add":     {message("add@"+path, "ACTION=add", "DEVPATH="+path, "SUBSYSTEM=usb", "DEVTYPE=usb_device", "PRODUCT=403/6001/600"), uevent{"add", "1-1.4"}, true},
		"part":    {message("add@"+path, "ACTION=add", "DEVPATH="+path+"/1-1.4:1.0", "SUBSYSTEM=usb", "DEVTYPE=usb_interface"), uevent{}, false},
		"another": {message("add@/devices/x", "ACTION=add", "DEVPATH=/devices/x", "SUBSYSTEM=tty"), uevent{}, false},
		"udev's":  {message("libudev", "ACTION=add", "DEVPATH="+path, "SUBSYSTEM=usb", "DEVTYPE=usb_device"), uevent{}, false},
		"empty":   {nil, uevent{}, false},
		"up":      {message("add@x", "ACTION=add", "DEVPATH=/..", "SUBSYSTEM=usb", "DEVTYPE=usb_device"), uevent{"add", ".."}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if u, ok := readUevent(c.message); ok != c.ok || ok && u != c.want {
				t.Errorf("%+v %v", u, ok)
			}
		})
	}
}

func FuzzUevent(f *testing.F) {
	f.Add(message("add@/devices/x/1-1", "ACTION=add", "DEVPATH=/devices/x/1-1", "SUBSYSTEM=usb", "DEVTYPE=usb_device"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, ok := readUevent(b); ok && strings.Contains(u.port, "/") {
			t.Errorf("the port is %q", u.port)
		}
	})
}

func TestIDs(t *testing.T) {
	for in, want := range map[string]string{"0403": "0403", "0x1A86": "1a86", "403": "0403", "": "", "12345": "", "xyz": ""} {
		var i ID
		if err := i.UnmarshalText([]byte(in)); string(i) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %s, %v", in, i, err)
		}
	}
	if errs := (Options{Product: "6001"}).Check(); len(errs) != 1 {
		t.Error(errs)
	}
}
