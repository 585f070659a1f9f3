package uds

// This file is what only Linux offers: the credentials of the other end, and sockets outside
// folders.

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/postbus/postbus/plugins/internal/lines"
	"golang.org/x/sys/unix"
)

// credentials returns the credentials that the other end had when it connected or began to listen.
// ok is false for a process of another PID namespace.
func credentials(c net.Conn) (pid int, uid uint32, ok bool) {
	sc, is := c.(syscall.Conn)
	if !is {
		return 0, 0, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil || err != nil || cred.Pid == 0 {
		return 0, 0, false
	}
	return int(cred.Pid), cred.Uid, true
}

func bindAbstract(path string) (lines.Listener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if !errors.Is(err, unix.EADDRINUSE) {
		if err != nil {
			return nil, err
		}
		return l, nil
	}
	c, derr := net.Dial("unix", path)
	if derr != nil {
		return nil, fmt.Errorf("it is busy: %w", err)
	}
	defer c.Close()
	return nil, busy(c)
}

func process(pid int, name string) string {
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); name == "" && err == nil {
		name = filepath.Base(exe)
	}
	if name = strings.TrimSpace(name); name == "" {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("%s (process %d)", name, pid)
}
