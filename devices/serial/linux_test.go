//go:build linux

// This file tests with pseudo terminals everything but control lines.

package serial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/tty"
)

func TestLines(t *testing.T) {
	t.Parallel()
	p, b := newPTY(t), newBus()
	stop := b.start(t, options(p.port))
	b.well(t)
	p.send(t, "hello\r\nwor")
	b.texts(t, "hello")
	p.send(t, "ld\n{\"a\": 1}\n\xff\xfd\n")
	b.texts(t, "world", `{"a": 1}`, "\ufffd")
	p.send(t, strings.Repeat("x", 70<<10)+"\nafter\n")
	b.texts(t, strings.Repeat("x", 64<<10), "after")
	stop()
	if !reflect.DeepEqual(b.Losses, map[string]int{lostLong: 1}) {
		t.Errorf("lost %v", b.Losses)
	}
	if len(b.Held()) != 0 {
		t.Error("the port is still open")
	}
}

func TestGarbageIsCounted(t *testing.T) {
	t.Parallel()
	p, b := newPTY(t), newBus()
	o := options(p.port)
	o.Format = "nmea"
	b.start(t, o)
	b.well(t)
	good := sum("GPVTG,,T,,M,,N,36.0,K")
	p.send(t, "3519,4807.038,N*47\r\n"+good+"\r\n\x80\x81\xff\x00"+good+"\r\n$GPVTG,1*00\r\n"+good+"\r\n")
	b.texts(t, good, good, good)
	b.Eventually(t, "what was bad is counted", func() bool {
		return reflect.DeepEqual(b.Losses, map[string]int{lostNMEA: 1, lostGarbage: 1, lostSum: 1})
	})
}

func TestSilenceEndsAFrame(t *testing.T) {
	t.Parallel()
	p, b := newPTY(t), newBus()
	o := options(p.port)
	o.Framing, o.Gap, o.Format = "gap", time.Second, "hex"
	b.start(t, o)
	b.well(t)
	p.send(t, "\x01\x02")
	p.send(t, "\x03")
	b.texts(t, "010203")
	p.send(t, "\x04")
	b.texts(t, "04")
}

func TestSilenceBeginsAFrameOfFixedLength(t *testing.T) {
	t.Parallel()
	p, b := newPTY(t), newBus()
	o := options(p.port)
	o.Framing, o.Length, o.Gap = "fixed", 4, 200*time.Millisecond
	b.start(t, o)
	b.well(t)
	p.send(t, "abcdef")
	b.texts(t, "abcd")
	b.Eventually(t, "the rest is dropped", func() bool { return b.Losses[lostShort] == 1 })
	p.send(t, "ghij")
	b.texts(t, "ghij")
}

func TestFlood(t *testing.T) {
	p, b := newPTY(t), newBus()
	stop := b.start(t, options(p.port))
	b.well(t)
	const n = 50000
	began := time.Now()
	go func() {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, "line %d\n", i)
		}
		_, _ = io.WriteString(p, text.String())
	}()
	for i := range n {
		b.texts(t, fmt.Sprintf("line %d", i))
	}
	d := time.Since(began)
	t.Logf("%d lines in %s: %.1f MB/s", n, d.Round(time.Millisecond), n*11/d.Seconds()/1e6)
	stop()
	if len(b.Losses) > 0 {
		t.Errorf("lost %v", b.Losses)
	}
}

// TestUnplugAndReplug unplugs the port in the middle of a line, and replaces it by another one.
func TestUnplugAndReplug(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "ttyUSB0")
	b := newBus()
	b.start(t, options(link)) // the port doesn't exist yet
	b.Eventually(t, "waiting for it", func() bool {
		return strings.Contains(b.Last(), "there is no "+link) && strings.HasSuffix(b.Last(), "waiting for it")
	})
	for i := range 3 {
		p := newPTY(t)
		began := time.Now()
		if err := os.Symlink(p.port, link); err != nil {
			t.Fatal(err)
		}
		b.well(t)
		t.Logf("found after %s", time.Since(began).Round(time.Millisecond))
		p.send(t, fmt.Sprintf("hello %d\nhalf a li", i))
		b.texts(t, fmt.Sprintf("hello %d", i))
		for n, end := 1, time.Now().Add(patience); n > 0; { // until the kernel has passed it on
			n, _ = unix.IoctlGetInt(int(p.Fd()), unix.TIOCOUTQ)
			if time.Now().After(end) {
				t.Fatal("the port is not read")
			}
		}
		os.Remove(link)
		p.Close()
		b.Eventually(t, "it is gone", func() bool { return b.Last() != "<nil>" })
	}
	b.Mu.Lock()
	defer b.Mu.Unlock()
	if b.Losses[lostPart] == 0 || b.Losses[lostPart] > 3 { // the kernel may drop bytes in transit
		t.Errorf("lost %v", b.Losses)
	}
}

