//go:build linux

// This file tests with a real kernel: a PC with uinput, and with a USB keyboard that the host
// plugs, presses and unplugs.

package input

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/vmtest"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestMain(m *testing.M) { os.Exit(vmtest.Main(m)) }

func TestKeysOfAKernel(t *testing.T) {
	vmtest.Test(t, vmtest.Machine{
		Arch:    "amd64",
		Modules: []string{"uinput", "evdev", "xhci-pci", "usbhid", "hid-generic"},
		Args:    []string{"-device", "qemu-xhci,id=xhci"},
		Run:     "^TestGuest",
		Answer: func(vm *vmtest.VM, words []string) (string, error) {
			var err error
			switch words[0] {
			case "plug":
				_, err = vm.QMP("device_add", map[string]any{"driver": "usb-kbd", "id": "kbd", "bus": "xhci.0"})
			case "unplug":
				_, err = vm.QMP("device_del", map[string]any{"id": "kbd"})
			case "down", "up":
				_, err = vm.QMP("input-send-event", map[string]any{"events": []any{map[string]any{"type": "key",
					"data": map[string]any{"down": words[0] == "down", "key": map[string]any{"type": "qcode", "data": words[1]}}}}})
			default:
				err = fmt.Errorf("what is %q?", words)
			}
			return "", err
		},
	})
}

// virtual is an input device of this test.
type virtual struct{ f *os.File }

func newVirtual(t *testing.T, name string) virtual {
	t.Helper()
	f, err := os.OpenFile("/dev/uinput", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	set := func(request, arg uintptr) {
		t.Helper()
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, arg); errno != 0 {
			t.Fatal(errno)
		}
	}
	for _, typ := range []uintptr{1, 2, 5} {
		set(0x40045564, typ) // UI_SET_EVBIT
	}
	for _, key := range []uintptr{30, 163, 164} {
		set(0x40045565, key) // UI_SET_KEYBIT
	}
	set(0x40045566, 7) // UI_SET_RELBIT
	set(0x4004556d, 0) // UI_SET_SWBIT
	var setup struct {
		id   [4]uint16
		name [80]byte
		ff   uint32
	}
	setup.id = [4]uint16{3, 1, 1, 1}
	copy(setup.name[:], name)
	set(0x405c5503, uintptr(unsafe.Pointer(&setup))) // UI_DEV_SETUP
	set(0x5501, 0)                                   // UI_DEV_CREATE
	return virtual{f}
}

func (v virtual) send(t *testing.T, events ...[3]int) {
	t.Helper()
	var b []byte
	for _, e := range events {
		b = append(b, event(0, 0, uint16(e[0]), uint16(e[1]), int32(e[2]))...)
	}
	if _, err := v.f.Write(append(b, event(0, 0, 0, 0, 0)...)); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, b *kindtest.Bus, o Options) (stop func()) {
	t.Helper()
	if o.Types == nil {
		o.Types = defaults().Types
	}
	return b.Start(t, New(o, b), nil)
}

// healthy waits until the source reports that it works, or that it doesn't.
func healthy(t *testing.T, b *kindtest.Bus, want bool) string {
	t.Helper()
	for {
		if got := b.NextDegraded(t); (got == "<nil>") == want {
			return got
		}
	}
}

func expect(t *testing.T, b *kindtest.Bus, want ...string) {
	t.Helper()
	for _, w := range want {
		e := b.Next(t)
		if got := fmt.Sprint(e["key"], " ", e["value"], " ", e["amount"]); got != w {
			t.Errorf("got %s, want %s", got, w)
		}
	}
}

