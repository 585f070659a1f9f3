// This file is the host's half: the machines, their contents, and the actions that the guest
// requests.

package vm

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/vmtest"
)

func TestMain(m *testing.M) { os.Exit(vmtest.Main(m)) }

// The guests' tests are named after the machine in which they run.

func TestABoard(t *testing.T) {
	vmtest.Needs(t, "arm64") // before making a disk
	boot(t, "arm64", boardWith(disk(t), "^TestBoard", board, "-smp", "2"))
}

// TestAMeteredBoard is a board with a clock of its own: an instruction takes two nanoseconds of it,
// as on a core of 1 GHz that needs two cycles for each (an ARM1176 or a Cortex-A53 in code that
// misses its cache), however busy the host is. While it is idle, as when it waits for its disk, its
// clock follows the host's.
func TestAMeteredBoard(t *testing.T) {
	vmtest.Needs(t, "arm64")
	boot(t, "arm64", boardWith(disk(t), "^TestMetered", board, "-icount", "shift=1"))
}

// TestAPowerCut runs one board twice with one disk.
func TestAPowerCut(t *testing.T) {
	vmtest.Needs(t, "arm64")
	image := disk(t)
	var known []string
	boot(t, "arm64", boardWith(image, "^TestCutBefore", func(vm *vmtest.VM, words []string) (string, error) {
		if words[0] != "cut" {
			return board(vm, words)
		}
		known = words[1:]
		return "", vmtest.ErrPowerCut
	}, "-smp", "2"))
	if known == nil {
		t.Fatal("the power was not cut")
	}
	boot(t, "arm64", boardWith(image, "^TestCutAfter", func(*vmtest.VM, []string) (string, error) { return strings.Join(known, " "), nil },
		"-smp", "2"))
}

// boardWith is a machine with GPIO lines and a disk.
func boardWith(image, run string, answer func(*vmtest.VM, []string) (string, error), args ...string) vmtest.Machine {
	return vmtest.Machine{
		Arch:    "arm64",
		Modules: []string{"virtio_pci", "virtio_blk", "crc32c_generic", "ext4"},
		Args:    append([]string{"-drive", "file=" + image + ",format=raw,if=virtio"}, args...),
		Run:     run,
		Tree: func(dtb []byte) ([]byte, error) {
			return vmtest.SetProperty(dtb, "pl061@9030000", "gpio-line-names", []byte("GPIO10\x00GPIO11\x00GPIO12\x00GPIO13\x00GPIO14\x00GPIO15\x00GPIO16\x00GPIO17\x00"))
		},
		Answer: answer,
	}
}

func TestASensor(t *testing.T) {
	boot(t, "arm", vmtest.Machine{
		Arch:    "armhf",
		Modules: []string{"i2c-dev", "i2c-versatile"},
		Args:    []string{"-device", "tmp105,id=t1,address=0x48"},
		Run:     "^TestSensor",
		Answer: func(vm *vmtest.VM, words []string) (string, error) { // the temperature in thousandths of a degree
			n, err := strconv.Atoi(words[0])
			if err != nil {
				return "", err
			}
			_, err = vm.QMP("qom-set", map[string]any{"path": "/machine/peripheral/t1", "property": "temperature", "value": n})
			return "", err
		},
	})
}

func TestAPC(t *testing.T) {
	dir, err := os.MkdirTemp("", "vm") // not t.TempDir: a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	desk := &pc{socket: dir + "/s"}
	defer desk.close()
	boot(t, "amd64", vmtest.Machine{
		Arch:    "amd64",
		Modules: []string{"evdev", "xhci-pci", "usbhid", "hid-generic", "usbserial", "ftdi_sio", "i2c-dev", "i2c-stub chip_addr=0x76", "bmp280-i2c"},
		Args:    []string{"-device", "qemu-xhci,id=xhci", "-chardev", "socket,id=ser,path=" + desk.socket + ",server=on,wait=off"},
		Run:     "^TestPC",
		Answer:  desk.answer,
	})
}

