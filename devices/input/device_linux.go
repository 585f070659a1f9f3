// This file is one input device of the kernel: /dev/input/eventN (Documentation/input/input.rst).

package input

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/node"
)

const (
	ioctlGrab = 0x40044590 // EVIOCGRAB

	evSyn, evKey          = 0, 1
	synReport, synDropped = 0, 3
	keyCount              = 0x300
	wordSize              = int(unsafe.Sizeof(uintptr(0))) // struct input_event contains the kernel's long
	eventSize             = 2*wordSize + 8
)

// ioctlGet returns the ioctl of a number that reads n bytes: EVIOCG…(n).
func ioctlGet(number, n int) uint { return 0x80004500 | uint(n)<<16 | uint(number) }

var udev = node.Rule{Nodes: `SUBSYSTEM=="input"`, Group: "input", File: "60-input.rules", Then: "restart the machine", Needs: 0o040}

// device is an open device.
type device struct {
	f    *os.File
	path string
	name string
	held map[uint16]time.Time // pressed keys, and since when
}

func openDevice(path string) (*device, error) {
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, udev.Denied(path, err)
	}
	if err != nil {
		return nil, err
	}
	d := &device{f: f, path: path, held: map[uint16]time.Time{}}
	buf := make([]byte, 256)
	if err := d.ioctl(ioctlGet(0x06, len(buf)), unsafe.Pointer(&buf[0])); err != nil { // EVIOCGNAME
		f.Close()
		return nil, fmt.Errorf("%s is not an input device: %w", path, err)
	}
	name, _, _ := strings.Cut(string(buf), "\x00")
	d.name = strings.ToValidUTF8(strings.TrimSpace(name), "\ufffd")
	return d, nil
}

func (d *device) ioctl(request uint, arg unsafe.Pointer) error {
	return d.control(func(fd uintptr) unix.Errno {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(arg))
		return errno
	})
}

// control calls do with the descriptor. f.Fd would make reads uninterruptible.
func (d *device) control(do func(fd uintptr) unix.Errno) error {
	raw, err := d.f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	if err := raw.Control(func(fd uintptr) { errno = do(fd) }); err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// grab excludes all other readers of the device until it is closed.
func (d *device) grab() error {
	err := d.control(func(fd uintptr) unix.Errno {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, ioctlGrab, 1)
		return errno
	})
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s (%s) is busy: another program has grabbed it, perhaps another plugin: %w", d.path, d.name, err)
	}
	return err
}

// pressed returns the keys that are pressed now.
func (d *device) pressed() ([]uint16, error) {
	bits, err := d.bits(0x18, keyCount) // EVIOCGKEY
	return bits, err
}

// bits returns the numbers of the bits that an ioctl sets.
func (d *device) bits(number, count int) ([]uint16, error) {
	buf := make([]byte, (count+7)/8)
	if err := d.ioctl(ioctlGet(number, len(buf)), unsafe.Pointer(&buf[0])); err != nil {
		return nil, err
	}
	var list []uint16
	for i := range count {
		if buf[i/8]>>(i%8)&1 == 1 {
			list = append(list, uint16(i))
		}
	}
	return list, nil
}

// record is struct input_event.
type record struct {
	at     time.Time
	typ    uint16
	code   uint16
	amount int32
}

// dropped reports whether the record says that the kernel dropped records before it.
func (r record) dropped() bool { return r.typ == evSyn && r.code == synDropped }

// records decodes the records in b.
func records(b []byte) []record {
	var list []record
	for ; len(b) >= eventSize; b = b[eventSize:] {
		var sec, usec int64
		if wordSize == 8 {
			sec, usec = int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:]))
		} else { // the kernel's seconds are unsigned here: valid until 2106
			sec, usec = int64(binary.NativeEndian.Uint32(b)), int64(binary.NativeEndian.Uint32(b[4:]))
		}
		tail := b[2*wordSize:]
		list = append(list, record{at: time.Unix(sec, usec*1000), typ: binary.NativeEndian.Uint16(tail), code: binary.NativeEndian.Uint16(tail[2:]),
			amount: int32(binary.NativeEndian.Uint32(tail[4:]))})
	}
	return list
}

// find opens the devices that an option names, except those whose path is in have. The error says
// why devices could not be opened, and may be set beside opened ones.
func find(dev, name string, have []string) ([]*device, error) {
	for _, path := range []string{name, filepath.Join(dev, "by-id", name), filepath.Join(dev, "by-path", name)} {
		if path == name && !filepath.IsAbs(path) {
			continue
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			if path == name {
				return nil, fmt.Errorf("there is no %s; available: %s", path, present(dev))
			}
			continue
		}
		if slices.Contains(have, real) {
			return nil, nil
		}
		d, err := openDevice(real)
		if err != nil {
			return nil, err
		}
		return []*device{d}, nil
	}
	var found []*device
	var errs []error
	for _, path := range nodes(dev) {
		if slices.Contains(have, path) {
			continue
		}
		d, err := openDevice(path)
		switch {
		case err != nil:
			errs = append(errs, err)
		case d.name == name:
			found = append(found, d)
		default:
			d.f.Close()
		}
	}
	if len(found) > 0 || len(have) > 0 {
		return found, nil
	}
	if len(errs) > 0 {
		return nil, errs[0] // usually the same for all
	}
	return nil, fmt.Errorf("there is no input device %q; available: %s", name, present(dev))
}

// nodes returns the paths of the devices in numerical order.
func nodes(dev string) []string {
	list, _ := filepath.Glob(dev + "/event*")
	slices.SortFunc(list, func(a, b string) int {
		if d := len(a) - len(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return list
}

func present(dev string) string {
	var names []string
	for _, d := range list(dev) {
		if d.Name != "" && !slices.Contains(names, strconv.Quote(d.Name)) {
			names = append(names, strconv.Quote(d.Name))
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
