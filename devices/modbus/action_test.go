package modbus

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func actionOptions(h *host, registers ...Register) ActionOptions {
	o := actionDefaults()
	o.TCP, o.Timeout, o.Registers = Address(h.address), 2*time.Second, registers
	if h.rtu {
		o.TCP, o.RTUOverTCP = "", o.TCP
	}
	return o
}

func TestActionWrites(t *testing.T) {
	t.Parallel()
	for _, rtu := range []bool{false, true} {
		t.Run(fmt.Sprint("RTU ", rtu), func(t *testing.T) {
			d := newDevice()
			h := newHost(t, d, rtu)
			o := actionOptions(h, Register{Name: "setpoint", Address: 100, Type: "int16", Scale: 0.1}, Register{Name: "limit", Address: 102, Type: "float32", Order: "cdab"},
				Register{Name: "pump", Kind: "coil", Address: 3}, Register{Name: "valves", Kind: "coil", Address: 8, Count: 10}, Register{Name: "text", Address: 200, Type: "string", Count: 2, Unit: 7})
			a := NewAction(o, newBus())
			defer a.Close()
			do := func(write any, want string) {
				t.Helper()
				if err := a.Do(t.Context(), Args{Write: write}); err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprint(d.requests()); got != want {
					t.Errorf("asked %s, want %s", got, want)
				}
			}
			do(map[string]any{"pump": "on", "setpoint": 21.5, "limit": nil}, "[1:6 100+215 1:5 3+65280]")
			do(map[string]any{"pump": false}, "[1:5 3+0]")
			do(map[string]any{"limit": 230.4}, "[1:16 102+2]")
			do(map[string]any{"valves": []any{true, false, 1.0, 0.0, "on", "off", true, true, false, true}}, "[1:15 8+10]")
			do(map[string]any{"text": "AB"}, "[7:16 200+2]")
			do(map[string]any{}, "[]")
			if d.word(1, 100) != 215 || d.word(1, 102) != 0x6666 || d.word(1, 103) != 0x4366 || d.bit(1, 3) || d.word(7, 200) != 0x4142 {
				t.Error(d.words)
			}
			for i, want := range []bool{true, false, true, false, true, false, true, true, false, true} {
				if d.bit(1, 8+i) != want {
					t.Errorf("valve %d is %v", i, !want)
				}
			}
			a.o.Multiple = true
			do(map[string]any{"pump": true, "setpoint": 1}, "[1:16 100+1 1:15 3+1]")
			if !d.bit(1, 3) || d.word(1, 100) != 10 {
				t.Error("the functions for many wrote nothing")
			}
		})
	}
}

func TestWhatAnActionGivesUp(t *testing.T) {
	t.Parallel()
	d := newDevice()
	h := newHost(t, d, false)
	a := NewAction(actionOptions(h, reg("a", 0), reg("b", 1)), newBus())
	defer a.Close()
	for name, c := range map[string]struct {
		write any
		code  byte
		want  string
		gone  bool // a permanent error
	}{
		"out of range":     {map[string]any{"a": 1, "b": 65536}, 0, "write: b: 65536 is out of the range of a uint16", true},
		"no such name":     {map[string]any{"c": 1}, 0, `write: there is no register "c"; available: a, b`, true},
		"no mapping":       {7, 0, "write: 7 is not a mapping of names and values", true},
		"illegal function": {map[string]any{"a": 1}, 1, "the device refused holding 0 of unit 1: it does not support this function (exception 1)", true},
		"illegal address":  {map[string]any{"a": 1}, 2, "the device refused holding 0 of unit 1: there is no such address (exception 2)", true},
		"illegal value":    {map[string]any{"a": 1}, 3, "the device refused holding 0 of unit 1: it does not accept this value or number of registers (exception 3)", true},
		"it failed":        {map[string]any{"a": 1}, 4, "the device refused holding 0 of unit 1: it failed (exception 4)", false},
		"it is busy":       {map[string]any{"a": 1}, 6, "the device refused holding 0 of unit 1: it is busy (exception 6)", false},
	} {
		t.Run(name, func(t *testing.T) {
			d.with(func() { d.refuse[0] = c.code })
			d.requests()
			err := a.Do(t.Context(), Args{Write: c.write})
			if err == nil || err.Error() != c.want || kind.IsPermanent(err) != c.gone {
				t.Errorf("%v, for good: %v", err, kind.IsPermanent(err))
			}
			if n := len(d.requests()); c.code == 0 && n != 0 || c.code == 6 && n != 2 {
				t.Errorf("%d requests", n)
			}
		})
	}
	d.with(func() { d.refuse[0] = 0 })
	h.down()
	if err := a.Do(t.Context(), Args{Write: map[string]any{"a": 1}}); err == nil || kind.IsPermanent(err) {
		t.Errorf("a device that is away: %v", err)
	}
	if err := a.Do(t.Context(), Args{Write: map[string]any{"a": 1}}); err == nil || !strings.Contains(err.Error(), "connecting to "+h.address) {
		t.Errorf("between two attempts: %v", err)
	}
	h.up()
	a.link.retryAt = time.Time{} // as if the backoff had passed
	if err := a.Do(t.Context(), Args{Write: map[string]any{"a": 77}}); err != nil || d.word(1, 0) != 77 {
		t.Error(err)
	}
}

