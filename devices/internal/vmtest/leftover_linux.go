// This file checks that what a test opened is closed again.

package vmtest

import (
	"os"
	"runtime"
	"testing"
	"time"
)

// NothingLeftOver calls once several times, and fails unless there are soon no more goroutines and
// open files than after the first call, in which the runtime starts goroutines of its own.
func NothingLeftOver(t *testing.T, once func()) {
	t.Helper()
	count := func() (goroutines, files int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(list)
	}
	once()
	goroutines, files := count()
	for range 10 {
		once()
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		g, f := count()
		if g <= goroutines && f <= files {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("there were %d goroutines and %d files, and now there are %d and %d", goroutines, files, g, f)
		}
	}
}
