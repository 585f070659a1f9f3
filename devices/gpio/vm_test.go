//go:build linux

// The tests against a real kernel: an ARM machine whose PL061 has eight lines that the host moves from outside.

package gpio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/vmtest"
)

func TestMain(m *testing.M) { os.Exit(vmtest.Main(m)) }

func TestLinesOfAKernel(t *testing.T) {
	vmtest.Test(t, vmtest.Machine{
		Arch: "arm64",
		Run:  "^TestGuest",
		Tree: func(dtb []byte) ([]byte, error) { // line 6 has no name, and 7 is called as a number
			return vmtest.SetProperty(dtb, "pl061@9030000", "gpio-line-names", []byte("GPIO10\x00GPIO11\x00GPIO12\x00GPIO13\x00GPIO14\x00GPIO15\x00\x002\x00"))
		},
		Answer: func(vm *vmtest.VM, words []string) (string, error) {
			chip, err := vm.Find("pl061")
			if err != nil {
				return "", err
			}
			number := func(i int) int {
				n, cerr := strconv.Atoi(words[i])
				err = errors.Join(err, cerr)
				return n
			}
			began := time.Now()
			switch words[0] {
			case "wire": // LINE LEVEL
				if line, level := number(1), number(2); err == nil {
					err = vm.Wire(chip, line, level)
				}
			case "toggle": // LINE TIMES PAUSE, beginning with 1
				line, times := number(1), number(2)
				pause, perr := time.ParseDuration(words[3])
				err = errors.Join(err, perr)
				for i := 0; i < times && err == nil; i++ {
					if err = vm.Wire(chip, line, 1-i%2); err == nil {
						err = taken(vm, line)
					}
					for end := time.Now().Add(pause); time.Now().Before(end); {
						// asleep, it would be a millisecond at least
					}
				}
			case "data": // the chip's data register: the levels of its pins
				n, err := register(vm, 0x3fc)
				return strconv.FormatUint(n, 10), err
			default:
				err = fmt.Errorf("what is %q?", words)
			}
			return time.Since(began).String(), err
		},
	})
}

// taken waits until the kernel has seen the edge and waits for the next one: the chip has one bit for an edge, and what is
// faster than the processor takes interrupts no kernel can count.
func taken(vm *vmtest.VM, line int) error {
	for end := time.Now().Add(5 * time.Second); ; {
		pending, err := register(vm, 0x414) // PL061's raw interrupt status
		if err != nil {
			return err
		}
		enabled, err := register(vm, 0x410)
		if err != nil || (pending|^enabled)>>line&1 == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("the kernel did not take an edge of line %d", line)
		}
	}
}

func register(vm *vmtest.VM, offset int) (uint64, error) {
	text, err := vm.Qtest(fmt.Sprintf("readl %#x", 0x9030000+offset))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 64)
}

// start runs a source; what is returned stops it and leaves its lines held.
func start(t *testing.T, b *bus, o Options) (stop func()) {
	t.Helper()
	t.Cleanup(b.letGo)
	s := New(o, b)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Stream(ctx, b.post) }()
	return func() {
		t.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Second):
			t.Error("the source did not end within a second")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func options(line string) Options {
	o := Defaults()
	o.Line = Line(line)
	return o
}

func (b *bus) next(t *testing.T) map[string]any {
	t.Helper()
	select {
	case e := <-b.events:
		return e
	case <-time.After(5 * time.Second):
		t.Fatal("no event within 5 s")
		return nil
	}
}

func (b *bus) none(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case e := <-b.events:
		t.Errorf("there is an event: %v", e)
	case <-time.After(within):
	}
}

func words(e map[string]any) string {
	return fmt.Sprint(e["line"], " ", e["offset"], " ", e["edge"], " ", e["value"], " ", e["seq"], " ", e["line_seq"], " ", e["lost"])
}

func expect(t *testing.T, b *bus, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := words(b.next(t)); got != w {
			t.Errorf("got %s, want %s", got, w)
		}
	}
}

