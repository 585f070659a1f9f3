package kindtest

// This file finds goroutines that a test leaves behind.

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// NoMoreGoroutines waits until there are no more goroutines than before.
func NoMoreGoroutines(t testing.TB, before int) {
	t.Helper()
	for end := time.Now().Add(Patience); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// Main runs the tests of a package, and fails when they leave goroutines behind. It is the body of
// a TestMain.
func Main(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	fuzzing := flag.Lookup("test.fuzz").Value.String() != "" // its goroutines remain
	for end := time.Now().Add(Patience); code == 0 && !fuzzing && runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			fmt.Printf("%d goroutines, %d before\n%s\n", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
			code = 1
		}
	}
	os.Exit(code)
}