func TestGuestKeysKnobsAndSwitches(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	v := newVirtual(t, "Test Remote")
	defer v.f.Close()
	b := kindtest.NewBus()
	stop := run(t, b, Options{Device: "Test Remote"})
	healthy(t, b, true)
	v.send(t, [3]int{1, 164, 1})
	v.send(t, [3]int{1, 164, 0}, [3]int{2, 7, -2})
	v.send(t, [3]int{5, 0, 1})
	e := <-b.Events
	at, err := time.Parse(time.RFC3339Nano, e["time"].(string))
	if e["key"] != "KEY_PLAYPAUSE" || e["value"] != "press" || e["device"] != "Test Remote" || e["code"] != 164 || err != nil || time.Since(at) > time.Minute || time.Since(at) < 0 {
		t.Errorf("%v, %v", e, err)
	}
	vmtest.Figure("a key came %s after the kernel saw it", time.Since(at).Round(time.Microsecond))
	expect(t, b, "KEY_PLAYPAUSE release 0", "REL_DIAL change -2", "SW_LID change 1")

	only := kindtest.NewBus()
	stop2 := run(t, only, Options{Device: "Test Remote", Keys: []string{"KEY_NEXTSONG"}})
	healthy(t, only, true)
	v.send(t, [3]int{1, 164, 1})
	v.send(t, [3]int{1, 164, 0})
	v.send(t, [3]int{1, 163, 1})
	expect(t, only, "KEY_NEXTSONG press 1")
	stop2()
	stop()
}

func TestGuestGrab(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	v := newVirtual(t, "Test Remote")
	defer v.f.Close()
	open, grabbed, late := kindtest.NewBus(), kindtest.NewBus(), kindtest.NewBus()
	stop := run(t, open, Options{Device: "Test Remote"})
	healthy(t, open, true)
	stop2 := run(t, grabbed, Options{Device: "Test Remote", Grab: true})
	healthy(t, grabbed, true)
	stop3 := run(t, late, Options{Device: "Test Remote", Grab: true})
	if got := healthy(t, late, false); !strings.Contains(got, "(Test Remote) is busy: another program has grabbed it") {
		t.Error(got)
	}
	v.send(t, [3]int{1, 164, 1})
	expect(t, grabbed, "KEY_PLAYPAUSE press 1")
	stop2()
	v.send(t, [3]int{1, 163, 1})
	expect(t, open, "KEY_NEXTSONG press 1") // its first event
	healthy(t, late, true)                  // it has grabbed the device by now
	stop3()
	stop()
}

func TestGuestDroppedKeysAreSaid(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	v := newVirtual(t, "Test Remote")
	defer v.f.Close()
	b := kindtest.NewBus()
	gate := make(chan struct{})
	first := make(chan struct{}, 1)
	s := New(Options{Device: "Test Remote", Types: []string{"key"}}, b)
	stop := b.Start(t, s, func(ctx context.Context) error {
		return s.Stream(ctx, func(ctx context.Context, at time.Time, f map[string]any, done func(error)) error {
			select {
			case first <- struct{}{}:
			default:
			}
			<-gate
			return b.Post(ctx, at, f, done)
		})
	})
	healthy(t, b, true)
	v.send(t, [3]int{1, 164, 1})
	<-first // the bus blocks from here on
	for i := range 400 {
		v.send(t, [3]int{1, 30, 1})
		v.send(t, [3]int{1, 30, 0})
		if i == 100 {
			v.send(t, [3]int{1, 164, 0}) // it is among the dropped ones
		}
	}
	v.send(t, [3]int{1, 163, 1})
	close(gate)
	last := map[any]any{}
	for last["KEY_NEXTSONG"] != "press" {
		e := b.Next(t)
		if last[e["key"]] == e["value"] {
			t.Errorf("%v comes twice", e)
		}
		last[e["key"]] = e["value"]
	}
	if last["KEY_PLAYPAUSE"] != "release" || last["KEY_A"] == "press" {
		t.Errorf("keys are left pressed: %v", last)
	}
	b.Mu.Lock()
	if len(b.Losses) == 0 {
		t.Error("no loss was reported")
	}
	b.Mu.Unlock()
	stop()
}

