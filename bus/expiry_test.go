package bus_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

// TestASessionIsKeptForItsSecond: its expiry is in whole seconds, and it may end at any fraction of
// one [3.1.2.11.2].
func TestASessionIsKeptForItsSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, bustest.NewDisk(1), bus.Options{})
		defer b.Close()
		for i := range 10 {
			name := fmt.Sprint("s", i)
			kept := func() bool {
				return slices.ContainsFunc(b.Sessions(), func(s bus.SessionInfo) bool { return s.Name == name })
			}
			time.Sleep(100 * time.Millisecond)
			attach(t, b, name, 1).Detach(true, 1)
			if time.Sleep(990 * time.Millisecond); !kept() {
				t.Errorf("%s ended before its second was over", name)
			}
			if time.Sleep(5 * time.Second); kept() {
				t.Errorf("%s is still there 6 s after its end", name)
			}
		}
	})
}
