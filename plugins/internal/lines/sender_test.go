package lines

// This file tests sending to servers that stop, start and do not read.

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func sender(to string, timeout time.Duration) *Sender {
	return &Sender{Name: to, Timeout: timeout, Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", to)
	}}
}

func TestSending(t *testing.T) {
	before := runtime.NumGoroutine()
	l := kindtest.Listen(t, "127.0.0.1:0")
	a := sender(l.Addr().String(), time.Minute)
	do := func(text string) {
		t.Helper()
		if _, err := a.Send(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	line := func(r *bufio.Reader, want string) {
		t.Helper()
		if got, err := r.ReadString('\n'); got != want {
			t.Errorf("got %q, %v", got, err)
		}
	}
	do("one")
	do("two\r\n")
	c, r := kindtest.Accept(t, l)
	line(r, "one\n")
	line(r, "two\n")

	c.Close() // the server stops and starts again
	<-a.gone
	do("three")
	_, r = kindtest.Accept(t, l)
	line(r, "three\n")

	_, err := a.Send(t.Context(), "a\nb")
	if !kind.IsPermanent(err) {
		t.Errorf("two lines: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after Close: %v", err)
	}
	kindtest.NoMoreGoroutines(t, before)
}

func TestSendingWithoutServer(t *testing.T) {
	l := kindtest.Listen(t, "127.0.0.1:0")
	a := sender(l.Addr().String(), time.Minute)
	defer a.Close()
	l.Close()
	if _, err := a.Send(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "connecting to "+l.Addr().String()) {
		t.Errorf("no server: %v", err)
	}
	kindtest.Listen(t, l.Addr().String())
	if _, err := a.Send(t.Context(), "x"); err != nil {
		t.Error("it did not come back:", err)
	}
}

func TestSendingToAServerThatDoesNotRead(t *testing.T) {
	l := kindtest.Listen(t, "127.0.0.1:0")
	a := sender(l.Addr().String(), 100*time.Millisecond)
	defer a.Close()
	big := strings.Repeat("x", 32<<20)
	if _, err := a.Send(t.Context(), big); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("timeout: %v", err)
	}
	a.Timeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := a.Send(ctx, big); err == nil || time.Since(began) > time.Minute {
		t.Errorf("context: %v after %v", err, time.Since(began))
	}
}

func TestSendingForAnAnswer(t *testing.T) {
	l := kindtest.Listen(t, "127.0.0.1:0")
	a := sender(l.Addr().String(), 10*time.Second)
	a.Answer = true
	defer a.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, r := kindtest.Accept(t, l)
		for _, answer := range []string{"ok\r\nunasked\n", "second\n", "", "late\n"} {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
			io.WriteString(c, answer)
		}
	}()
	send := func(want, wrong string) {
		t.Helper()
		got, err := a.Send(t.Context(), "x")
		if got != want || (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q, %v", got, err)
		}
	}
	send("ok", "")
	for end := time.Now().Add(kindtest.Patience); len(a.answers) == 0; runtime.Gosched() { // until the next line has arrived
		if time.Now().After(end) {
			t.Fatal("the unasked line did not come")
		}
	}
	send("second", "")
	a.Timeout = 200 * time.Millisecond
	send("", "none came within 200ms")
	a.Timeout = 10 * time.Second
	<-served
	go func() { // the next connection ends in place of an answer
		c, r := kindtest.Accept(t, l)
		_, _ = r.ReadString('\n')
		c.Close()
	}()
	send("", "unexpected EOF")
}
