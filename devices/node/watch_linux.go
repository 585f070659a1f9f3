// This file hears from the kernel that nodes come: inotify(7).

package node

import (
	"os"

	"golang.org/x/sys/unix"
)

// Watch is news of files that come into the folders or whose rights change, and of folders that go, as long as it isn't closed.
// Folders that aren't there are left out; where nothing can be watched, news is nil. News that isn't taken yet is one.
func Watch(dirs ...string) (news <-chan struct{}, closeIt func()) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, func() {}
	}
	watched := false
	for _, d := range dirs {
		_, err := unix.InotifyAddWatch(fd, d, unix.IN_CREATE|unix.IN_ATTRIB|unix.IN_MOVED_TO) // the end of the folder, IN_IGNORED, is told anyway
		watched = watched || err == nil
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if !watched {
		f.Close()
		return nil, func() {}
	}
	c := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 4096)
		for {
			if _, err := f.Read(buf); err != nil {
				return
			}
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}()
	return c, func() { f.Close(); <-ended }
}
