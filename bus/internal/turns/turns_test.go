package turns

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestClose: checks that wait for their turn are given up at once, however long their delay is, and those
// that run go on.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[string](1)
		guess := func() (string, Verdict) { return "no", Wrong }
		eve := Origin{Site: "192.0.2.1", User: "ann"}
		for i := range byte(10) { // the next one waits for seconds
			if got, err := q.Do(eve, [32]byte{i}, guess); got != "no" || err != nil {
				t.Fatal(got, err)
			}
		}
		errs := make(chan error, 3)
		go func() { _, err := q.Do(eve, [32]byte{100}, guess); errs <- err }()
		go func() { _, err := q.Do(eve, [32]byte{100}, guess); errs <- err }() // the same login
		synctest.Wait()
		running, end := make(chan struct{}), make(chan struct{})
		slow := make(chan string, 1)
		go func() {
			got, _ := q.Do(Origin{Site: "192.0.2.2"}, [32]byte{101}, func() (string, Verdict) {
				close(running)
				<-end
				return "yes", Right
			})
			slow <- got
		}()
		<-running
		go func() { _, err := q.Do(Origin{Site: "192.0.2.3"}, [32]byte{102}, guess); errs <- err }()
		synctest.Wait()
		began := time.Now()
		q.Close()
		q.Close()
		for range 3 {
			if err := <-errs; !errors.Is(err, ErrBusy) {
				t.Errorf("a check that waits: %v", err)
			}
		}
		if _, err := q.Do(eve, [32]byte{103}, guess); !errors.Is(err, ErrBusy) {
			t.Errorf("a later check: %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s", took)
		}
		close(end)
		if got := <-slow; got != "yes" {
			t.Errorf("the check that ran: %q", got)
		}
		synctest.Wait()
		if _, callers := q.Sizes(); callers != 0 {
			t.Errorf("%d callers are left", callers)
		}
	})
}
