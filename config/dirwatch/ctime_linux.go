package dirwatch

import (
	"os"
	"syscall"
	"time"
)

// changeTime is when the file's content or attributes changed: a copy that keeps the time of modification has another one.
func changeTime(info os.FileInfo) time.Duration {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Duration(st.Ctim.Nano())
	}
	return 0
}
