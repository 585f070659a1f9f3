// This file watches for GPIO chips that are added or removed, because removing a chip does not wake
// a pending read of its lines. The kernel notifies by uevents, netlink datagrams
// "remove@/devices/…/gpiochip0".

package gpio

import (
	"bytes"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// watch is a socket for the kernel's uevents. Where there are none it stays silent.
type watch struct {
	f     *os.File
	dirty atomic.Bool
	ended chan struct{}
}

func newWatch() *watch {
	w := &watch{}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return w
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return w
	}
	w.f = os.NewFile(uintptr(fd), "uevents")
	return w
}

// start calls wake, from another goroutine, when a chip was added or removed. close ends it.
func (w *watch) start(wake func()) {
	if w.f == nil {
		return
	}
	w.ended = make(chan struct{})
	go func() {
		defer close(w.ended)
		buf := make([]byte, 8<<10)
		for {
			n, err := w.f.Read(buf)
			switch {
			case isOverflow(err): // datagrams were dropped: one may have been about our chip
			case err != nil:
				return
			case !bytes.Contains(buf[:n], []byte("/gpiochip")):
				continue
			}
			w.dirty.Store(true)
			wake()
		}
	}()
}

// changed reports whether a chip was added or removed since the last call.
func (w *watch) changed() bool { return w.dirty.Swap(false) }

// close ends the watch and waits for it. It may be called twice.
func (w *watch) close() {
	if w.f == nil {
		return
	}
	w.f.Close()
	if w.ended != nil {
		<-w.ended
	}
	w.f = nil
}

func isOverflow(err error) bool {
	pe, ok := err.(*os.PathError)
	return ok && pe.Err == unix.ENOBUFS
}
