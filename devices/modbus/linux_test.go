//go:build linux

// This file tests with pseudo terminals: a serial line with a device at its other end.

package modbus

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/tty"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// bench is a line with the device at its other end.
type bench struct {
	master *os.File
	port   string
	ended  chan struct{}
}

func newBench(t *testing.T, serve func(io.ReadWriter)) *bench {
	t.Helper()
	end, port := kindtest.PTY(t)
	b := &bench{end, port, make(chan struct{})}
	go func() {
		defer close(b.ended)
		serve(held{b.master})
	}()
	t.Cleanup(b.unplug)
	return b
}

func (b *bench) unplug() {
	b.master.Close()
	<-b.ended
}

// held is a terminal's other end that waits until the port is opened: before and after that,
// reading fails with EIO.
type held struct{ *os.File }

func (p held) Read(b []byte) (int, error) {
	for {
		n, err := p.File.Read(b)
		if e, ok := err.(*os.PathError); !ok || e.Err != unix.EIO {
			return n, err
		}
		time.Sleep(time.Millisecond)
	}
}

func serialOptions(port string, registers ...Register) Options {
	o := options(registers...)
	o.Serial = &Serial{Port: tty.Name(port), Baud: 19200, Parity: "even"}
	return o
}

func TestLine(t *testing.T) {
	t.Parallel()
	d, b := newDevice(), newBus()
	bench := newBench(t, d.serveRTU)
	d.set(1, holding, 0, 0x08fd, 0xfff6)
	d.set(17, input, 9, 3)
	d.setBits(1, 1, 8, true)
	o := serialOptions(bench.port, Register{Name: "volts", Address: 0, Scale: 0.1}, Register{Name: "power", Address: 1, Type: "int16"},
		Register{Name: "other", Unit: 17, Kind: "input", Address: 9}, Register{Name: "pump", Kind: "coil", Address: 8})
	o.Every = 100 * time.Millisecond
	stop := b.start(t, o)
	want := map[string]any{"volts": 230.1, "power": int64(-10), "other": int64(3), "pump": true, "ok": true, "errors": map[string]any{}}
	for range 3 {
		if got := b.Next(t); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	a := actionDefaults()
	a.Serial, a.Registers = &Serial{Port: tty.Name(bench.port)}, []Register{reg("r", 0), {Name: "c", Kind: "coil", Address: 8}}
	action := NewAction(a, b) // shares the line, with the source's settings
	for i := range 20 {
		if err := action.Do(t.Context(), Args{Write: map[string]any{"r": i, "c": i%2 == 0}}); err != nil {
			t.Fatal(err)
		}
	}
	b.until(t, "what was written is read", func(e map[string]any) bool { return e["volts"] == 1.9 && e["pump"] == false })
	stop()
	if err := action.Do(t.Context(), Args{Write: map[string]any{"r": 77}}); err != nil || d.word(1, 0) != 77 {
		t.Error(err)
	}
	action.o.Unit = 0 // a broadcast, which no unit answers
	if err := action.Do(t.Context(), Args{Write: map[string]any{"r": 78}}); err != nil {
		t.Error(err)
	}
	action.o.Unit = 1
	if err := action.Do(t.Context(), Args{Write: map[string]any{"r": 79}}); err != nil || d.word(0, 0) != 78 || d.word(1, 0) != 79 {
		t.Error(err, d.word(0, 0), d.word(1, 0))
	}
	action.Close()
	if len(b.Held()) != 0 {
		t.Error("the port is still open")
	}
}

// TestNoisyLine has noise before each answer and between requests, and sometimes a wrong checksum.
func TestNoisyLine(t *testing.T) {
	t.Parallel()
	d, b := newDevice(), newBus()
	bench := newBench(t, d.serveRTU)
	d.set(1, holding, 0, 1, 2, 3)
	d.mangle = func(n int, good []byte) []chunk {
		if n%3 == 0 {
			good[3] ^= 1
		}
		return []chunk{{0, []byte{0xff, 0, byte(n), 1, 3}}, {0, good[:4]}, {3 * time.Millisecond, good[4:]}, {2 * time.Millisecond, []byte{0, 0xff, 0}}}
	}
	o := serialOptions(bench.port, Register{Name: "a", Address: 0, Count: 3})
	o.Timeout, o.Every, o.Retries = 500*time.Millisecond, 50*time.Millisecond, 2
	b.start(t, o)
	for range 6 {
		if e := b.Next(t); !reflect.DeepEqual(e["a"], []any{int64(1), int64(2), int64(3)}) {
			t.Error(e)
		}
	}
}

func TestALineThatIsNeverSilent(t *testing.T) {
	t.Parallel()
	bench := newBench(t, func(rw io.ReadWriter) {
		for {
			if _, err := rw.Write([]byte{0x55}); err != nil {
				return
			}
		}
	})
	b := newBus()
	o := serialOptions(bench.port, reg("a", 0))
	o.Timeout, o.Retries = 100*time.Millisecond, 0
	stop := b.start(t, o)
	e := b.Next(t) // a busy machine may make pauses
	if got := fmt.Sprint(e["errors"]); !strings.Contains(got, "the line is never silent") && !strings.Contains(got, "bytes were received that are not an answer") {
		t.Error(e)
	}
	stop()
}

func TestEcho(t *testing.T) {
	t.Parallel()
	d := newDevice()
	bench := newBench(t, func(rw io.ReadWriter) { d.serveRTU(echoing{rw}) })
	o := actionDefaults()
	o.Serial, o.Registers, o.Retries, o.Timeout = &Serial{Port: tty.Name(bench.port), Echo: true}, []Register{reg("a", 0)}, 0, time.Second
	a := NewAction(o, newBus())
	defer a.Close()
	if err := a.Do(t.Context(), Args{Write: map[string]any{"a": 7}}); err != nil || d.word(1, 0) != 7 {
		t.Error(err)
	}
	d.with(func() { d.silent[1] = true }) // the echo is not the device's answer
	if err := a.Do(t.Context(), Args{Write: map[string]any{"a": 8}}); err == nil || !strings.Contains(err.Error(), "unit 1 did not answer within 1s") {
		t.Error(err)
	}
}

// echoing reads what the other end sends, and sends it back.
type echoing struct{ io.ReadWriter }

func (e echoing) Read(b []byte) (int, error) {
	n, err := e.ReadWriter.Read(b)
	if n > 0 {
		_, _ = e.Write(b[:n])
	}
	return n, err
}

func TestRS485(t *testing.T) {
	_, port := kindtest.PTY(t)
	_, err := dialPort(settingOf("", "", &Serial{Port: tty.Name(port), RS485: true}))
	if err == nil || !strings.Contains(err.Error(), "this port's driver has no RS-485 mode") {
		t.Error(err)
	}
}

// TestClosingTakesBackWhatWasNotSent has a device that accepts nothing, which would delay closing a
// chip's port.
func TestClosingTakesBackWhatWasNotSent(t *testing.T) {
	t.Parallel()
	end, port := kindtest.PTY(t)
	c, err := dialPort(settingOf("", "", &Serial{Port: tty.Name(port)}))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	written, err := c.Write(make([]byte, 1<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes were taken: %v", written, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if got, _ := io.ReadAll(end); len(got) >= written { // until the port is closed
		t.Errorf("%d of %d bytes came after the closing", len(got), written)
	}
}

func TestAPortThatIsUnplugged(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "ttyUSB0")
	d, b := newDevice(), newBus()
	d.set(1, holding, 0, 5)
	o := serialOptions(link, reg("a", 0))
	o.Every = 50 * time.Millisecond
	stop := b.start(t, o)
	e := b.until(t, "it is not there", notOK)
	if got := fmt.Sprint(e["errors"]); !strings.HasPrefix(got, "map[a:there is no "+link+"; available: ") || !strings.HasSuffix(got, "; waiting for it]") {
		t.Error(got)
	}
	for range 2 {
		bench := newBench(t, d.serveRTU)
		if err := os.Symlink(bench.port, link); err != nil {
			t.Fatal(err)
		}
		b.until(t, "it is there", ok)
		os.Remove(link)
		bench.unplug()
		b.until(t, "it is gone", notOK)
	}
	stop()
}
