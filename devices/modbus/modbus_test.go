package modbus

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPoll(t *testing.T) {
	t.Parallel()
	d, b := newDevice(), newBus()
	h := newHost(t, d, false)
	d.set(1, holding, 0, 0x08fd, 0xfff6, 0x4366, 0x6666)
	d.set(1, input, 100, 7)
	d.set(2, holding, 0, 42)
	d.setBits(1, 1, 8, true, false, true)
	o := options(Register{Name: "volts", Address: 0, Scale: 0.1}, Register{Name: "power", Address: 1, Type: "int16", Scale: 10}, Register{Name: "amps", Address: 2, Type: "float32"},
		Register{Name: "state", Kind: "input", Address: 100}, Register{Name: "pump", Kind: "coil", Address: 8}, Register{Name: "valves", Kind: "coil", Address: 9, Count: 2},
		Register{Name: "other", Unit: 2, Address: 0})
	o.TCP = Address(h.address)
	stop := b.start(t, o)
	want := map[string]any{"volts": 230.1, "power": -100.0, "amps": 230.4, "state": int64(7), "pump": true, "valves": []any{false, true}, "other": int64(42), "ok": true, "errors": map[string]any{}}
	for range 2 {
		if got := b.Next(t); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		if got, want := fmt.Sprint(d.requests()), "[1:1 8+3 1:3 0+4 1:4 100+1 2:3 0+1]"; got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
	}
	stop()
	if n := h.connections(); n != 1 || len(b.Held()) != 0 || b.last() != "<nil>" {
		t.Errorf("%d connections, held %v, degraded %s", n, b.Held(), b.last())
	}
}

func TestARegisterThatThereIsNotHidesNoOther(t *testing.T) {
	t.Parallel()
	d, b := newDevice(), newBus()
	h := newHost(t, d, false)
	d.refuse[2] = 2
	d.set(1, holding, 0, 1, 2, 3, 4)
	o := options(reg("a", 0), reg("b", 1), reg("c", 2), reg("d", 3))
	o.TCP = Address(h.address)
	b.start(t, o)
	reason := "the device refused holding 2 of unit 1: there is no such address (exception 2)"
	want := map[string]any{"a": int64(1), "b": int64(2), "c": nil, "d": int64(4), "ok": false, "errors": map[string]any{"c": reason}}
	for i, asked := range []string{"[1:3 0+4 1:3 0+1 1:3 1+1 1:3 2+1 1:3 3+1]", "[1:3 0+1 1:3 1+1 1:3 2+1 1:3 3+1]"} {
		if got := b.Next(t); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		if got := fmt.Sprint(d.requests()); got != asked {
			t.Errorf("poll %d asked %s", i, got)
		}
	}
	if got := b.last(); got != "1 of 4 registers could not be read: "+reason {
		t.Error(got)
	}
}

func TestReportChange(t *testing.T) {
	t.Parallel()
	d, b := newDevice(), newBus()
	h := newHost(t, d, false)
	o := options(reg("a", 0))
	o.TCP, o.Report, o.Every = Address(h.address), "change", 50*time.Millisecond
	b.start(t, o)
	b.Next(t)
	polls := func(n int) { // waits for this many more polls
		t.Helper()
		for end := time.Now().Add(patience); len(d.requests()) == 0 || n > 0; time.Sleep(5 * time.Millisecond) {
			n--
			if time.Now().After(end) {
				t.Fatal("there are no polls")
			}
		}
	}
	polls(10)
	d.set(1, holding, 0, 5)
	if e := b.Next(t); e["a"] != int64(5) {
		t.Error(e)
	}
	d.with(func() { d.refuse[0] = 4 })
	if e := b.Next(t); e["a"] != nil || ok(e) {
		t.Error(e)
	}
	polls(10)
	d.with(func() { d.refuse[0] = 0 })
	if e := b.Next(t); e["a"] != int64(5) || !ok(e) {
		t.Error(e)
	}
	if len(b.Events) > 0 {
		t.Errorf("one more: %v", <-b.Events)
	}
}