func TestGuestEdges(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := newBus()
	o := options("GPIO15")
	o.Initial = true
	stop := start(t, b, o)
	expect(t, b, "GPIO15 5 initial 0 0 0 0")
	before := time.Now()
	vmtest.Ask(t, "wire", "5", "1")
	e := b.next(t)
	if got := words(e); got != "GPIO15 5 rising 1 1 1 0" {
		t.Error(got)
	}
	at, err := time.Parse(time.RFC3339Nano, e["time"].(string))
	if err != nil || at.Before(before.Add(-time.Millisecond)) || at.After(time.Now()) || !at.Equal(e["at"].(time.Time)) {
		t.Errorf("the kernel's time is %v, which is not after %v and before now: %v", at, before, err)
	}
	vmtest.Figure("an edge came %s after the kernel saw it", time.Since(at).Round(time.Microsecond))
	if e["chip"] == "" {
		t.Error("no label")
	}
	vmtest.Ask(t, "wire", "5", "0")
	expect(t, b, "GPIO15 5 falling 0 2 2 0")
	stop()
	b.letGo()

	o.ActiveLow, o.Edge, o.Line = true, "rising", "5" // by its number now
	stop = start(t, b, o)
	expect(t, b, "GPIO15 5 initial 1 0 0 0")
	vmtest.Ask(t, "wire", "5", "1")
	vmtest.Ask(t, "wire", "5", "0")
	expect(t, b, "GPIO15 5 rising 1 1 1 0")
	b.none(t, 100*time.Millisecond)
	stop()
	b.letGo()
}

func TestGuestSeveralLines(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := newBus()
	o := Defaults()
	o.Lines = []Line{"GPIO14", "GPIO15", "6", "2"} // "2" is line 7's name
	o.Initial = true
	stop := start(t, b, o)
	expect(t, b, "GPIO14 4 initial 0 0 0 0", "GPIO15 5 initial 0 0 0 0", "6 6 initial 0 0 0 0", "2 7 initial 0 0 0 0")
	for _, l := range []string{"7", "5", "6", "5"} {
		level := "1"
		if l == "5" && len(b.events) > 1 {
			level = "0"
		}
		vmtest.Ask(t, "wire", l, level)
		time.Sleep(20 * time.Millisecond)
	}
	expect(t, b, "2 7 rising 1 1 1 0", "GPIO15 5 rising 1 2 1 0", "6 6 rising 1 3 1 0", "GPIO15 5 falling 0 4 2 0")
	vmtest.Ask(t, "wire", "7", "0")
	vmtest.Ask(t, "wire", "6", "0")
	stop()
	b.letGo()
}

// burst counts what becomes of edges, which a last one follows: those that came, and those that are said to be lost.
func burst(t *testing.T, b *bus, all int) (events, lost int) {
	t.Helper()
	for at := int64(0); events+lost < all; events++ {
		e := b.next(t)
		seq := e["line_seq"].(int64)
		if seq <= at {
			t.Fatalf("after number %d comes %d", at, seq)
		}
		at = seq
		lost += int(e["lost"].(int64))
	}
	if lost != b.lostAll() {
		t.Errorf("%d are lost in events, %d were reported", lost, b.lostAll())
	}
	return events, lost
}

func TestGuestThousandFastEdges(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	for _, pause := range []string{"0s", "300us", "1ms"} {
		b := newBus()
		stop := start(t, b, options("GPIO15"))
		took := vmtest.Ask(t, "toggle", "5", "1000", pause)
		time.Sleep(400 * time.Millisecond) // what was merged is known then, and said by the next edge
		vmtest.Ask(t, "toggle", "5", "1", pause)
		events, lost := burst(t, b, 1001)
		if events+lost != 1001 {
			t.Errorf("%d came and %d were lost, of 1,001", events, lost)
		}
		vmtest.Figure("1,000 edges in %s: %d events, %d lost and said so: %v", took, events-1, lost, b.lost)
		vmtest.Ask(t, "wire", "5", "0")
		stop()
		b.letGo()
	}
}

func TestGuestLossIsReported(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := newBus()
	b.gate = make(chan struct{})
	stop := start(t, b, options("GPIO15"))
	vmtest.Ask(t, "toggle", "5", "3000", "300us")
	close(b.gate)
	time.Sleep(500 * time.Millisecond)
	vmtest.Ask(t, "toggle", "5", "1", "0s")
	events, lost := burst(t, b, 3001)
	if events+lost != 3001 || lost < 1000 {
		t.Errorf("%d came and %d were lost, of 3,001", events, lost)
	}
	vmtest.Figure("3,000 edges while the bus stood still: %d events, %d lost and said so: %v", events-1, lost, b.lost)
	vmtest.Ask(t, "wire", "5", "0")
	stop()
	b.letGo()
}