// TestSourceAndActionTakeTurns checks that both share one connection, also when the source is
// replaced.
func TestSourceAndActionTakeTurns(t *testing.T) {
	t.Parallel()
	d, b := newDevice(), newBus()
	h := newHost(t, d, false)
	o := options(reg("a", 0), Register{Name: "b", Unit: 2, Address: 0})
	o.TCP, o.Every = Address(h.address), 50*time.Millisecond
	a := NewAction(actionOptions(h, reg("a", 0)), b)
	stop := b.start(t, o)
	b.Next(t)
	for i := 1; i <= 100; i++ {
		if err := a.Do(t.Context(), Args{Write: map[string]any{"a": i}}); err != nil {
			t.Fatal(err)
		}
	}
	b.until(t, "what was written is read", func(e map[string]any) bool { return e["a"] == int64(100) && ok(e) })
	b.Keep(true)
	stop()
	o.Every = 60 * time.Millisecond
	stop = b.start(t, o)
	b.Keep(false)
	for range 3 {
		b.Next(t)
	}
	stop()
	if err := a.Do(t.Context(), Args{Write: map[string]any{"a": 7}}); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if n := h.connections(); n != 1 || len(b.Held()) != 0 {
		t.Errorf("%d connections, held %v", n, b.Held())
	}
}

func TestTwoSourcesOfOneFile(t *testing.T) {
	t.Parallel()
	d, b := newDevice(), newBus()
	h := newHost(t, d, true)
	o := options(reg("a", 0))
	o.RTUOverTCP = Address(h.address)
	b.start(t, o)
	b.start(t, o)
	for range 4 {
		if e := b.Next(t); !ok(e) {
			t.Error(e)
		}
	}
	if n := h.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestStuckAndDeaf has a device that accepts requests and never answers: the source still stops
// within its time.
func TestStuckAndDeaf(t *testing.T) {
	t.Parallel()
	d, b := newDevice(), newBus()
	h := newHost(t, d, false)
	d.silent[1] = true
	o := options(reg("a", 0))
	o.TCP, o.Timeout = Address(h.address), time.Minute
	stop := b.start(t, o)
	for end := time.Now().Add(patience); len(d.requests()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is asked")
		}
	}
	stop() // it must return within a second

	o.Timeout, o.Retries, o.Every = 50*time.Millisecond, 0, 50*time.Millisecond
	b.start(t, o)
	for end := time.Now().Add(patience); h.connections() < 4; b.Next(t) { // without a byte of an answer the connection may be dead
		if time.Now().After(end) {
			t.Fatalf("%d connections", h.connections())
		}
	}
}

// TestNothingIsLeftOver opens and closes repeatedly.
func TestNothingIsLeftOver(t *testing.T) {
	d := newDevice()
	h := newHost(t, d, false)
	once := func() {
		b := newBus()
		o := options(reg("a", 0))
		o.TCP = Address(h.address)
		stop := b.start(t, o)
		b.Next(t)
		a := NewAction(actionOptions(h, reg("a", 0)), b)
		if err := a.Do(t.Context(), Args{Write: map[string]any{"a": 1}}); err != nil {
			t.Error(err)
		}
		a.Close()
		stop()
		if len(b.Held()) != 0 {
			t.Error("a connection is left")
		}
	}
	once()
	before := runtime.NumGoroutine()
	for range 10 {
		once()
	}
	kindtest.NoMoreGoroutines(t, before)
}

func TestSamplesAreWholeFiles(t *testing.T) {
	for _, s := range []string{sample, actionSample} {
		if !strings.Contains(s, "modbus:") || !strings.Contains(s, "tests:") {
			t.Errorf("%.80q", s)
		}
	}
}
