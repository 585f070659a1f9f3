// This file gets notifications from the kernel about new nodes: inotify(7).

package node

import (
	"os"

	"golang.org/x/sys/unix"
)

// Watch notifies about files that appear in the folders or whose permissions change, and about
// removed folders, until it is closed. Missing folders are skipped; where no folder can be watched,
// changes is nil. Several notifications become one until it is received.
func Watch(dirs ...string) (changes <-chan struct{}, closeIt func()) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, func() {}
	}
	watched := false
	for _, d := range dirs {
		_, err := unix.InotifyAddWatch(fd, d, unix.IN_CREATE|unix.IN_ATTRIB|unix.IN_MOVED_TO) // the end of the folder, IN_IGNORED, is always reported
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
