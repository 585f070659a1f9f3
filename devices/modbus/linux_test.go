//go:build linux

// The tests with pseudo terminals: a serial line with a device at its other end.

package modbus

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bench is a line whose other end has the device.
type bench struct {
	master *os.File
	port   string
	ended  chan struct{}
}

func newBench(t *testing.T, serve func(io.ReadWriter)) *bench {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("needs pseudo terminals (mount devpts at /dev/pts): %v", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{os.NewFile(uintptr(fd), "ptmx"), fmt.Sprintf("/dev/pts/%d", n), make(chan struct{})}
	go func() {
		defer close(b.ended)
		serve(held{b.master})
	}()
	t.Cleanup(b.unplug)
	return b
}

func (b *bench) unplug() {
	b.master.Close()
	<-b.ended
}

// held is a terminal's other end that waits for somebody at the port: until then, and after, reading fails with EIO.
type held struct{ *os.File }

func (p held) Read(b []byte) (int, error) {
	for {
		n, err := p.File.Read(b)
		if e, ok := err.(*os.PathError); !ok || e.Err != unix.EIO {
			return n, err
		}
		time.Sleep(time.Millisecond)
	}
}

func serialOptions(port string, registers ...Register) Options {
	o := options(registers...)
	o.Serial = &Serial{Port: Port(port), Baud: 19200, Parity: "even"}
	return o
}

func TestLine(t *testing.T) {
	t.Parallel()
	d, b := newDevice(), newBus()
	bench := newBench(t, d.serveRTU)
	d.set(1, holding, 0, 0x08fd, 0xfff6)
	d.set(17, input, 9, 3)
	d.setBits(1, 1, 8, true)
	o := serialOptions(bench.port, Register{Name: "volts", Address: 0, Scale: 0.1}, Register{Name: "power", Address: 1, Type: "int16"},
		Register{Name: "other", Unit: 17, Kind: "input", Address: 9}, Register{Name: "pump", Kind: "coil", Address: 8})
	o.Every = 100 * time.Millisecond
	stop := b.start(t, o)
	want := map[string]any{"volts": 230.1, "power": int64(-10), "other": int64(3), "pump": true, "ok": true, "errors": map[string]any{}}
	for range 3 {
		if got := b.Next(t); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	a := ActionDefaults()
	a.Serial, a.Registers = &Serial{Port: Port(bench.port)}, []Register{reg("r", 0), {Name: "c", Kind: "coil", Address: 8}}
	action := NewAction(a, b) // shares the line, with the source's settings
	for i := range 20 {
		if err := action.Do(t.Context(), Args{Write: map[string]any{"r": i, "c": i%2 == 0}}); err != nil {
			t.Fatal(err)
		}
	}
	b.until(t, "what was written is read", func(e map[string]any) bool { return e["volts"] == 1.9 && e["pump"] == false })
	stop()
	if err := action.Do(t.Context(), Args{Write: map[string]any{"r": 77}}); err != nil || d.word(1, 0) != 77 {
		t.Error(err)
	}
	action.o.Unit = 0 // all of them: nobody answers
	if err := action.Do(t.Context(), Args{Write: map[string]any{"r": 78}}); err != nil {
		t.Error(err)
	}
	action.o.Unit = 1
	if err := action.Do(t.Context(), Args{Write: map[string]any{"r": 79}}); err != nil || d.word(0, 0) != 78 || d.word(1, 0) != 79 {
		t.Error(err, d.word(0, 0), d.word(1, 0))
	}
	action.Close()
	if len(b.Held()) != 0 {
		t.Error("the port is still open")
	}
}

// TestNoisyLine has noise before each answer and while nothing is asked, and a wrong checksum now and then.
func TestNoisyLine(t *testing.T) {
	t.Parallel()
	d, b := newDevice(), newBus()
	bench := newBench(t, d.serveRTU)
	d.set(1, holding, 0, 1, 2, 3)
	d.mangle = func(n int, good []byte) []chunk {
		if n%3 == 0 {
			good[3] ^= 1
		}
		return []chunk{{0, []byte{0xff, 0, byte(n), 1, 3}}, {0, good[:4]}, {3 * time.Millisecond, good[4:]}, {2 * time.Millisecond, []byte{0, 0xff, 0}}}
	}
	o := serialOptions(bench.port, Register{Name: "a", Address: 0, Count: 3})
	o.Timeout, o.Every, o.Retries = 500*time.Millisecond, 50*time.Millisecond, 2
	b.start(t, o)
	for range 6 {
		if e := b.Next(t); !reflect.DeepEqual(e["a"], []any{int64(1), int64(2), int64(3)}) {
			t.Error(e)
		}
	}
}

func TestALineThatIsNeverSilent(t *testing.T) {
	t.Parallel()
	bench := newBench(t, func(rw io.ReadWriter) {
		for {
			if _, err := rw.Write([]byte{0x55}); err != nil {
				return
			}
		}
	})
	b := newBus()
	o := serialOptions(bench.port, reg("a", 0))
	o.Timeout, o.Retries = 100*time.Millisecond, 0
	stop := b.start(t, o)
	e := b.Next(t) // a busy machine may make pauses
	if got := fmt.Sprint(e["errors"]); !strings.Contains(got, "the line is never silent") && !strings.Contains(got, "bytes came that are no answer") {
		t.Error(e)
	}
	stop()
}

func TestEcho(t *testing.T) {
	t.Parallel()
	d := newDevice()
	bench := newBench(t, func(rw io.ReadWriter) { d.serveRTU(echoing{rw}) })
	o := ActionDefaults()
	o.Serial, o.Registers, o.Retries, o.Timeout = &Serial{Port: Port(bench.port), Echo: true}, []Register{reg("a", 0)}, 0, time.Second
	a := NewAction(o, newBus())
	defer a.Close()
	if err := a.Do(t.Context(), Args{Write: map[string]any{"a": 7}}); err != nil || d.word(1, 0) != 7 {
		t.Error(err)
	}
	d.with(func() { d.silent[1] = true }) // what is heard is not the device
	if err := a.Do(t.Context(), Args{Write: map[string]any{"a": 8}}); err == nil || !strings.Contains(err.Error(), "unit 1 did not answer within 1s") {
		t.Error(err)
	}
}

// echoing hears what the other end says, and says it again.
type echoing struct{ io.ReadWriter }

func (e echoing) Read(b []byte) (int, error) {
	n, err := e.ReadWriter.Read(b)
	if n > 0 {
		_, _ = e.Write(b[:n])
	}
	return n, err
}

func TestAPortThatIsUnplugged(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "ttyUSB0")
	d, b := newDevice(), newBus()
	d.set(1, holding, 0, 5)
	o := serialOptions(link, reg("a", 0))
	o.Every = 50 * time.Millisecond
	stop := b.start(t, o)
	e := b.until(t, "it is not there", notOK)
	if got := fmt.Sprint(e["errors"]); !strings.HasPrefix(got, "map[a:there is no "+link+"; there are ") || !strings.HasSuffix(got, "; it is waited for]") {
		t.Error(got)
	}
	for range 2 {
		bench := newBench(t, d.serveRTU)
		if err := os.Symlink(bench.port, link); err != nil {
			t.Fatal(err)
		}
		b.until(t, "it is there", ok)
		os.Remove(link)
		bench.unplug()
		b.until(t, "it is gone", notOK)
	}
	stop()
}

func TestRefusals(t *testing.T) {
	bench := newBench(t, newDevice().serveRTU)
	other, err := dialPort(settingOf("", "", &Serial{Port: Port(bench.port)}), machine())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, port := range map[string]string{
		bench.port + " is busy: it is held by postbus itself, perhaps for another plugin": bench.port,
		file + " is no serial port, or can't be set as the file says":                     file,
		"there is no port of usb:ffff:ffff; there are ":                                   "usb:ffff:ffff",
		"there is no /dev/serial/by-id/usb-x; there are ":                                 "usb-x",
	} {
		if _, err := dialPort(settingOf("", "", &Serial{Port: Port(port)}), machine()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	refusal := &os.PathError{Op: "open", Path: file, Err: unix.EACCES}
	if g, err := user.LookupGroup("dialout"); err == nil && g.Gid == "20" && os.Chown(file, -1, 20) == nil {
		if err := refused(file, refusal); !strings.HasPrefix(err.Error(), "no permission for "+file+": add the user that runs postbus to the group dialout (sudo usermod -aG dialout USER)") {
			t.Error(err)
		}
	}
}

func TestPortsByTheirUSBIds(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := roots{"/dev", dir}
	for i, ids := range []string{"0403 6001 A1", "0403 6001 A2", "1a86 7523 "} {
		var w [3]string
		copy(w[:], strings.Split(ids, " "))
		usb := fmt.Sprintf("%s/devices/usb1/1-%d", dir, i)
		tty := fmt.Sprintf("%s/1-%d:1.0/ttyUSB%d", usb, i, i)
		class := fmt.Sprintf("%s/class/tty/ttyUSB%d", dir, i)
		for _, p := range []string{tty, class} {
			if err := os.MkdirAll(p, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for k, name := range []string{"idVendor", "idProduct", "serial"} {
			if err := os.WriteFile(usb+"/"+name, []byte(w[k]+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(tty, class+"/device"); err != nil {
			t.Fatal(err)
		}
	}
	for port, want := range map[Port]string{
		"usb:0403:6001:A2": "/dev/ttyUSB1",
		"usb:1a86:7523":    "/dev/ttyUSB2",
		"usb:0403:6001":    "usb:0403:6001 has 2 ports, /dev/ttyUSB0, /dev/ttyUSB1: write the name in /dev/serial/by-id of one of them",
		"usb:0403:6001:A3": "there is no port of usb:0403:6001:A3; there are /dev/ttyUSB0, /dev/ttyUSB1, /dev/ttyUSB2; it is waited for",
	} {
		got, err := findPort(port, r)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s", port, got)
		}
	}
}
