package main

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

func TestKeptBack(t *testing.T) {
	for limit, want := range map[uint64]uint64{0: 0, 20: 10, 64: 16, 256: 32, 1024: 128, 524288: 1024} {
		if got := keptBack(limit); got != want {
			t.Errorf("%d of %d, want %d", got, limit, want)
		}
	}
}

// TestConnectionsAreRefusedInTime checks that while too few files are left a connection ends at
// once, the listener stays open, and that it accepts the next connection when there are enough
// again. The log reports it once.
func TestConnectionsAreRefusedInTime(t *testing.T) {
	if openFileLimit() == 0 {
		t.Skip("there is no limit of open files here")
	}
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	files := newOpenFiles(openFileLimit(), slog.New(slog.NewTextHandler(&log, nil)))
	files.pause = time.Millisecond
	l := files.guard(raw)
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial()
	first := <-accepted
	room := files.max.Load()
	files.max.Store(descriptor(first)) // its descriptor is the last one for clients
	first.Close()
	dial() // it has the lowest free descriptor, or a higher one
	for range 3 {
		c := dial()
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("it is not refused: %v", err)
		}
	}
	files.max.Store(room)
	c := dial()
	served := <-accepted
	if _, err := io.WriteString(served, "x"); err != nil {
		t.Error(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 1 {
		t.Errorf("it is not served: %v", err)
	}
	l.Close()
	if err := <-ended; err == nil {
		t.Error("no end")
	}
	if n := strings.Count(log.String(), "too many open files"); n != 1 {
		t.Errorf("said %d times: %s", n, &log)
	}
}
