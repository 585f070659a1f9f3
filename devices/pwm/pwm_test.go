//go:build linux

package pwm

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// chip makes a directory like a chip's, with an exported channel if channel is set.
func chip(t *testing.T, channel bool) (root string, read func(name string) string) {
	t.Helper()
	root = t.TempDir()
	files := map[string]string{"npwm": "2\n", "export": ""}
	if channel {
		for name, v := range map[string]string{"period": "0\n", "duty_cycle": "0\n", "polarity": "normal\n", "enable": "0\n"} {
			files["pwm1/"+name] = v
		}
	}
	for name, v := range files {
		p := filepath.Join(root, "pwmchip0", name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root, func(name string) string {
		b, err := os.ReadFile(filepath.Join(root, "pwmchip0", name))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
}

func options(root string) ActionOptions {
	o := actionDefaults()
	o.Chip, o.Channel, o.Root = "pwmchip0", 1, root
	return o
}

func TestDutyOverALife(t *testing.T) {
	root, read := chip(t, true)
	o := options(root)
	o.Initial, o.Safe, o.Inverted = 25, 10, true
	b := kindtest.NewBus()
	a := NewAction(o, b)
	if got := b.NextDegraded(t); got != "<nil>" {
		t.Fatal(got)
	}
	is := func(when, period, duty string) {
		t.Helper()
		if got := read("pwm1/period") + " " + read("pwm1/duty_cycle") + " " + read("pwm1/enable") + " " + read("pwm1/polarity"); got != period+" "+duty+" 1 inversed" {
			t.Errorf("%s: %s", when, got)
		}
	}
	is("initial", "1000000", "250000")
	if err := a.Do(t.Context(), Args{Duty: 100}); err != nil {
		t.Error(err)
	}
	is("all", "1000000", "1000000")
	if err := a.Do(t.Context(), Args{Duty: 7.5, Frequency: 50}); err != nil {
		t.Error(err)
	}
	is("a servo", "20000000", "1500000")
	for _, bad := range []Args{{Duty: -1}, {Duty: 101}, {Duty: math.NaN()}, {Frequency: -1}, {Frequency: math.Inf(1)}} {
		if err := a.Do(t.Context(), bad); !kind.IsPermanent(err) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	is("refused", "20000000", "1500000")
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	is("safe", "20000000", "2000000")
	if err := a.Do(t.Context(), Args{Duty: 1}); err == nil {
		t.Error("a closed action set a duty")
	}
}

// strict is a write that Linux 6.6 would accept (pwm_apply_state): while there is no period it
// accepts nothing else, and no duty may exceed the period; and that a chip would accept whose
// periods are from 1 µs to 1 s.
func strict(t *testing.T, read func(string) string) func(path, value string) error {
	return func(path, value string) error {
		name := filepath.Base(path)
		now := map[string]int{}
		for _, n := range []string{"period", "duty_cycle", "enable"} {
			now[n], _ = strconv.Atoi(strings.TrimSpace(read("pwm1/" + n)))
		}
		if name != "polarity" {
			now[name], _ = strconv.Atoi(value)
		} else if now["enable"] == 1 {
			return &os.PathError{Op: "write", Path: path, Err: syscall.EBUSY}
		}
		if now["period"] < 1000 || now["period"] > 1e9 || now["duty_cycle"] > now["period"] {
			return &os.PathError{Op: "write", Path: path, Err: syscall.EINVAL}
		}
		return os.WriteFile(path, []byte(value), 0)
	}
}

func TestTheKernelTakesEveryStep(t *testing.T) {
	for _, inverted := range []bool{false, true} {
		root, read := chip(t, true)
		o := options(root)
		o.Initial, o.Inverted = 25, inverted
		b := kindtest.NewBus()
		a := newAction(o, b, strict(t, read))
		if got := b.NextDegraded(t); got != "<nil>" {
			t.Fatalf("inverted %v: a channel that was just exported: %s", inverted, got)
		}
		for _, args := range []Args{{Duty: 100}, {Duty: 100, Frequency: 50}, {Duty: 1, Frequency: 10000}, {Duty: 0}, {Duty: 60, Frequency: 20000}} {
			if err := a.Do(t.Context(), args); err != nil {
				t.Errorf("inverted %v, %+v: %v", inverted, args, err)
			}
		}
		for _, hz := range []float64{0.5, 5e6} {
			if err := a.Do(t.Context(), Args{Duty: 10, Frequency: hz}); !kind.IsPermanent(err) || !strings.HasPrefix(err.Error(), "hz: the chip does not support ") {
				t.Errorf("a frequency that the chip doesn't have: %v", err)
			}
			if got := read("pwm1/period") + " " + read("pwm1/duty_cycle"); got != "50000 30000" {
				t.Errorf("after a frequency that the chip doesn't have: %s", got)
			}
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAChannelIsExported(t *testing.T) {
	root, read := chip(t, false)
	b := kindtest.NewBus()
	a := NewAction(options(root), b)
	for end := time.Now().Add(time.Minute); read("export") == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the channel was not exported")
		}
	}
	if got := read("export"); got != "1" {
		t.Errorf("exported %q", got)
	}
	if err := a.Close(); err != nil { // while it waits for the channel to appear
		t.Error(err)
	}
}

func TestErrorsSayWhatThereIs(t *testing.T) {
	root, _ := chip(t, true)
	for name, c := range map[string]struct {
		change func(*ActionOptions)
		want   string
	}{
		"no chips":     {func(o *ActionOptions) { o.Root = root + "/pwmchip0/pwm1" }, "this machine has no PWM chip in " + root + "/pwmchip0/pwm1; on a Raspberry Pi write dtoverlay=pwm"},
		"no such chip": {func(o *ActionOptions) { o.Chip = "pwmchip7" }, "there is no chip pwmchip7; available: pwmchip0"},
		"channel":      {func(o *ActionOptions) { o.Channel = 2 }, "pwmchip0 has the channels 0 to 1, not 2"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(root)
			c.change(&o)
			b := kindtest.NewBus()
			a := NewAction(o, b)
			if got := b.NextDegraded(t); !strings.HasPrefix(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if err := a.Do(t.Context(), Args{Duty: 1}); err == nil {
				t.Error("an absent channel was set")
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestChipNames(t *testing.T) {
	for in, want := range map[string]string{"0": "pwmchip0", "pwmchip12": "pwmchip12", "": "", "../x": "", "pwmchip-1": ""} {
		var c Chip
		if err := c.UnmarshalText([]byte(in)); string(c) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, c, err)
		}
	}
}
