//go:build unix

package atomicfile

import (
	"os"
	"syscall"
)

// keepOwner gives f the owner and the group of a file. Without it, root's edit of a file would keep
// the user whose service reads it out. Only root may give files away: for others this fails, and the
// group alone may succeed.
func keepOwner(f *os.File, file string) {
	info, err := os.Stat(file)
	if err != nil {
		return
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && f.Chown(int(st.Uid), int(st.Gid)) != nil {
		_ = f.Chown(-1, int(st.Gid))
	}
}

// syncFolder writes a folder's entries to disk. Some file systems have no such operation.
func syncFolder(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
