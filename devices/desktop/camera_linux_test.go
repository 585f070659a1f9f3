// This file tests cameras: files with names of cameras, opened by programs, seen by the real kernel
// and the real /proc.

package desktop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/desktoptest"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

var cameraFields = []string{"in_use", "apps", "device"}

// studio makes a /dev with files as cameras.
func studio(t *testing.T, names ...string) paths {
	t.Helper()
	at := paths{dev: t.TempDir(), proc: "/proc", udev: t.TempDir(), sys: t.TempDir()}
	for _, n := range names {
		plug(t, at, n)
	}
	return at
}

func plug(t *testing.T, at paths, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(at.dev, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// film starts a program under a name, which has a file open.
func film(t *testing.T, at paths, program, name string) *desktoptest.Program {
	t.Helper()
	link := filepath.Join(t.TempDir(), program)
	if err := os.Symlink("/bin/sh", link); err != nil {
		t.Fatal(err)
	}
	p := desktoptest.Start(t, nil, link, "-c", `exec 7<"$1" && echo open && { sleep 600 7<&- & wait; }`, "sh", filepath.Join(at.dev, name))
	if l := p.Line(); l != "open" {
		t.Fatal(l)
	}
	return p
}

func TestCamera(t *testing.T) {
	t.Parallel()
	at := studio(t, "video10", "video2", "video", "videos1", "null")
	r := runIn(t, Options{Watch: []string{"camera"}, Initial: true}, nil, at)
	dev := func(name string) string { return filepath.Join(at.dev, name) }
	r.want("camera false [] "+dev("video2"), cameraFields...)
	r.says("")
	zoom := film(t, at, "zoom", "video10")
	r.want("camera true [zoom] "+dev("video10"), cameraFields...)
	cheese := film(t, at, "a-long-name-for-cheese", "video2")
	r.want("camera true [a-long-name-for zoom] "+dev("video2"), cameraFields...)
	zoom.Kill()
	r.want("camera true [a-long-name-for] "+dev("video2"), cameraFields...)
	plug(t, at, "video0") // no program uses it
	film(t, at, "late", "video0")
	r.until("camera true [a-long-name-for late] "+dev("video0"), cameraFields...)
	cheese.Kill()
	r.want("camera true [late] "+dev("video0"), cameraFields...)
	if err := os.Remove(dev("video0")); err != nil { // pulled out
		t.Fatal(err)
	}
	r.want("camera false [] "+dev("video2"), cameraFields...)
	for _, name := range []string{"video2", "video10"} {
		if err := os.Remove(dev(name)); err != nil {
			t.Fatal(err)
		}
	}
	r.until("camera false [] <nil>", cameraFields...)
	r.says("camera: there is no camera; waiting for it")
	plug(t, at, "video2")
	r.want("camera false [] "+dev("video2"), cameraFields...)
	r.says("")
	for range 2 { // a new one is watched as well
		zoom = film(t, at, "zoom", "video2")
		r.want("camera true [zoom] "+dev("video2"), cameraFields...)
		zoom.Kill()
		r.want("camera false [] "+dev("video2"), cameraFields...)
	}
	r.stop()
	r.none()
}

func TestACameraThatIsInUseAtTheStart(t *testing.T) {
	t.Parallel()
	at := studio(t, "video0")
	p := film(t, at, "obs", "video0")
	r := runIn(t, Options{Watch: []string{"camera"}, Initial: true}, nil, at)
	r.want("camera true [obs] "+filepath.Join(at.dev, "video0"), cameraFields...)
	p.Kill()
	r.want("camera false [] "+filepath.Join(at.dev, "video0"), cameraFields...)
}

// TestACameraThatIsADevice checks that a camera is identified by its device number, whatever its
// path.
func TestACameraThatIsADevice(t *testing.T) {
	t.Parallel()
	at, other := studio(t), studio(t)
	for _, place := range []paths{at, other} { // as in a container
		if err := unix.Mknod(filepath.Join(place.dev, "video0"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil { // /dev/null, which opens
			t.Logf("a device can't be made here: %v", err)
			return
		}
	}
	p := film(t, other, "far", "video0")
	r := runIn(t, Options{Watch: []string{"camera"}, Initial: true}, nil, at)
	r.want("camera true [far] "+filepath.Join(at.dev, "video0"), cameraFields...)
	p.Kill() // this isn't noticed, as it opened another file
	film(t, at, "near", "video0")
	r.want("camera true [near] "+filepath.Join(at.dev, "video0"), cameraFields...)
}

// TestALookAtACamera checks that a short open, as programs do when they look for cameras, does not
// count as use.
func TestALookAtACamera(t *testing.T) {
	t.Parallel()
	at := studio(t, "video0")
	r := runIn(t, Options{Watch: []string{"camera"}, Initial: true}, nil, at)
	r.want("camera false [] "+filepath.Join(at.dev, "video0"), cameraFields...)
	for range 5 {
		f, err := os.Open(filepath.Join(at.dev, "video0"))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	p := film(t, at, "obs", "video0")
	r.want("camera true [obs] "+filepath.Join(at.dev, "video0"), cameraFields...)
	p.Kill()
	r.want("camera false [] "+filepath.Join(at.dev, "video0"), cameraFields...)
}

// TestACameraOfAnotherUser checks that the events of opening and closing decide when the processes
// are not visible.
func TestACameraOfAnotherUser(t *testing.T) {
	t.Parallel()
	at := studio(t, "video0")
	at.proc = t.TempDir()
	r := runIn(t, Options{Watch: []string{"camera"}, Initial: true}, nil, at)
	r.want("camera false [] "+filepath.Join(at.dev, "video0"), cameraFields...)
	for range 2 {
		p := film(t, at, "motion", "video0")
		r.want("camera true [] "+filepath.Join(at.dev, "video0"), cameraFields...)
		p.Kill()
		r.want("camera false [] "+filepath.Join(at.dev, "video0"), cameraFields...)
	}
}

// TestWhatIsNoCamera checks that udev's information excludes codecs and metadata devices.
func TestWhatIsNoCamera(t *testing.T) {
	t.Parallel()
	at := studio(t)
	for name, say := range map[string]string{"video0": "S:v4l\nE:ID_V4L_CAPABILITIES=:capture:\n", "video1": "I:5\nE:ID_V4L_CAPABILITIES=:\n", "video10": "I:5\nE:ID_V4L_CAPABILITIES=:video_output:", "video3": "I:5\nE:OTHER=1", "video4": ""} {
		path, number := filepath.Join(at.dev, name), numbered(name)
		if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(250, uint32(number)))); err != nil {
			t.Logf("a device can't be made here: %v", err)
			return
		}
		if say != "" {
			if err := os.WriteFile(filepath.Join(at.udev, fmt.Sprintf("c250:%d", number)), []byte(say), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := strings.Join(at.videos(), " "); got != "video0 video3 video4" {
		t.Error(got)
	}
	if err := os.Mkdir(filepath.Join(at.sys, "video0"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at.sys, "video0", "name"), []byte("Integrated Camera\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(describe(Options{SystemBus: nowhere, SessionBus: nowhere, SoundServer: silent}, at), "\n"); !strings.Contains(got, "watch: [camera]  # "+at.dev+"/video0, Integrated Camera\nwatch: [camera]  # "+at.dev+"/video3\n") ||
		!strings.Contains(got, "# there is no sound server at /nowhere/native") {
		t.Error(got)
	}
}

// TestNoRightsForACamera checks permissions that are set shortly after a device appears.
func TestNoRightsForACamera(t *testing.T) {
	t.Parallel()
	at := studio(t, "video0")
	in := &inotify{fd: -1, paths: at, names: map[int32]string{}, open: map[string]bool{}}
	in.denied = absent{"no permission for video0"}
	s := New(Options{Watch: []string{"camera"}, Initial: true}, kindtest.NewBus())
	s.paths = at
	reported := 0
	s.emit = func(_ context.Context, _ time.Time, _ map[string]any) error { reported++; return nil }
	if err := s.readCameras(t.Context(), in, true); err == nil || err.Error() != "no permission for video0" || reported != 0 {
		t.Error(err, reported)
	}
	in.names[1] = "video0"
	if err := s.readCameras(t.Context(), in, true); err != nil || reported != 1 {
		t.Error(err, reported)
	}
	// Events are processed as they arrive.
	if in.note(1, unix.IN_OPEN, "") && in.open["video0"] && in.note(1, unix.IN_CLOSE_WRITE, "") && !in.open["video0"] &&
		!in.note(9, unix.IN_ATTRIB, "null") && in.note(9, unix.IN_DELETE, "video0") && in.denied == nil {
		return
	}
	t.Error("the kernel's word isn't understood")
}
