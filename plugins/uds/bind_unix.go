//go:build unix

package uds

// This file makes a socket in a folder. The socket has its permissions from its first moment, and
// never replaces one in use.

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
	"golang.org/x/sys/unix"
)

// bind makes a listening socket. remove deletes it from its folder.
func bind(path string, mode Mode, group string) (l lines.Listener, remove func(), err error) {
	if abstract(path) {
		l, err := bindAbstract(path)
		return l, func() {}, err
	}
	gid, err := groupID(group)
	if err != nil {
		return nil, nil, err
	}
	if err := makeRoom(path); err != nil {
		return nil, nil, err
	}
	// Clients can connect only once the socket listens, and by then it has its permissions.
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // FileListener has a duplicate
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, nil, notBound(path, err)
	}
	made, err := os.Lstat(path)
	remove = func() {
		if now, err := os.Lstat(path); err == nil && made != nil && os.SameFile(made, now) {
			_ = os.Remove(path) // if this fails, the next start replaces it
		}
	}
	if err == nil {
		err = set(path, mode, gid, group)
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	var any net.Listener
	if err == nil {
		any, err = net.FileListener(f)
	}
	if err != nil {
		remove()
		return nil, nil, err
	}
	return any.(*net.UnixListener), remove, nil
}

// makeRoom removes the socket of a dead process.
func makeRoom(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != fs.ModeSocket:
		return errors.New("a file of that name exists and is not a socket; it was not removed: choose another path, or remove it")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		defer c.Close()
		return busy(c)
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("a socket of another user exists, and it can't be determined whether a process serves it: %w", err)
	}
	return fmt.Errorf("it is busy: %w", err) // such as a socket with a full queue, or one of datagrams
}

// busy returns an error that names the process that serves the socket which c is connected to.
func busy(c net.Conn) error {
	if pid, _, ok := credentials(c); ok {
		if pid == os.Getpid() {
			return errors.New("it is busy: this postbus serves it already")
		}
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // empty when the process is not visible
		return fmt.Errorf("it is busy: %s serves it; stop that, or choose another path", process(pid, string(name)))
	}
	return errors.New("it is busy: another process serves it; stop that, or choose another path")
}

func notBound(path string, err error) error {
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s does not exist: create it, or for a folder in /run write RuntimeDirectory=%s into the systemd unit", dir, filepath.Base(dir))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission for the folder %s: it must be writable for the user that runs postbus: %w", dir, err)
	}
	return err
}

// permit sets mode and group of an existing socket.
func permit(path string, mode Mode, group string) error {
	gid, err := groupID(group)
	if err != nil {
		return err
	}
	if gid < 0 {
		gid = os.Getegid()
	}
	return set(path, mode, gid, group)
}

func set(path string, mode Mode, gid int, group string) error {
	if gid >= 0 {
		if err := os.Lchown(path, -1, gid); err != nil {
			if errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("no permission to change its group to %s: the user that runs postbus must be in it (sudo usermod -aG %s USER): %w", group, group, err)
			}
			return err
		}
	}
	return os.Chmod(path, fs.FileMode(mode))
}

// groupID returns a group's number; -1 for no group.
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		if g, err = user.LookupGroupId(group); err != nil {
			return 0, fmt.Errorf("the group %s does not exist; `getent group` lists the groups", group)
		}
	}
	return strconv.Atoi(g.Gid)
}
