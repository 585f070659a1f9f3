//go:build linux

// This file tests the action with a real kernel, and a chip that is removed and added again.

package gpio

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/vmtest"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestGuestOutput(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	pins := func() uint64 {
		n, err := strconv.ParseUint(vmtest.Ask(t, "level", "1"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	b := kindtest.NewBus()
	make := func(initial, safe Level) *Action {
		a := NewAction(ActionOptions{Line: "GPIO11", Drive: "push-pull", Initial: initial, Safe: safe}, b)
		if got := b.NextDegraded(t); got != "<nil>" {
			t.Fatal(got)
		}
		return a
	}
	end := func(a *Action) {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	is := func(want uint64, when string) {
		t.Helper()
		if got := pins(); got != want {
			t.Errorf("%s: the pin is %d", when, got)
		}
	}
	a := make(On, Off)
	is(1, "initial on")
	for _, v := range []any{false, "on", 0, 1.0} {
		if err := a.Do(t.Context(), Args{Value: v}); err != nil {
			t.Fatal(err)
		}
		want, _ := level(v)
		is(uint64(want), fmt.Sprint(v))
	}
	end(a)
	is(0, "safe off")

	a = make(Off, On)
	is(0, "initial off")
	end(a)
	is(1, "safe on")
	a = make(Keep, Keep)
	is(1, "initial keep")
	end(a)
	is(1, "safe keep")

	a = make(Off, Off)
	if err := a.Do(t.Context(), Args{Pulse: 300 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	is(1, "in a pulse")
	until(t, "the pulse to end", func() bool { return pins() == 0 })
	if err := a.Do(t.Context(), Args{Pulse: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := a.Do(t.Context(), Args{Value: false}); err != nil { // ends the pulse
		t.Fatal(err)
	}
	if err := a.Do(t.Context(), Args{Value: true}); err != nil {
		t.Fatal(err)
	}
	is(1, "after a pulse that was cut off")

	b2 := kindtest.NewBus()
	bell := NewAction(ActionOptions{Line: "GPIO12", Drive: "push-pull", Initial: Off, Safe: Keep}, b2)
	if got := b2.NextDegraded(t); got != "<nil>" {
		t.Fatal(got)
	}
	if err := bell.Do(t.Context(), Args{Pulse: time.Hour}); err != nil {
		t.Fatal(err)
	}
	end(bell)
	bell = NewAction(ActionOptions{Line: "GPIO12", Drive: "push-pull", Initial: Keep, Safe: Off}, b2)
	if got := b2.NextDegraded(t); got != "<nil>" {
		t.Fatal(got)
	}
	if bits, err := bell.r.values(); bits != 0 || err != nil {
		t.Errorf("safe keep in a pulse: the line stays %d, %v", bits, err)
	}
	end(bell)

	s := New(options("GPIO11"), kindtest.NewBus())
	if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "held by postbus test GPIO11") {
		t.Error(err)
	}
	s.Close()
	end(a)
	is(0, "safe off at the end")

	a = NewAction(ActionOptions{Line: "GPIO11", Drive: "push-pull", Initial: Off, Safe: Off, ActiveLow: true}, b)
	b.NextDegraded(t)
	is(1, "active low, off")
	if err := a.Do(t.Context(), Args{Value: "on"}); err != nil {
		t.Fatal(err)
	}
	is(0, "active low, on")
	end(a)
}

// until waits until ok returns true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 5 s for %s", what)
		}
	}
}

func TestRemoval(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	bind := func(verb string) {
		t.Helper()
		if err := os.WriteFile("/sys/bus/amba/drivers/pl061_gpio/"+verb, []byte("9030000.pl061"), 0); err != nil {
			t.Fatal(err)
		}
	}
	b := kindtest.NewBus()
	out := NewAction(ActionOptions{Line: "GPIO11", Drive: "push-pull", Initial: On, Safe: Off}, b)
	if got := b.NextDegraded(t); got != "<nil>" {
		t.Fatal(got)
	}
	s := New(options("GPIO15"), b)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Stream(t.Context(), b.Post) }()
	time.Sleep(50 * time.Millisecond) // it is reading by now; if not, the test covers a bit less
	began := time.Now()
	bind("unbind")
	select {
	case err := <-ended:
		if err == nil || !errors.Is(err, unix.ENODEV) {
			t.Error(err)
		}
		vmtest.Figure("a chip that was removed ended the source after %s: %v", time.Since(began).Round(time.Millisecond), err)
	case <-time.After(time.Minute):
		t.Error("the source did not end within a minute")
	}
	s.Close()
	for b.NextDegraded(t) == "<nil>" { // until the action has noticed it
	}
	if err := New(options("GPIO15"), b).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "no GPIO chip") {
		t.Error(err)
	}
	bind("bind")
	began = time.Now()
	for b.NextDegraded(t) != "<nil>" {
	}
	vmtest.Figure("an output was held again %s after its chip came back", time.Since(began).Round(time.Millisecond))
	if err := out.Do(t.Context(), Args{Value: "off"}); err != nil {
		t.Error(err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	b2 := kindtest.NewBus()
	start(t, b2, options("GPIO15"))()
	b2.Keep(false)
}
