//go:build linux

// This file tests with a real kernel: an ARM machine whose PL061 has eight lines that the host
// drives from outside.

package gpio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/vmtest"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestMain(m *testing.M) { os.Exit(vmtest.Main(m)) }

func TestLinesOfAKernel(t *testing.T) { vmtest.Test(t, machine("^TestGuest")) }

// TestAChipGoesAndComes has a machine of its own, because the kernel numbers the chip differently
// when it returns.
func TestAChipGoesAndComes(t *testing.T) { vmtest.Test(t, machine("^TestRemoval")) }

func machine(run string) vmtest.Machine {
	return vmtest.Machine{
		Arch: "arm64",
		Run:  run,
		Tree: func(dtb []byte) ([]byte, error) { // line 6 has no name, and 7 has a number as its name
			return vmtest.SetProperty(dtb, "pl061@9030000", "gpio-line-names", []byte("GPIO10\x00GPIO11\x00GPIO12\x00GPIO13\x00GPIO14\x00GPIO15\x00\x002\x00"))
		},
		Answer: func(vm *vmtest.VM, words []string) (string, error) {
			chip, err := vm.PL061()
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
					err = chip.Wire(line, level)
				}
			case "toggle": // LINE TIMES PAUSE, beginning with 1
				line, times := number(1), number(2)
				pause, perr := time.ParseDuration(words[3])
				if err = errors.Join(err, perr); err == nil {
					err = chip.Toggle(line, times, pause)
				}
			case "level": // LINE
				level, err := chip.Level(number(1))
				return strconv.Itoa(level), err
			default:
				err = fmt.Errorf("what is %q?", words)
			}
			return time.Since(began).String(), err
		},
	}
}

// start runs a source. The returned function stops it and leaves its lines held.
func start(t *testing.T, b *kindtest.Bus, o Options) (stop func()) {
	t.Helper()
	b.Keep(true)
	s := New(o, b)
	return b.Start(t, s, func(ctx context.Context) error {
		return s.Stream(ctx, func(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error {
			fields["at"] = at
			return b.Post(ctx, at, fields, done)
		})
	})
}

func options(line string) Options {
	o := defaults()
	o.Line = Line(line)
	return o
}

func none(t *testing.T, b *kindtest.Bus, within time.Duration) {
	t.Helper()
	time.Sleep(within)
	b.None(t)
}

// lost is the sum of what was reported as lost.
func lost(b *kindtest.Bus) (n int) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	for _, v := range b.Losses {
		n += v
	}
	return n
}

func words(e map[string]any) string {
	return fmt.Sprint(e["line"], " ", e["offset"], " ", e["edge"], " ", e["value"], " ", e["seq"], " ", e["line_seq"], " ", e["lost"])
}

func expect(t *testing.T, b *kindtest.Bus, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := words(b.Next(t)); got != w {
			t.Errorf("got %s, want %s", got, w)
		}
	}
}

func TestGuestEdges(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := kindtest.NewBus()
	o := options("GPIO15")
	o.Initial = true
	stop := start(t, b, o)
	expect(t, b, "GPIO15 5 initial 0 0 0 0")
	before := time.Now()
	vmtest.Ask(t, "wire", "5", "1")
	e := b.Next(t)
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
	b.Keep(false)

	o.ActiveLow, o.Edge, o.Line = true, "rising", "5" // by its number
	stop = start(t, b, o)
	expect(t, b, "GPIO15 5 initial 1 0 0 0")
	vmtest.Ask(t, "wire", "5", "1")
	vmtest.Ask(t, "wire", "5", "0")
	expect(t, b, "GPIO15 5 rising 1 1 1 0")
	none(t, b, 100*time.Millisecond)
	stop()
	b.Keep(false)
}

func TestGuestSeveralLines(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := kindtest.NewBus()
	o := defaults()
	o.Lines = []Line{"GPIO14", "GPIO15", "6", "2"} // "2" is line 7's name
	o.Initial = true
	stop := start(t, b, o)
	expect(t, b, "GPIO14 4 initial 0 0 0 0", "GPIO15 5 initial 0 0 0 0", "6 6 initial 0 0 0 0", "2 7 initial 0 0 0 0")
	for _, w := range [][]string{{"7", "1"}, {"5", "1"}, {"6", "1"}, {"5", "0"}} {
		vmtest.Ask(t, "wire", w[0], w[1])
	}
	expect(t, b, "2 7 rising 1 1 1 0", "GPIO15 5 rising 1 2 1 0", "6 6 rising 1 3 1 0", "GPIO15 5 falling 0 4 2 0")
	vmtest.Ask(t, "wire", "7", "0")
	vmtest.Ask(t, "wire", "6", "0")
	stop()
	b.Keep(false)
}

