// This file is a bus of the kernel: /dev/i2c-N (Documentation/i2c/dev-interface.rst).

package i2c

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/node"
	"github.com/postbus/postbus/plugins/kind"
)

const (
	ioctlRDWR    = 0x0707 // I2C_RDWR
	ioctlTimeout = 0x0702 // I2C_TIMEOUT, in units of 10 ms
	flagRead     = 1      // I2C_M_RD
	lockTime     = 2 * time.Second
)

var udev = node.Rule{Nodes: `SUBSYSTEM=="i2c-dev"`, Group: "i2c", File: "60-i2c.rules", Then: "restart the machine", Needs: 0o060}

// message is struct i2c_msg.
type message struct {
	address, flags, length uint16
	data                   *byte
}

// transaction is struct i2c_rdwr_ioctl_data.
type transaction struct {
	messages *message
	count    uint32
}

type device struct{ f *os.File }

// openBus opens a bus for a device at an address, which no kernel driver may own.
func openBus(n Bus, a Address) (bus, error) {
	if driver := kernelDriver(n, a); driver != "" {
		return nil, fmt.Errorf("%s on i2c-%d is held by the kernel's driver %s: its values are in /sys/bus/i2c/devices/%d-%04x; to use it here, echo %d-%04x > /sys/bus/i2c/drivers/%s/unbind",
			a, n, driver, n, uint16(a), n, uint16(a), driver)
	}
	return openNumber(n)
}

func openNumber(n Bus) (*device, error) {
	path := fmt.Sprintf("/dev/i2c-%d", n)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, noBus(n)
	case errors.Is(err, fs.ErrPermission):
		return nil, udev.Denied(path, err)
	case err != nil:
		return nil, fmt.Errorf("opening the bus: %w", err)
	}
	_ = ioctl(f, ioctlTimeout, 50) // half a second; a driver may ignore it
	return &device{f}, nil
}

func kernelDriver(n Bus, a Address) string {
	link, err := os.Readlink(fmt.Sprintf("/sys/bus/i2c/devices/%d-%04x/driver", n, uint16(a)))
	if err != nil {
		return ""
	}
	return filepath.Base(link)
}

func noBus(n Bus) error {
	var list []string
	for _, b := range buses() {
		list = append(list, fmt.Sprintf("%d (%s)", b.Number, b.Name))
	}
	if len(list) == 0 {
		return fmt.Errorf("there is no bus %d, and no other: on a Raspberry Pi enable I²C (raspi-config, Interface Options); elsewhere `modprobe i2c-dev`", n)
	}
	return fmt.Errorf("there is no bus %d; available: %s", n, strings.Join(list, ", "))
}

func ioctl(f *os.File, request uint, arg uintptr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), arg)
	if errno != 0 {
		return errno
	}
	return nil
}

func (d *device) transfer(ctx context.Context, a Address, w, r []byte) error {
	var messages []message
	add := func(flags uint16, data []byte) {
		m := message{address: uint16(a), flags: flags, length: uint16(len(data))}
		if len(data) > 0 {
			m.data = &data[0]
		} else {
			m.data = new(byte) // the kernel requires an address even without data
		}
		messages = append(messages, m)
	}
	if len(w) > 0 || r == nil {
		add(0, w)
	}
	if len(r) > 0 {
		add(flagRead, r)
	}
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer func() { _ = unix.Flock(int(d.f.Fd()), unix.LOCK_UN) }()
	t := transaction{messages: &messages[0], count: uint32(len(messages))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.f.Fd(), ioctlRDWR, uintptr(unsafe.Pointer(&t)))
	runtime.KeepAlive(messages)
	if errno != 0 {
		return errno
	}
	return nil
}

// lock locks the bus for one transfer. A program that holds it for longer than a moment hangs.
func (d *device) lock(ctx context.Context) error {
	for end := time.Now().Add(lockTime); ; {
		err := unix.Flock(int(d.f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return err
		case time.Now().After(end):
			return lockedBus{fmt.Errorf("another program has locked the bus for more than %s", lockTime)}
		}
		if err := kind.Sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

func (d *device) Close() error { return d.f.Close() }

// silent reports whether no device answered.
func silent(err error) bool {
	return errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EREMOTEIO) || errors.Is(err, unix.EIO) || errors.Is(err, unix.ENODEV)
}

// hangs reports whether the bus itself doesn't work.
func hangs(err error) bool { return errors.Is(err, unix.ETIMEDOUT) || errors.Is(err, unix.EBUSY) }

// refused reports whether the adapter can't do such a transfer.
func refused(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTO)
}

// buses returns the machine's buses.
func buses() []busInfo {
	paths, _ := filepath.Glob("/dev/i2c-*")
	var list []busInfo
	for _, p := range paths {
		n, err := strconv.Atoi(strings.TrimPrefix(p, "/dev/i2c-"))
		if err != nil {
			continue
		}
		name, _ := os.ReadFile(fmt.Sprintf("/sys/bus/i2c/devices/i2c-%d/name", n))
		list = append(list, busInfo{Number: n, Path: p, Name: strings.TrimSpace(string(name))})
	}
	slices.SortFunc(list, func(a, b busInfo) int { return a.Number - b.Number })
	return list
}

// scanBus returns the devices that answer on a bus. It sends an empty write to each address, or a
// read where a write could do harm. Devices that sleep may not answer. An error says which buses
// exist, or who may open this one.
func scanBus(ctx context.Context, number int) ([]answering, error) {
	d, err := openNumber(Bus(number))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var list []answering
	for _, a := range scan(ctx, d) {
		list = append(list, answering{Address: a, Driver: kernelDriver(Bus(number), a), Sensors: sensorsAt(a)})
	}
	return list, ctx.Err()
}