func TestGuestDebounce(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := newBus()
	o := options("GPIO15")
	o.Debounce = 50 * time.Millisecond
	stop := start(t, b, o)
	vmtest.Ask(t, "toggle", "5", "11", "0s")
	expect(t, b, "GPIO15 5 rising 1 1 1 0")
	b.none(t, 200*time.Millisecond)
	vmtest.Figure("debounce of 50 ms: 11 edges are 1 event")
	stop()
	vmtest.Ask(t, "wire", "5", "0")
	b.letGo()
}

func TestGuestReloadLosesNothing(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := newBus()
	o := options("GPIO15")
	o.Initial = true
	stop := start(t, b, o)
	expect(t, b, "GPIO15 5 initial 0 0 0 0")
	stop()
	vmtest.Ask(t, "toggle", "5", "500", "1ms") // nobody reads
	stop = start(t, b, o)
	for i := 1; i <= 500; i++ {
		if e := b.next(t); e["seq"] != int64(i) || e["lost"] != int64(0) {
			t.Fatalf("event %d: %v", i, e)
		}
	}
	stop()

	b.gate = make(chan struct{}) // the bus refuses what was read: the next source has it
	stop = start(t, b, o)
	vmtest.Ask(t, "toggle", "5", "100", "1ms")
	stop()
	close(b.gate)
	o.Edge = "rising" // the held line is changed, and its edges of before are not forgotten
	stop = start(t, b, o)
	for i := 501; i <= 600; i++ {
		if e := b.next(t); e["seq"] != int64(i) || e["lost"] != int64(0) {
			t.Fatalf("event %d: %v", i, e)
		}
	}
	vmtest.Ask(t, "toggle", "5", "4", "10ms")
	expect(t, b, "GPIO15 5 rising 1 601 601 0", "GPIO15 5 rising 1 602 602 0")
	stop()

	o.Line, o.Lines = "", []Line{"GPIO14", "GPIO15"} // another set of lines: held anew
	stop = start(t, b, o)
	expect(t, b, "GPIO14 4 initial 0 0 0 0", "GPIO15 5 initial 0 0 0 0")
	stop()
	o.Line, o.Lines = "GPIO14", nil
	stop = start(t, b, o)
	expect(t, b, "GPIO14 4 initial 0 0 0 0")
	o2 := options("GPIO15") // it was let go of
	b2 := newBus()
	start(t, b2, o2)()
	b2.letGo()
	stop()
	b.letGo()
}

func TestGuestErrorsSayWhatToDo(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := newBus()
	b.id = "doorbell"
	stop := start(t, b, options("GPIO15"))
	defer b.letGo()
	defer stop()
	two := options("")
	two.Lines = []Line{"GPIO14", "GPIO15"}
	chip := options("GPIO15")
	chip.Chip = "pinctrl-rp1"
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"busy":         {options("GPIO15"), "line GPIO15 of gpiochip0 is busy: GPIO15 is held by postbus doorbell (process 1, init): device or resource busy"},
		"one busy":     {two, "line GPIO14, GPIO15 of gpiochip0 is busy: GPIO15 is held by postbus doorbell (process 1, init): device or resource busy"},
		"no such line": {options("GPIO71"), "there is no line GPIO71: gpiochip0 (9030000.pl061, 8 lines) has GPIO10, GPIO11, GPIO12, GPIO13, GPIO14, GPIO15, 2"},
		"number":       {options("8"), "there is no line 8: gpiochip0 (9030000.pl061, 8 lines) has the lines 0 to 7"},
		"no such chip": {chip, "there is no chip pinctrl-rp1; there are gpiochip0 (9030000.pl061, 8 lines)"},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(c.o, newBus())
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
	for _, want := range []string{"chip: 9030000.pl061  # gpiochip0, 8 lines", "  line: GPIO15  # number 5, input, held by postbus doorbell", "  line: 6  # number 6, input"} {
		if !strings.Contains(list+"\n", want+"\n") {
			t.Errorf("%s\nlacks %s", list, want)
		}
	}
}

