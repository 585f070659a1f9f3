//go:build linux

// The tests of what a machine has and refuses, and of what is left over.

package serial

import (
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	p := newPTY(t)
	other, err := openLine(p.port, Defaults().setting())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	free := newPTY(t)
	dtr := options(free.port)
	dtr.DTR = false
	for want, o := range map[string]Options{
		p.port + " is busy: it is held by postbus itself, perhaps for another plugin": options(p.port),
		file + " is no serial port": options(file),
		free.port + " is no serial port, or can't be set as the file says: Invalid serial port: error getting modem bits status": dtr,
	} {
		s := New(o, newBus())
		if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	refusal := &os.PathError{Op: "open", Path: file, Err: unix.EACCES}
	if err := refused(file, refusal); !strings.Contains(err.Error(), `KERNEL=="file", GROUP="dialout"`) && os.Getgid() == 0 {
		t.Error(err)
	}
	if g, err := user.LookupGroup("dialout"); err == nil && g.Gid == "20" && os.Chown(file, -1, 20) == nil && os.Chmod(file, 0o660) == nil {
		if err := refused(file, refusal); !strings.Contains(err.Error(), "it is for the group dialout; add the user that runs postbus (sudo usermod -aG dialout USER)") {
			t.Error(err)
		}
	}
}

// TestBusyPortIsWaitedFor has another program open the port when it comes back.
func TestBusyPortIsWaitedFor(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "ttyUSB0")
	p, b := newPTY(t), newBus()
	other, err := openLine(p.port, Defaults().setting())
	if err != nil {
		t.Fatal(err)
	}
	b.start(t, options(link))
	if err := os.Symlink(p.port, link); err != nil {
		t.Fatal(err)
	}
	b.Eventually(t, "it is busy", func() bool { return strings.Contains(b.Last(), p.port+" is busy: it is held by postbus itself") })
	other.Close()
	b.well(t)
	p.say(t, "hello\n")
	b.texts(t, "hello")
}

// tree makes a machine with two FTDI adapters, one of them without a serial number, a modem, and a chip.
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
	for port, want := range map[Port]string{
		"usb:0403:6001:A50285BI":   "/dev/ttyUSB0",
		"usb:12d1:1001":            "/dev/ttyACM0",
		"usb-FTDI_A50285BI-port0":  "/dev/ttyUSB0",
		"usb:0403:6001":            "usb:0403:6001 has 2 ports: write port: and one of usb-FTDI_A50285BI-port0, /dev/ttyUSB10",
		"usb:1a86:7523":            "there is no port of usb:1a86:7523; there are /dev/ttyACM0 (usb:12d1:1001), /dev/ttyAMA0, /dev/ttyUSB0 (usb:0403:6001:A50285BI), /dev/ttyUSB10 (usb:0403:6001)",
		"usb-FTDI_A50285BI-port1":  "there is no /dev/serial/by-id/usb-FTDI_A50285BI-port1; there are /dev/ttyACM0 (usb:12d1:1001), /dev/ttyAMA0, /dev/ttyUSB0 (usb:0403:6001:A50285BI), /dev/ttyUSB10 (usb:0403:6001)",
		Port(r.dev + "/ttyUSB0"):   "/dev/ttyUSB0",
		Port(r.dev + "/tty/x/y/z"): "there is no /dev/tty/x/y/z; there are /dev/ttyACM0 (usb:12d1:1001), /dev/ttyAMA0, /dev/ttyUSB0 (usb:0403:6001:A50285BI), /dev/ttyUSB10 (usb:0403:6001)",
	} {
		path, err := find(port, r)
		if err != nil {
			path = err.Error()
		}
		if path = strings.ReplaceAll(path, r.dev, "/dev"); path != want {
			t.Errorf("%s:\ngot  %s\nwant %s", port, path, want)
		}
	}
	began := time.Now()
	Describe()
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("listing took %s", d)
	}
}

// TestHighDescriptors has more files open than select(2) can take.
func TestHighDescriptors(t *testing.T) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur < 1200 {
		limit.Cur = min(limit.Max, 1<<14)
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur < 1200 {
			return
		}
	}
	for range 1100 {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	p, b := newPTY(t), newBus()
	a := NewAction(actionOptions(p.port), b)
	defer a.Close()
	b.start(t, options(p.port))
	b.well(t)
	p.say(t, "hello\n")
	b.texts(t, "hello")
	if err := a.Do(t.Context(), Args{Text: "x"}); err != nil {
		t.Error(err)
	}
	p.hear(t, "x\n")
}

// TestNothingIsLeftOver opens and closes often.
func TestNothingIsLeftOver(t *testing.T) {
	count := func() (goroutines, files int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(list)
	}
	link := filepath.Join(t.TempDir(), "none")
	once := func() {
		p, b := newPTY(t), newBus()
		a := NewAction(actionOptions(p.port), b)
		stop := b.start(t, options(p.port))
		b.well(t)
		if err := a.Do(t.Context(), Args{Text: "x"}); err != nil {
			t.Error(err)
		}
		stop()
		a.Close()
		p.Close()
		stop = b.start(t, options(link))
		b.Eventually(t, "it is waited for", func() bool { return strings.Contains(b.Last(), "waited for") })
		stop()
		s := New(options(t.TempDir()), b)
		if err := s.Open(t.Context()); err == nil {
			t.Error("a folder is a port")
		}
		s.Close()
	}
	once() // the runtime's own come with the first
	goroutines, files := count()
	for range 10 {
		once()
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		g, f := count()
		if g <= goroutines && f <= files {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("there were %d goroutines and %d files, and now there are %d and %d", goroutines, files, g, f)
		}
	}
}