func TestADeviceThatGoesAndComes(t *testing.T) {
	t.Parallel()
	for _, rtu := range []bool{false, true} {
		t.Run(fmt.Sprint("RTU ", rtu), func(t *testing.T) {
			d, b := newDevice(), newBus()
			h := newHost(t, d, rtu)
			d.set(1, holding, 0, 5)
			o := options(reg("a", 0))
			if o.TCP = Address(h.address); rtu {
				o.TCP, o.RTUOverTCP = "", o.TCP
			}
			o.Every = 50 * time.Millisecond
			h.down()
			b.start(t, o)
			e := b.until(t, "it is away", notOK)
			if got := fmt.Sprint(e["errors"]); !strings.Contains(got, "a:connecting to "+h.address+": ") {
				t.Error(got)
			}
			for range 2 {
				h.up()
				b.until(t, "it is there", ok)
				h.cut() // only the connection: it is made again at once, unnoticed
				for range 3 {
					if e := b.Next(t); !ok(e) {
						t.Error(e)
					}
				}
				h.down()
				b.until(t, "it is away", notOK)
			}
		})
	}
}

// TestAnswersThatAreNone has a device that gives every kind of wrong answer, and one good one.
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	other := func(good []byte, at int) []byte {
		b := slices.Clone(good)
		b[at] ^= 0x40
		return b
	}
	sum := func(b []byte) []byte {
		c := crc(b[:len(b)-2])
		b[len(b)-2], b[len(b)-1] = byte(c), byte(c>>8)
		return b
	}
	for name, c := range map[string]struct {
		rtu    bool
		first  func(good []byte) []chunk // in place of the first answer
		silent bool                      // it is no answer: another request follows
		reason string
	}{
		"in parts": {false, func(g []byte) []chunk {
			return []chunk{{0, g[:3]}, {5 * time.Millisecond, g[3:8]}, {5 * time.Millisecond, g[8:]}}
		}, false, ""},
		"one of before":       {false, func(g []byte) []chunk { return []chunk{{0, other(g, 0)}, {0, g}} }, false, ""},
		"of another unit":     {false, func(g []byte) []chunk { return []chunk{{0, other(g, 6)}} }, true, "an answer of unit 65 was received"},
		"of another function": {false, func(g []byte) []chunk { return []chunk{{0, other(g, 7)}} }, true, "an answer to another function"},
		"of another length":   {false, func(g []byte) []chunk { return []chunk{{0, other(g, 8)}} }, true, "an answer with 66 bytes of data"},
		"a part":              {false, func(g []byte) []chunk { return []chunk{{0, g[:8]}} }, true, ""},
		"none":                {false, func(g []byte) []chunk { return nil }, true, ""},
		"no Modbus":           {false, func(g []byte) []chunk { return []chunk{{0, []byte("HTTP/1.1 400 Bad Request\r\n")}} }, true, "the device does not answer in Modbus over TCP"},
		"line: in parts": {true, func(g []byte) []chunk {
			return []chunk{{0, g[:2]}, {5 * time.Millisecond, g[2:5]}, {5 * time.Millisecond, g[5:]}}
		}, false, ""},
		"line: noise":          {true, func(g []byte) []chunk { return []chunk{{0, []byte{0, 1, 3, 0xff}}, {0, g}} }, false, ""},
		"line: wrong checksum": {true, func(g []byte) []chunk { return []chunk{{0, other(g, 4)}} }, true, "an answer with a wrong checksum was received"},
		"line: another unit":   {true, func(g []byte) []chunk { return []chunk{{0, sum(other(g, 0))}} }, true, "an answer of unit 65 was received"},
		"line: a part":         {true, func(g []byte) []chunk { return []chunk{{0, g[:4]}} }, true, "a part of an answer was received"},
		"line: none":           {true, func(g []byte) []chunk { return nil }, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, retries := range []int{0, 1} {
				d, b := newDevice(), newBus()
				h := newHost(t, d, c.rtu)
				d.set(1, holding, 0, 5)
				d.mangle = func(n int, good []byte) []chunk {
					if n == 1 {
						return c.first(good)
					}
					return []chunk{{0, good}}
				}
				o := options(reg("a", 0))
				if o.TCP = Address(h.address); c.rtu {
					o.TCP, o.RTUOverTCP = "", o.TCP
				}
				o.Retries, o.Every = retries, 50*time.Millisecond
				if c.silent {
					o.Timeout = 600 * time.Millisecond
				}
				stop := b.start(t, o)
				e := b.Next(t)
				if good := !c.silent || retries > 0; ok(e) != good || good && e["a"] != int64(5) {
					t.Errorf("%d retries: %v", retries, e)
				}
				if !ok(e) && !strings.Contains(fmt.Sprint(e["errors"]), c.reason) {
					t.Errorf("%v", e["errors"])
				}
				if e := b.Next(t); e["a"] != int64(5) {
					t.Errorf("the poll after it: %v", e)
				}
				stop()
			}
		})
	}
}