// boot builds the program for the machine and runs the guest's tests.
func boot(t *testing.T, goarch string, m vmtest.Machine) {
	t.Helper()
	vmtest.Needs(t, m.Arch) // before a build of minutes
	program := filepath.Join(t.TempDir(), "postbus")
	c := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "../../../cmd/postbus") // as `make build` does
	c.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+goarch, "GOARM=7", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("building postbus for %s: %v\n%s", goarch, err, text)
	}
	m.Files = map[string]string{"/bin/postbus": program}
	vmtest.Test(t, m)
}

// disk makes an image with an empty ext4.
func disk(t *testing.T) string {
	t.Helper()
	mkfs := ""
	for _, path := range []string{"mkfs.ext4", "/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"} {
		if found, err := exec.LookPath(path); err == nil {
			mkfs = found
			break
		}
	}
	if mkfs == "" {
		t.Skip("needs mkfs.ext4, which is in Debian's e2fsprogs")
	}
	image := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 1<<30); err != nil { // it grows only as it is written
		t.Fatal(err)
	}
	if text, err := exec.Command(mkfs, "-q", "-F", image).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", mkfs, err, text)
	}
	return image
}

// board drives the wires of a PL061.
func board(vm *vmtest.VM, words []string) (string, error) {
	chip, err := vm.PL061()
	if err != nil {
		return "", err
	}
	var n [2]int
	for i := range n {
		if i+1 < len(words) {
			if n[i], err = strconv.Atoi(words[i+1]); err != nil {
				return "", err
			}
		}
	}
	began := time.Now()
	switch words[0] {
	case "wire": // LINE LEVEL
		err = chip.Wire(n[0], n[1])
	case "toggle": // LINE TIMES PAUSE
		var pause time.Duration
		if pause, err = time.ParseDuration(words[3]); err == nil {
			err = chip.Toggle(n[0], n[1], pause)
		}
	case "level": // LINE
		level, err := chip.Level(n[0])
		return strconv.Itoa(level), err
	default:
		err = fmt.Errorf("what is %q?", words)
	}
	return time.Since(began).Round(time.Millisecond).String(), err
}

// pc is the devices to plug into a PC: a keyboard, whose keys it presses, and a serial adapter,
// whose other end it is.
type pc struct {
	socket string
	wire   net.Conn
	in     *bufio.Reader
}

func (p *pc) close() {
	if p.wire != nil {
		p.wire.Close()
	}
}

func (p *pc) answer(vm *vmtest.VM, words []string) (string, error) {
	var err error
	switch words[0] {
	case "plug":
		_, err = vm.QMP("device_add", map[string]any{"driver": "usb-kbd", "id": "kbd", "bus": "xhci.0", "port": "2"})
	case "unplug":
		_, err = vm.QMP("device_del", map[string]any{"id": "kbd"})
	case "down", "up": // KEY
		_, err = vm.QMP("input-send-event", map[string]any{"events": []any{map[string]any{"type": "key",
			"data": map[string]any{"down": words[0] == "down", "key": map[string]any{"type": "qcode", "data": words[1]}}}}})
	case "attach", "detach", "say", "hear":
		return p.serial(vm, words)
	default:
		err = fmt.Errorf("what is %q?", words)
	}
	return "", err
}

func (p *pc) serial(vm *vmtest.VM, words []string) (string, error) {
	if p.wire == nil {
		var err error
		if p.wire, err = net.Dial("unix", p.socket); err != nil {
			return "", err
		}
		p.in = bufio.NewReader(p.wire)
	}
	if err := p.wire.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	switch words[0] {
	case "attach":
		for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // the previous adapter is removed asynchronously
			_, err := vm.QMP("device_add", map[string]any{"driver": "usb-serial", "id": "ser0", "bus": "xhci.0", "port": "1", "chardev": "ser", "always-plugged": true})
			if err == nil || !strings.Contains(err.Error(), "is in use") || time.Now().After(end) {
				return "", err
			}
		}
	case "detach":
		_, err := vm.QMP("device_del", map[string]any{"id": "ser0"})
		return "", err
	case "say":
		_, err := io.WriteString(p.wire, words[1])
		return "", err
	}
	return p.in.ReadString('\n') // hear
}
