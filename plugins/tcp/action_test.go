package tcp

// This file tests the action against servers that stop, start and do not read.

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestAction(t *testing.T) {
	before := runtime.NumGoroutine()
	l := kindtest.Listen(t, "127.0.0.1:0")
	a := NewAction(ActionOptions{To: l.Addr().String(), Timeout: time.Minute}, nil)
	do := func(text string) {
		t.Helper()
		if err := a.Do(t.Context(), Args{Text: text}); err != nil {
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
	_, r := kindtest.Accept(t, l)
	line(r, "one\n")
	line(r, "two\n")

	err := a.Do(t.Context(), Args{Text: "a\nb"})
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

func TestActionWithoutServer(t *testing.T) {
	l := kindtest.Listen(t, "127.0.0.1:0")
	a := NewAction(ActionOptions{To: l.Addr().String(), Timeout: time.Minute}, nil)
	defer a.Close()
	l.Close()
	if err := a.Do(t.Context(), Args{Text: "x"}); err == nil || !strings.Contains(err.Error(), "connecting to "+l.Addr().String()) {
		t.Errorf("no server: %v", err)
	}
	kindtest.Listen(t, l.Addr().String())
	if err := a.Do(t.Context(), Args{Text: "x"}); err != nil {
		t.Error("it did not come back:", err)
	}
}

func TestActionWithServerThatDoesNotRead(t *testing.T) {
	l := kindtest.Listen(t, "127.0.0.1:0")
	a := NewAction(ActionOptions{To: l.Addr().String(), Timeout: 100 * time.Millisecond}, nil)
	defer a.Close()
	big := strings.Repeat("x", 32<<20)
	if err := a.Do(t.Context(), Args{Text: big}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("timeout: %v", err)
	}
	a.s.Timeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := a.Do(ctx, Args{Text: big}); err == nil || time.Since(began) > time.Minute {
		t.Errorf("context: %v after %v", err, time.Since(began))
	}
}