// TestLateAnswersAreNobodys has two registers, and the answer for the first arrives when the second
// is requested.
func TestLateAnswersAreNobodys(t *testing.T) {
	t.Parallel()
	for _, rtu := range []bool{false, true} {
		t.Run(fmt.Sprint("RTU ", rtu), func(t *testing.T) {
			t.Parallel()
			d, b := newDevice(), newBus()
			h := newHost(t, d, rtu)
			d.set(1, holding, 0, 5)
			d.set(1, holding, 9, 6)
			d.mangle = func(n int, good []byte) []chunk {
				switch n {
				case 1:
					return []chunk{{1300 * time.Millisecond, good}}
				case 2: // a client that accepts the previous answer for this request accepts this one for the next
					return []chunk{{50 * time.Millisecond, good}}
				}
				return []chunk{{0, good}}
			}
			o := options(reg("a", 0), reg("b", 9))
			if o.TCP = Address(h.address); rtu {
				o.TCP, o.RTUOverTCP = "", o.TCP
			}
			o.Retries, o.Timeout, o.Every = 0, time.Second, 50*time.Millisecond
			b.start(t, o)
			e := b.Next(t)
			if e["a"] != nil || e["b"] != nil { // the unit isn't asked again in this poll
				t.Error(e)
			}
			for range 3 {
				if e := b.Next(t); e["a"] != int64(5) || e["b"] != int64(6) {
					t.Error(e)
				}
			}
		})
	}
}

// TestAStoppedRequestIsLateAsWell cancels a request on a line; its answer arrives during the next
// request.
func TestAStoppedRequestIsLateAsWell(t *testing.T) {
	t.Parallel()
	d := newDevice()
	h := newHost(t, d, true)
	d.mangle = func(n int, good []byte) []chunk {
		if n == 1 {
			return []chunk{{300 * time.Millisecond, good}}
		}
		return nil
	}
	o := actionOptions(h, reg("a", 0))
	o.Timeout, o.Retries = 1500*time.Millisecond, 0
	a := NewAction(o, newBus())
	defer a.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	write := Args{Write: map[string]any{"a": 1}}
	if err := a.Do(ctx, write); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := a.Do(t.Context(), write); err == nil { // no answer was for this request
		t.Error("the answer of before was taken for another one")
	}
	if n := h.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestASilentUnitHoldsUpNobody(t *testing.T) {
	t.Parallel()
	d, b := newDevice(), newBus()
	h := newHost(t, d, false)
	d.set(1, holding, 0, 5)
	d.silent[2] = true
	o := options(reg("a", 0), Register{Name: "b", Unit: 2, Address: 0}, Register{Name: "c", Unit: 2, Address: 9})
	o.TCP, o.Retries, o.Timeout, o.Every = Address(h.address), 0, 400*time.Millisecond, 50*time.Millisecond
	b.start(t, o)
	for range 20 {
		e := b.Next(t)
		if e["a"] != int64(5) || e["b"] != nil || !strings.HasPrefix(e["errors"].(map[string]any)["c"].(string), "unit 2 did not answer within 400ms") {
			t.Error(e)
		}
	}
	asked := 0
	for _, r := range d.requests() {
		if strings.HasPrefix(r, "2:") {
			asked++
		}
	}
	if asked < 2 || asked > 5 {
		t.Errorf("the silent unit was asked %d times in 20 polls", asked)
	}
	d.with(func() { d.silent[2] = false })
	b.until(t, "the unit is back", ok)
}

// TestPollsDoNotPileUp has a device that takes longer than the interval of polls.
func TestPollsDoNotPileUp(t *testing.T) {
	t.Parallel()
	d, b := newDevice(), newBus()
	h := newHost(t, d, false)
	var under, most int
	d.mangle = func(n int, good []byte) []chunk {
		d.with(func() { under++; most = max(most, under) })
		if n <= 5 {
			time.Sleep(150 * time.Millisecond)
		}
		d.with(func() { under-- })
		return []chunk{{0, good}}
	}
	o := options(reg("a", 0))
	o.TCP, o.Every = Address(h.address), 100*time.Millisecond
	began := time.Now()
	stop := b.start(t, o)
	for range 9 {
		b.Next(t)
	}
	stop()
	// Skipped polls are not made up for: after the five slow ones, which take two intervals each,
	// there is at most one per interval. A slow machine has more time for them.
	n, fit := len(d.requests()), 5+int((time.Since(began)-5*150*time.Millisecond)/(100*time.Millisecond))+1
	if most != 1 || n > fit {
		t.Errorf("%d at a time, %d requests in %s, want %d at most", most, n, time.Since(began), fit)
	}
}