// TestGuestAReleaseAfterDroppedKeys releases a key after the reader has read the dropped-records
// mark, and before the source processes it.
func TestGuestAReleaseAfterDroppedKeys(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	v := newVirtual(t, "Test Remote")
	defer v.f.Close()
	b := kindtest.NewBus()
	gate, posting := make(chan struct{}), make(chan struct{}, 10000)
	s := New(Options{Device: "Test Remote", Types: []string{"key"}}, b)
	stop := b.Start(t, s, func(ctx context.Context) error {
		return s.Stream(ctx, func(ctx context.Context, at time.Time, f map[string]any, done func(error)) error {
			posting <- struct{}{}
			<-gate
			return b.Post(ctx, at, f, done)
		})
	})
	healthy(t, b, true)
	v.send(t, [3]int{1, 164, 1})
	<-posting
	v.send(t, [3]int{1, 164, 0})
	time.Sleep(50 * time.Millisecond) // the reader has it by now; if not, the test covers a bit less
	for range 200 {
		v.send(t, [3]int{1, 30, 1})
		v.send(t, [3]int{1, 30, 0})
	}
	v.send(t, [3]int{1, 163, 1})
	gate <- struct{}{}
	<-posting // of 164's release: the reader may continue
	time.Sleep(50 * time.Millisecond)
	v.send(t, [3]int{1, 163, 0})
	close(gate)
	last := map[any]any{}
	for last["KEY_NEXTSONG"] != "release" {
		e := b.Next(t)
		last[e["key"]] = e["value"]
	}
	stop()
}

// TestGuestAFolderThatComesLater starts without /dev/input, as a machine without any such device.
func TestGuestAFolderThatComesLater(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	dev := t.TempDir() + "/input"
	var v [2]virtual
	add := func(i int) {
		v[i] = newVirtual(t, "Parts")
		known, _ := os.ReadDir(dev)
		until := time.Now().Add(time.Minute)
		for {
			var paths []string
			for _, d := range list("/dev/input") {
				if d.Name == "Parts" {
					paths = append(paths, d.Path)
				}
			}
			if len(paths) > len(known) {
				path := paths[len(paths)-1]
				if err := os.Symlink(path, dev+path[len("/dev/input"):]); err != nil {
					t.Fatal(err)
				}
				return
			}
			if time.Now().After(until) {
				t.Fatal("the device did not come")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	b := kindtest.NewBus()
	s := New(Options{Device: "Parts", Types: defaults().Types}, b)
	s.dev = dev
	stop := b.Start(t, s, nil)
	healthy(t, b, false)
	if err := os.Mkdir(dev, 0o755); err != nil {
		t.Fatal(err)
	}
	add(0)
	healthy(t, b, true)
	add(1)
	healthy(t, b, true)
	v[1].send(t, [3]int{1, 164, 1})
	expect(t, b, "KEY_PLAYPAUSE press 1")
	stop()
	v[0].f.Close()
	v[1].f.Close()
}

func TestGuestUSBKeyboardComesAndGoes(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := kindtest.NewBus()
	stop := run(t, b, Options{Device: "QEMU QEMU USB Keyboard"})
	if got := healthy(t, b, false); !strings.HasPrefix(got, `there is no input device "QEMU QEMU USB Keyboard"; available: `) {
		t.Error(got)
	} else {
		vmtest.Figure("%s", got)
	}
	for i := range 2 {
		began := time.Now()
		vmtest.Ask(t, "plug")
		healthy(t, b, true)
		vmtest.Figure("plugged: found after %s", time.Since(began).Round(time.Millisecond))
		vmtest.Ask(t, "down", "a")
		expect(t, b, "KEY_A press 1")
		vmtest.Ask(t, "up", "a")
		expect(t, b, "KEY_A release 0")
		vmtest.Ask(t, "down", "b")
		expect(t, b, "KEY_B press 1")
		began = time.Now()
		vmtest.Ask(t, "unplug")
		expect(t, b, "KEY_B release 0") // by itself
		if got := healthy(t, b, false); !strings.Contains(got, unix.ENODEV.Error()) {
			t.Error(got)
		}
		vmtest.Figure("unplugged, time %d: reported after %s", i+1, time.Since(began).Round(time.Millisecond))
	}
	stop()
	if got := Describe(); len(got) == 0 {
		t.Error("no devices are described")
	} else {
		vmtest.Figure("%s", strings.Join(got, " | "))
	}
}

// TestGuestNothingIsLeftOver opens and closes repeatedly.
func TestGuestNothingIsLeftOver(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	vmtest.NothingLeftOver(t, func() {
		v := newVirtual(t, "Test Remote")
		b := kindtest.NewBus()
		stop := run(t, b, Options{Device: "Test Remote"})
		healthy(t, b, true)
		stop()
		stop = run(t, b, Options{Device: "nobody"})
		healthy(t, b, false)
		stop()
		v.f.Close()
	})
}