// steps makes edges one after the other. The machine has one processor, and the kernel's thread for
// an edge has priority over this test: when the test continues the kernel has numbered the edge.
func steps(t *testing.T, line string, n int) {
	t.Helper()
	for i := range n {
		vmtest.Ask(t, "wire", line, strconv.Itoa(1-i%2))
	}
}

// burst counts the fate of edges, which a last one follows: those that arrived, and those reported
// as lost.
func burst(t *testing.T, b *kindtest.Bus, all int) (events, missing int) {
	t.Helper()
	for at := int64(0); events+missing < all; events++ {
		e := b.Next(t)
		seq := e["line_seq"].(int64)
		if seq <= at {
			t.Fatalf("after number %d comes %d", at, seq)
		}
		at = seq
		missing += int(e["lost"].(int64))
	}
	if missing != lost(b) {
		t.Errorf("%d are lost in events, %d were reported", missing, lost(b))
	}
	return events, missing
}

func TestGuestThousandFastEdges(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	for _, pause := range []string{"0s", "300us", "1ms"} {
		b := kindtest.NewBus()
		stop := start(t, b, options("GPIO15"))
		took := vmtest.Ask(t, "toggle", "5", "1000", pause)
		time.Sleep(400 * time.Millisecond) // by then merged edges are known, and the next edge reports them
		vmtest.Ask(t, "toggle", "5", "1", pause)
		events, missing := burst(t, b, 1001)
		if events+missing != 1001 {
			t.Errorf("%d came and %d were lost, of 1,001", events, missing)
		}
		vmtest.Figure("1,000 edges in %s: %d events, %d lost and reported: %v", took, events-1, missing, b.Losses)
		vmtest.Ask(t, "wire", "5", "0")
		stop()
		b.Keep(false)
	}
}

func TestGuestLossIsReported(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := kindtest.NewBus()
	b.Gate = make(chan struct{})
	stop := start(t, b, options("GPIO15"))
	vmtest.Ask(t, "toggle", "5", "3000", "300us")
	close(b.Gate)
	time.Sleep(500 * time.Millisecond)
	vmtest.Ask(t, "toggle", "5", "1", "0s")
	events, missing := burst(t, b, 3001)
	if events+missing != 3001 || missing < 1000 {
		t.Errorf("%d came and %d were lost, of 3,001", events, missing)
	}
	vmtest.Figure("3,000 edges while the bus stood still: %d events, %d lost and reported: %v", events-1, missing, b.Losses)
	vmtest.Ask(t, "wire", "5", "0")
	stop()
	b.Keep(false)
}

func TestGuestDebounce(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := kindtest.NewBus()
	o := options("GPIO15")
	o.Debounce = 50 * time.Millisecond
	stop := start(t, b, o)
	vmtest.Ask(t, "toggle", "5", "11", "0s")
	expect(t, b, "GPIO15 5 rising 1 1 1 0")
	none(t, b, 200*time.Millisecond)
	vmtest.Figure("debounce of 50 ms: 11 edges are 1 event")
	stop()
	vmtest.Ask(t, "wire", "5", "0")
	b.Keep(false)
}

func TestGuestCount(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	b := kindtest.NewBus()
	o := options("GPIO15")
	o.Edge, o.Count = "rising", &Count{Every: 250 * time.Millisecond}
	stop := start(t, b, o)
	steps(t, "5", 600)
	var total, sum int64
	hz := 0.0
	count := func(last int64) {
		t.Helper()
		for total < last {
			e := b.Next(t)
			if e["count"] == int64(0) {
				t.Fatalf("counted %d of %d", total, last)
			}
			sum += e["count"].(int64)
			total = e["total"].(int64)
			if f, ok := e["hz"].(float64); ok {
				hz = max(hz, f)
			}
		}
		if total != last || sum != last || lost(b) != 0 {
			t.Errorf("counted %d, in all %d, lost %d, of %d", sum, total, lost(b), last)
		}
	}
	count(300)
	vmtest.Figure("counted %d rising edges at up to %.0f Hz", total, hz)
	for len(b.Events) > 0 {
		b.Next(t)
	}
	stop()
	steps(t, "5", 20) // no source counts them
	stop = start(t, b, o)
	count(310)
	stop()
	o.Count = nil // and from counting to edges without a made-up loss
	stop = start(t, b, o)
	steps(t, "5", 2)
	expect(t, b, "GPIO15 5 rising 1 311 311 0")
	stop()
	b.Keep(false)
}
