// This file is the cameras. The kernel notifies when one is opened or closed (inotify), and /proc
// shows which process has it open. No camera is opened for that.

package desktop

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/node"
	"github.com/postbus/postbus/plugins/kind"
)

// minOpenTime is how long a camera must be open before it is reported, because a program that only
// looks for cameras opens each for a moment.
const minOpenTime = 500 * time.Millisecond

// paths are the folders that show the cameras and their users.
type paths struct{ dev, proc, udev, sys string }

var defaultPaths = paths{"/dev", "/proc", "/run/udev/data", "/sys/class/video4linux"}

var udev = node.Rule{Nodes: `SUBSYSTEM=="video4linux"`, Group: "video", File: "60-video.rules", Then: "restart the machine", Needs: 0o040}

// inode identifies a device; for a regular file, the file.
type inode struct{ dev, ino, rdev uint64 }

func inodeOf(path string) (n inode, ok bool) {
	var st unix.Stat_t
	switch {
	case unix.Stat(path, &st) != nil:
		return n, false
	case st.Mode&unix.S_IFMT == unix.S_IFCHR:
		return inode{rdev: uint64(st.Rdev)}, true
	}
	return inode{dev: uint64(st.Dev), ino: st.Ino}, true
}

// numbered returns the number of a name as video0; -1 for other names.
func numbered(name string) int {
	digits, ok := strings.CutPrefix(name, "video")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 0 || n > 1<<20 || strconv.Itoa(n) != digits {
		return -1
	}
	return n
}

// videos returns the names of possible cameras, by their numbers. It leaves out those that udev
// knows to be something different, as a codec or the metadata of a camera.
func (p paths) videos() []string {
	d, err := os.Open(p.dev)
	if err != nil {
		return nil
	}
	defer d.Close()
	all, _ := d.Readdirnames(-1)
	all = slices.DeleteFunc(all, func(name string) bool { return numbered(name) < 0 || !p.captures(name) })
	slices.SortFunc(all, func(a, b string) int { return numbered(a) - numbered(b) })
	return all
}

// captures reports whether a device captures pictures, as udev found out by querying it (v4l_id);
// true when udev doesn't know it.
func (p paths) captures(name string) bool {
	n, ok := inodeOf(filepath.Join(p.dev, name))
	if !ok {
		return false
	}
	f, err := os.Open(filepath.Join(p.udev, fmt.Sprintf("c%d:%d", unix.Major(n.rdev), unix.Minor(n.rdev))))
	if n.rdev == 0 || err != nil {
		return true
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	_, can, known := bytes.Cut(text, []byte("\nE:ID_V4L_CAPABILITIES="))
	can, _, _ = bytes.Cut(can, []byte("\n"))
	return !known || bytes.Contains(can, []byte(":capture:"))
}

// holder is a process that has a camera open.
type holder struct{ camera, app string }

// holders returns the processes that have one of the cameras open, as far as they are visible: this
// user's own, for root all.
func (p paths) holders(ctx context.Context, cameras []string) (out []holder, all bool) {
	nodes := map[inode]string{}
	for _, name := range cameras {
		if n, ok := inodeOf(filepath.Join(p.dev, name)); ok {
			nodes[n] = name
		}
	}
	list, err := readNames(p.proc)
	for _, pid := range list {
		if _, err := strconv.Atoi(pid); err != nil || ctx.Err() != nil {
			continue
		}
		dir := filepath.Join(p.proc, pid, "fd")
		files, err := readNames(dir)
		if pid == "1" && err == nil {
			all = true // a process that may see this one may see all
		}
		for _, f := range files {
			path := filepath.Join(dir, f)
			target, err := os.Readlink(path)
			if err != nil || !strings.HasPrefix(filepath.Base(target), "video") {
				continue
			}
			n, _ := inodeOf(path)
			if camera := nodes[n]; camera != "" {
				out = append(out, holder{camera, p.program(pid)})
				break
			}
		}
	}
	return out, all && err == nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// program returns a process's name. The kernel keeps 15 bytes of it; a longer name is taken from
// the program's file.
func (p paths) program(pid string) string {
	text, _ := os.ReadFile(filepath.Join(p.proc, pid, "comm"))
	name := strings.TrimSpace(string(text))
	if exe, err := os.Readlink(filepath.Join(p.proc, pid, "exe")); err == nil && len(name) == 15 && strings.HasPrefix(filepath.Base(exe), name) {
		name = strings.TrimSuffix(filepath.Base(exe), " (deleted)")
	}
	return short(name)
}

// watchCameras watches the cameras until ctx ends.
func (s *Source) watchCameras(ctx context.Context) {
	reconnect(ctx, func() error { return s.cameras(ctx) }, func(err error) { s.setCondition(s.camera.what, err) })
}

// inotify is the kernel's notifications about cameras.
type inotify struct {
	f     *os.File
	fd    int // of f, whose Fd method would make reads block
	paths paths

	mu     sync.Mutex
	names  map[int32]string // by watch descriptor
	open   map[string]bool  // whether the last event of the camera was an open
	denied error            // why a camera can't be watched
}

// cameras watches until ctx ends, or an error occurs.
func (s *Source) cameras(ctx context.Context) error {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	switch {
	case errors.Is(err, syscall.EMFILE):
		return errors.New("this machine has too many inotify watches: raise fs.inotify.max_user_instances with sysctl")
	case err != nil:
		return fmt.Errorf("cameras can't be watched: %w", err)
	}
	in := &inotify{f: os.NewFile(uintptr(fd), "inotify"), fd: fd, paths: s.paths, names: map[int32]string{}, open: map[string]bool{}}
	alive, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer func() { cancel(); in.f.Close(); tasks.Wait() }()
	// Permissions are set on a new device shortly after it appears.
	if _, err := unix.InotifyAddWatch(fd, s.paths.dev, unix.IN_CREATE|unix.IN_DELETE|unix.IN_ATTRIB|unix.IN_MOVE|unix.IN_ONLYDIR); err != nil {
		return fmt.Errorf("%s can't be watched: %w", s.paths.dev, err)
	}
	list, _ := readNames(s.paths.dev)
	for _, name := range list {
		in.add(name)
	}
	tasks.Go(func() {
		s.repeat(alive, s.camera, func(first bool) error { return s.readCameras(alive, in, first) })
	})
	defer kind.InterruptReads(ctx, in.f)()
	return in.read(s.camera.requestRead)
}

// add adds a watch for a camera.
func (in *inotify) add(name string) {
	if numbered(name) < 0 {
		return
	}
	path := filepath.Join(in.paths.dev, name)
	wd, err := unix.InotifyAddWatch(in.fd, path, unix.IN_OPEN|unix.IN_CLOSE)
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case err == nil:
		in.names[int32(wd)] = name
	case errors.Is(err, syscall.EACCES):
		in.denied = absent{udev.Denied(path, err).Error()}
	case !errors.Is(err, syscall.ENOENT):
		in.denied = fmt.Errorf("%s can't be watched: %w", path, err)
	}
}

// read processes the kernel's events (inotify(7)) until the file is closed or its deadline has
// passed.
func (in *inotify) read(requestRead func()) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := in.f.Read(buf)
		if err != nil {
			return err
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
			size := int(binary.NativeEndian.Uint32(b[12:]))
			b = b[unix.SizeofInotifyEvent:]
			name, _, _ := strings.Cut(string(b[:min(size, len(b))]), "\x00")
			b = b[min(size, len(b)):]
			if in.note(wd, mask, name) {
				requestRead()
			}
		}
	}
}

