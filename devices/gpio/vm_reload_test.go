//go:build linux

// This file tests reloads and refusals with a real kernel.

package gpio

import (
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/vmtest"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestGuestReloadLosesNothing(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := kindtest.NewBus()
	o := options("GPIO15")
	o.Initial = true
	stop := start(t, b, o)
	expect(t, b, "GPIO15 5 initial 0 0 0 0")
	stop()
	steps(t, "5", 500) // no source reads them
	stop = start(t, b, o)
	for i := 1; i <= 500; i++ {
		if e := b.Next(t); e["seq"] != int64(i) || e["lost"] != int64(0) {
			t.Fatalf("event %d: %v", i, e)
		}
	}
	stop()

	b.Mu.Lock()
	b.Gate = make(chan struct{}) // the bus refuses the edges that were read: the next source posts them
	b.Mu.Unlock()
	stop = start(t, b, o)
	steps(t, "5", 100)
	stop()
	close(b.Gate)
	o.Edge = "rising" // the held line is reconfigured, and its earlier edges are kept
	stop = start(t, b, o)
	for i := 501; i <= 600; i++ {
		if e := b.Next(t); e["seq"] != int64(i) || e["lost"] != int64(0) {
			t.Fatalf("event %d: %v", i, e)
		}
	}
	steps(t, "5", 4)
	expect(t, b, "GPIO15 5 rising 1 601 601 0", "GPIO15 5 rising 1 602 602 0")
	stop()

	o.Line, o.Lines = "", []Line{"GPIO14", "GPIO15"} // other lines: a new request
	stop = start(t, b, o)
	expect(t, b, "GPIO14 4 initial 0 0 0 0", "GPIO15 5 initial 0 0 0 0")
	stop()
	o.Line, o.Lines = "GPIO14", nil
	stop = start(t, b, o)
	expect(t, b, "GPIO14 4 initial 0 0 0 0")
	o2 := options("GPIO15") // it was released
	b2 := kindtest.NewBus()
	start(t, b2, o2)()
	b2.Keep(false)
	stop()
	b.Keep(false)
}

func TestGuestErrorsSayWhatToDo(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := kindtest.NewBus()
	stop := start(t, b, options("GPIO15"))
	defer b.Keep(false)
	defer stop()
	two := options("")
	two.Lines = []Line{"GPIO14", "GPIO15"}
	chip := options("GPIO15")
	chip.Chip = "pinctrl-rp1"
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"busy":         {options("GPIO15"), "line GPIO15 of gpiochip0 is busy: GPIO15 is held by postbus test GPIO15 (process 1, init): device or resource busy"},
		"one busy":     {two, "line GPIO14, GPIO15 of gpiochip0 is busy: GPIO15 is held by postbus test GPIO15 (process 1, init): device or resource busy"},
		"no such line": {options("GPIO71"), "there is no line GPIO71: gpiochip0 (9030000.pl061, 8 lines) has GPIO10, GPIO11, GPIO12, GPIO13, GPIO14, GPIO15, 2"},
		"number":       {options("8"), "there is no line 8: gpiochip0 (9030000.pl061, 8 lines) has the lines 0 to 7"},
		"no such chip": {chip, "there is no chip pinctrl-rp1; available: gpiochip0 (9030000.pl061, 8 lines)"},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(c.o, kindtest.NewBus())
			err := s.Open(t.Context())
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			s.Close()
		})
	}
	if name, _ := holder("gpiochip0", 4); name != 0 {
		t.Error("a free line has a holder")
	}
	list := strings.Join(Describe(), "\n")
	for _, want := range []string{"chip: 9030000.pl061  # gpiochip0, 8 lines", "  line: GPIO15  # number 5, input, held by postbus test GPIO15", "  line: 6  # number 6, input"} {
		if !strings.Contains(list+"\n", want+"\n") {
			t.Errorf("%s\nlacks %s", list, want)
		}
	}
}

// TestGuestNothingIsLeftOver opens and closes repeatedly.
func TestGuestNothingIsLeftOver(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	vmtest.NothingLeftOver(t, func() {
		b := kindtest.NewBus()
		start(t, b, options("GPIO15"))()
		b.Keep(false)
		a := NewAction(ActionOptions{Line: "GPIO11", Drive: "push-pull", Initial: Off, Safe: Off}, b)
		if err := a.Do(t.Context(), Args{Pulse: time.Hour}); err != nil {
			t.Error(err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		bad := New(options("GPIO71"), b)
		if err := bad.Open(t.Context()); err == nil {
			t.Error("there is a GPIO71")
		}
		bad.Close()
	})
}