func TestGuestCount(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := newBus()
	o := options("GPIO15")
	o.Edge, o.Count = "rising", &Count{Every: 250 * time.Millisecond}
	stop := start(t, b, o)
	vmtest.Ask(t, "toggle", "5", "3000", "1ms")
	var total, sum int64
	hz := 0.0
	for total < 1500 {
		e := b.next(t)
		sum += e["count"].(int64)
		total = e["total"].(int64)
		if f, ok := e["hz"].(float64); ok && f > hz {
			hz = f
		}
	}
	if total != 1500 || sum != 1500 || b.lostAll() != 0 {
		t.Errorf("counted %d, in all %d, lost %d, of 1,500", sum, total, b.lostAll())
	}
	vmtest.Figure("counted %d rising edges at up to %.0f Hz", total, hz)
	stop()
	vmtest.Ask(t, "toggle", "5", "20", "10ms") // nobody counts
	stop = start(t, b, o)
	for total < 1510 {
		total = b.next(t)["total"].(int64)
	}
	if total != 1510 {
		t.Errorf("counted %d over a reload, of 1,510", total)
	}
	stop()
	o.Count = nil // and from counting to edges without a made-up loss
	stop = start(t, b, o)
	vmtest.Ask(t, "toggle", "5", "2", "10ms")
	expect(t, b, "GPIO15 5 rising 1 1511 1511 0")
	stop()
	b.letGo()
}

func TestGuestOutput(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	pins := func() uint64 {
		n, err := strconv.ParseUint(vmtest.Ask(t, "data"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n >> 1 & 1
	}
	b := newBus()
	make := func(initial, safe Level) *Action {
		a := NewAction(ActionOptions{Line: "GPIO11", Drive: "push-pull", Initial: initial, Safe: safe}, b)
		if err := <-b.degraded; err != nil {
			t.Fatal(err)
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

	s := New(options("GPIO11"), newBus())
	if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "held by postbus test") {
		t.Error(err)
	}
	s.Close()
	end(a)
	is(0, "safe off at the end")

	a = NewAction(ActionOptions{Line: "GPIO11", Drive: "push-pull", Initial: Off, Safe: Off, ActiveLow: true}, b)
	<-b.degraded
	is(1, "active low, off")
	if err := a.Do(t.Context(), Args{Value: "on"}); err != nil {
		t.Fatal(err)
	}
	is(0, "active low, on")
	end(a)
}

// until waits for something.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 5 s for %s", what)
		}
	}
}

// TestGuestZChipGoesAndComes is the last: the other tests need the chip.
func TestGuestZChipGoesAndComes(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	bind := func(verb string) {
		t.Helper()
		if err := os.WriteFile("/sys/bus/amba/drivers/pl061_gpio/"+verb, []byte("9030000.pl061"), 0); err != nil {
			t.Fatal(err)
		}
	}
	b := newBus()
	out := NewAction(ActionOptions{Line: "GPIO11", Drive: "push-pull", Initial: On, Safe: Off}, b)
	if err := <-b.degraded; err != nil {
		t.Fatal(err)
	}
	s := New(options("GPIO15"), b)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Stream(t.Context(), b.post) }()
	time.Sleep(50 * time.Millisecond) // it reads by now; if not, the test shows a bit less
	began := time.Now()
	bind("unbind")
	select {
	case err := <-ended:
		if err == nil || !errors.Is(err, unix.ENODEV) {
			t.Error(err)
		}
		vmtest.Figure("a chip that was removed ended the source after %s: %v", time.Since(began).Round(time.Millisecond), err)
	case <-time.After(time.Second):
		t.Error("the source did not end within a second")
	}
	s.Close()
	b.letGo()
	if err := <-b.degraded; err == nil {
		t.Error("the action did not see the chip go")
	}
	if err := New(options("GPIO15"), b).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "no GPIO chip") {
		t.Error(err)
	}
	bind("bind")
	began = time.Now()
	for err := error(nil); ; {
		if err = <-b.degraded; err == nil {
			break
		}
	}
	vmtest.Figure("an output was held again %s after its chip came back", time.Since(began).Round(time.Millisecond))
	if err := out.Do(t.Context(), Args{Value: "off"}); err != nil {
		t.Error(err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	b2 := newBus()
	start(t, b2, options("GPIO15"))()
	b2.letGo()
}
