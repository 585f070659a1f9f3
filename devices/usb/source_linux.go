// This file is the source: the kernel's uevents by netlink, and their meaning.

package usb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/plugins/kind"
)

const (
	buffer          = 1 << 20                // bytes of uevents that may wait
	completeTimeout = 500 * time.Millisecond // for the kernel to read the interfaces of a new device
)

// uevents is a netlink socket that receives the kernel's uevents.
type uevents struct {
	f   *os.File
	buf []byte
}

func newUevents() (*uevents, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("receiving the kernel's notifications about devices: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil { // only root may set so much
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("receiving the kernel's notifications about devices: %w", err)
	}
	return &uevents{f: os.NewFile(uintptr(fd), "uevents"), buf: make([]byte, 16<<10)}, nil
}

// next waits for a message of the kernel. It ignores messages that other processes send. The
// message is valid until the next call. ENOBUFS says that some were dropped.
func (u *uevents) next() ([]byte, error) {
	raw, err := u.f.SyscallConn()
	if err != nil {
		return nil, err
	}
	for {
		var n int
		var from unix.Sockaddr
		var rerr error
		if err := raw.Read(func(fd uintptr) bool {
			n, from, rerr = unix.Recvfrom(int(fd), u.buf, 0)
			return rerr != unix.EAGAIN && rerr != unix.EINTR
		}); err != nil {
			return nil, err
		}
		if rerr != nil {
			return nil, rerr
		}
		if k, ok := from.(*unix.SockaddrNetlink); ok && k.Pid == 0 {
			return u.buf[:n], nil
		}
	}
}

// Open begins to listen and records the present devices.
func (s *Source) Open(context.Context) (err error) {
	if s.uevents, err = newUevents(); err != nil {
		return err
	}
	s.known = s.present()
	return nil
}

func (s *Source) present() map[string]device {
	m := map[string]device{}
	for _, d := range list(s.o.Sys) {
		m[d.Path] = d
	}
	return m
}

// Close ends listening.
func (s *Source) Close() error {
	if s.uevents == nil {
		return nil
	}
	return s.uevents.f.Close()
}

// Run emits devices that are plugged in and pulled out until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	defer kind.InterruptReads(ctx, s.uevents.f)()
	report := func(action string, d device) error {
		if !s.wants(d) {
			return nil
		}
		return emit(ctx, time.Now(), d.fields(action))
	}
	if s.o.Initial {
		for _, p := range slices.Sorted(maps.Keys(s.known)) {
			if err := report("present", s.known[p]); err != nil {
				return err
			}
		}
	}
	for {
		message, err := s.uevents.next()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			s.env.Lost(1, "the kernel dropped notifications about devices, because there were too many")
			if err := s.compare(report); err != nil {
				return err
			}
			continue
		case err != nil:
			return fmt.Errorf("receiving the kernel's notifications about devices: %w", err)
		}
		u, ok := readUevent(message)
		if !ok {
			continue
		}
		switch u.action {
		case "add":
			err = s.added(ctx, u.port, report)
		case "remove":
			err = s.removed(u.port, report)
		}
		if err != nil {
			return err
		}
	}
}

// added reports a new device once the kernel has read all of it.
func (s *Source) added(ctx context.Context, port string, report func(string, device) error) error {
	for end := time.Now().Add(completeTimeout); !complete(s.o.Sys, port) && time.Now().Before(end); {
		if err := kind.Sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	d, ok := read(s.o.Sys, port)
	old, known := s.known[port]
	switch {
	case !ok:
		return nil // it was removed already: the remove event that follows is ignored, because the device was never reported
	case known && old.Number == d.Number && old.Bus == d.Bus:
		return nil // it was present at the start
	case known: // its remove event was dropped
		if err := s.removed(port, report); err != nil {
			return err
		}
	}
	s.known[port] = d
	return report("add", d)
}

func (s *Source) removed(port string, report func(string, device) error) error {
	d, ok := s.known[port]
	if !ok {
		return nil
	}
	delete(s.known, port)
	return report("remove", d)
}

// compare reports devices that were plugged in or pulled out while uevents were dropped.
func (s *Source) compare(report func(string, device) error) error {
	now := s.present()
	for _, p := range slices.Sorted(maps.Keys(s.known)) {
		if d, ok := now[p]; !ok || d.Number != s.known[p].Number {
			if err := s.removed(p, report); err != nil {
				return err
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(now)) {
		if _, ok := s.known[p]; !ok {
			s.known[p] = now[p]
			if err := report("add", now[p]); err != nil {
				return err
			}
		}
	}
	return nil
}
