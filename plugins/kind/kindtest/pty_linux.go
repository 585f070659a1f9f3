package kindtest

// This file is the other end of a serial port.

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// PTY makes a pseudo terminal. It returns the path of a port, and the port's other end, which is
// closed with the test at the latest.
func PTY(t *testing.T) (end *os.File, port string) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("needs pseudo terminals (mount devpts at /dev/pts): %v", err)
	}
	end = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { end.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return end, fmt.Sprintf("/dev/pts/%d", n)
}
