//go:build linux

package pwm

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type env chan error

func (e env) Degraded(err error) { e <- err }

// chip makes a directory like a chip's, with a channel that is exported.
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
	o := ActionDefaults()
	o.Chip, o.Channel, o.Root = "pwmchip0", 1, root
	return o
}

func TestDutyOverALife(t *testing.T) {
	root, read := chip(t, true)
	o := options(root)
	o.Initial, o.Safe, o.Inverted = 25, 10, true
	e := make(env, 10)
	a := NewAction(o, e)
	if err := <-e; err != nil {
		t.Fatal(err)
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
		var p interface{ Permanent() bool }
		if err := a.Do(t.Context(), bad); !errors.As(err, &p) {
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

func TestAChannelIsExported(t *testing.T) {
	root, read := chip(t, false)
	e := make(env, 10)
	a := NewAction(options(root), e)
	for end := time.Now().Add(5 * time.Second); read("export") == ""; time.Sleep(time.Millisecond) {
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
		"no such chip": {func(o *ActionOptions) { o.Chip = "pwmchip7" }, "there is no chip pwmchip7; there are pwmchip0"},
		"channel":      {func(o *ActionOptions) { o.Channel = 2 }, "pwmchip0 has the channels 0 to 1, not 2"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(root)
			c.change(&o)
			e := make(env, 10)
			a := NewAction(o, e)
			if err := <-e; err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
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