// note processes an event and reports whether it concerns cameras.
func (in *inotify) note(wd int32, mask uint32, name string) bool {
	if mask&(unix.IN_CREATE|unix.IN_ATTRIB|unix.IN_MOVED_TO) != 0 {
		in.add(name)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	camera := in.names[wd]
	switch {
	case mask&unix.IN_Q_OVERFLOW != 0: // events were dropped
		clear(in.open)
		return true
	case mask&unix.IN_IGNORED != 0:
		delete(in.names, wd)
		delete(in.open, camera)
	case mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0 && numbered(name) >= 0:
		in.denied = nil
	case mask&unix.IN_OPEN != 0:
		in.open[camera] = true
	case mask&unix.IN_CLOSE != 0:
		delete(in.open, camera)
	}
	return camera != "" || numbered(name) >= 0
}

// readCameras reports which cameras are in use: those that a visible process has open, and, when
// not all processes are visible, those whose last event was an open.
func (s *Source) readCameras(ctx context.Context, in *inotify, first bool) error {
	videos := s.paths.videos()
	seen, all := s.paths.holders(ctx, videos)
	in.mu.Lock()
	denied := in.denied
	if len(in.names) > 0 {
		denied = nil
	}
	used, apps := map[string]bool{}, map[string]bool{}
	for _, name := range videos {
		used[name] = !all && in.open[name]
	}
	in.mu.Unlock()
	for _, h := range seen {
		used[h.camera] = true
		if h.app != "" {
			apps[h.app] = true
		}
	}
	f := map[string]any{"what": "camera", "in_use": false, "apps": names(apps), "device": nil}
	for _, name := range videos {
		if f["device"] == nil || used[name] && f["in_use"] == false {
			f["device"] = filepath.Join(s.paths.dev, name)
		}
		f["in_use"] = f["in_use"] == true || used[name]
	}
	if len(videos) == 0 && denied == nil {
		denied = absent{"there is no camera; waiting for it"}
	}
	if denied != nil && first {
		return denied
	}
	if err := s.report(ctx, first, f); err != nil {
		return err
	}
	return denied
}
