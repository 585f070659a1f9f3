//go:build !linux

package dirwatch

import (
	"os"
	"time"
)

// changeTime is not available on this system.
func changeTime(os.FileInfo) time.Duration { return 0 }
