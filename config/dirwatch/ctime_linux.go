package dirwatch

import (
	"os"
	"syscall"
	"time"
)

// changeTime is when the file's content or attributes changed. It differs for a copy that kept the
// modification time.
func changeTime(info os.FileInfo) time.Duration {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Duration(st.Ctim.Nano())
	}
	return 0
}