func TestReloadKeepsHalfALine(t *testing.T) {
	t.Parallel()
	p, b := newPTY(t), newBus()
	o := options(p.port)
	stop := b.start(t, o)
	b.well(t)
	p.send(t, "one\ntw")
	b.texts(t, "one")
	b.Keep(true)
	stop()
	p.send(t, "o\nthree\n")
	o.MaxFrame = 100
	stop = b.start(t, o)
	b.Keep(false)
	b.texts(t, "two", "three")

	b.Gate = make(chan struct{}) // the bus refuses the lines that were read: the next source posts them
	p.send(t, "four\nfive\nsi")
	b.Eventually(t, "it is read", func() bool { n, _ := unix.IoctlGetInt(int(p.Fd()), unix.TIOCOUTQ); return n == 0 })
	b.Keep(true)
	stop()
	b.Mu.Lock()
	b.Gate = nil
	b.Mu.Unlock()
	stop = b.start(t, o)
	b.Keep(false)
	p.send(t, "x\n")
	b.texts(t, "four", "five", "six")

	b.Keep(true) // another speed opens the port again
	stop()
	o.Baud = 9600
	stop = b.start(t, o)
	b.Keep(false)
	b.well(t)
	p.send(t, "seven\n")
	b.texts(t, "seven")
	var speed uint32
	raw, _ := p.SyscallConn()
	_ = raw.Control(func(fd uintptr) {
		if term, err := unix.IoctlGetTermios(int(fd), unix.TCGETS); err == nil {
			speed = term.Cflag & unix.CBAUD
		}
	})
	if speed != unix.B9600 {
		t.Errorf("the speed is %#x", speed)
	}
	stop()
	if len(b.Losses) > 0 {
		t.Errorf("lost %v", b.Losses)
	}
}

func actionOptions(port string) ActionOptions {
	o := actionDefaults()
	o.Port = tty.Name(port)
	return o
}

func TestActionWrites(t *testing.T) {
	t.Parallel()
	p, b := newPTY(t), newBus()
	a := NewAction(actionOptions(p.port), b)
	for _, c := range []struct {
		args Args
		want string
	}{{Args{Text: "on"}, "on\n"}, {Args{JSON: []any{1.0, "a"}}, "[1,\"a\"]\n"}, {Args{Hex: "7e01ff0a0d"}, "\x7e\x01\xff\n\r"}} {
		if err := a.Do(t.Context(), c.args); err != nil {
			t.Fatal(err)
		}
		p.expect(t, c.want)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if len(b.Held()) != 0 {
		t.Error("the port is still open")
	}
}

func TestSourceAndActionShareThePort(t *testing.T) {
	t.Parallel()
	p, b := newPTY(t), newBus()
	a := NewAction(actionOptions(p.port), b)
	stop := b.start(t, options(p.port))
	b.well(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 200 {
			p.send(t, fmt.Sprintf("in %d\n", i))
		}
	})
	wg.Go(func() {
		for i := range 200 {
			if err := a.Do(t.Context(), Args{Text: fmt.Sprintf("out %d", i)}); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 200 {
		b.texts(t, fmt.Sprintf("in %d", i))
		p.expect(t, fmt.Sprintf("out %d\n", i))
	}
	wg.Wait()
	b.Keep(true) // the source is replaced while the action continues
	stop()
	if err := a.Do(t.Context(), Args{Text: "between"}); err != nil {
		t.Error(err)
	}
	stop = b.start(t, options(p.port))
	b.Keep(false)
	p.expect(t, "between\n")
	p.send(t, "again\n")
	b.texts(t, "again")
	stop()
	if err := a.Do(t.Context(), Args{Text: "alone"}); err != nil { // the file has no source any more
		t.Error(err)
	}
	p.expect(t, "alone\n")
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if len(b.Held()) != 0 || len(b.Losses) != 0 {
		t.Errorf("held %v, lost %v", b.Held(), b.Losses)
	}
}

func TestTwoSourcesOnOnePort(t *testing.T) {
	t.Parallel()
	p, b := newPTY(t), newBus()
	b.start(t, options(p.port))
	s := New(options(p.port), b)
	if err := s.Open(t.Context()); !errors.Is(err, errTwo) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	b.well(t)
	p.send(t, "still\n")
	b.texts(t, "still")
}

func TestActionFindsThePortAgain(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "ttyUSB0")
	a := NewAction(actionOptions(link), newBus())
	defer a.Close()
	if err := a.Do(t.Context(), Args{Text: "x"}); err == nil || !strings.Contains(err.Error(), "there is no "+link) {
		t.Errorf("an absent port: %v", err)
	}
	for i := range 3 {
		p := newPTY(t)
		if err := os.Symlink(p.port, link); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("hello %d", i)
		if err := a.Do(t.Context(), Args{Text: text}); err != nil { // the old port was removed, which is noticed now
			t.Fatal(err)
		}
		p.expect(t, text+"\n")
		os.Remove(link)
		p.Close()
	}
}

func TestWritingToAPortThatTakesNothing(t *testing.T) {
	t.Parallel()
	p := newPTY(t)
	o := actionOptions(p.port)
	o.Timeout = 100 * time.Millisecond
	a := NewAction(o, newBus())
	defer a.Close()
	big := strings.Repeat("x", 1<<20)
	if err := a.Do(t.Context(), Args{Text: big}); err == nil || !strings.Contains(err.Error(), "did not accept 1048577 bytes within 100ms") {
		t.Errorf("timeout: %v", err)
	}
	a.o.Timeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := a.Do(ctx, Args{Text: big}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("context: %v", err)
	}
}

func TestSettle(t *testing.T) {
	t.Parallel()
	p := newPTY(t)
	o := actionOptions(p.port)
	o.Settle = 200 * time.Millisecond
	a := NewAction(o, newBus())
	defer a.Close()
	began := time.Now()
	if err := a.Do(t.Context(), Args{Text: "x"}); err != nil || time.Since(began) < 200*time.Millisecond {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	a.o.Settle = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := a.Do(ctx, Args{Text: "x"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
