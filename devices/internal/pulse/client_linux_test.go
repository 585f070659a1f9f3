// This file tests a connection, with servers that the test simulates. Package desktop tests the
// real ones.

package pulse

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// played is a server: it passes each connection to play.
func played(t *testing.T, play func(c net.Conn)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pulse") // not t.TempDir: a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "native"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			play(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done; os.RemoveAll(dir) })
	return l.Addr().String()
}

// orders calls f with each command until it returns false.
func orders(c net.Conn, f func(op, tag uint32, r *reading) bool) {
	for b := bufio.NewReader(c); ; {
		body, err := readFrame(b, nil)
		if err != nil {
			return
		}
		r := &reading{b: body}
		if op, tag := r.u32(), r.u32(); !f(op, tag, r) {
			return
		}
	}
}

// polite answers the greeting.
func polite(c net.Conn, version uint32, then func(op, tag uint32) bool) {
	orders(c, func(op, tag uint32, _ *reading) bool {
		switch op {
		case opAuth:
			_, _ = c.Write(command(opReply, tag).u32(version).frame())
		case opSetClientName:
			_, _ = c.Write(command(opReply, tag).u32(7).frame())
		default:
			return then(op, tag)
		}
		return true
	})
}

func head(length, channel, flags uint32) []byte {
	var b [headSize]byte
	binary.BigEndian.PutUint32(b[:], length)
	binary.BigEndian.PutUint32(b[4:], channel)
	binary.BigEndian.PutUint32(b[16:], flags)
	return b[:]
}

// dead waits until the client disconnects.
func dead(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func TestHostileServers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		play func(c net.Conn)
		want string
	}{
		"hangs up":          {func(net.Conn) {}, "the server is gone"},
		"is silent":         {dead, "doesn't answer within 3s"},
		"speaks http":       {func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")); dead(c) }, "can't be decoded: a frame of 1213486160 bytes, more than 1048576"},
		"sends 4 GiB":       {func(c net.Conn) { _, _ = c.Write(head(none, none, 0)); dead(c) }, "a frame of 4294967295 bytes"},
		"sends half a head": {func(c net.Conn) { _, _ = c.Write(head(20, none, 0)[:7]); dead(c) }, "the remainder was not received within 2s"},
		"sends half a body": {func(c net.Conn) { _, _ = c.Write(append(head(20, none, 0), 1, 2, 3)); dead(c) }, "the remainder was not received within 2s"},
		"sends sound":       {func(c net.Conn) { _, _ = c.Write(head(20, 0, 0)); dead(c) }, "sound data, which was not requested"},
		"sends memory":      {func(c net.Conn) { _, _ = c.Write(head(20, none, 0x80000000)); dead(c) }, "shared memory"},
		"sends nothing":     {func(c net.Conn) { _, _ = c.Write(head(0, none, 0)); dead(c) }, "byte 0: 1 bytes are missing"},
		"refuses": {func(c net.Conn) {
			orders(c, func(_, tag uint32, _ *reading) bool {
				_, _ = c.Write(command(opError, tag).u32(1).frame())
				return true
			})
		}, "access denied"},
		"is old": {func(c net.Conn) { polite(c, 12, nil) }, "version 12 of the protocol; 13 is the minimum"},
		"answers with text": {func(c net.Conn) {
			orders(c, func(_, tag uint32, _ *reading) bool {
				_, _ = c.Write(command(opReply, tag).text("35").frame())
				return true
			})
		}, "an answer that can't be decoded: byte 10"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := Dial(t.Context(), played(t, c.play), "test", nil, nil)
			if client != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
		})
	}
}

// TestAFloodDoesNotGrow checks that a hundred MiB of unexpected answers and events are read and
// discarded.
func TestAFloodDoesNotGrow(t *testing.T) {
	t.Parallel()
	path := played(t, func(c net.Conn) {
		polite(c, maxVersion, func(_, tag uint32) bool {
			large := append(head(1<<20, none, 0), make([]byte, 1<<20)...)
			copy(large[headSize:], command(opReply, 1e6).frame()[headSize:])
			for i := range 100 {
				_, _ = c.Write(large)
				_, _ = c.Write(command(opEvent, none).u32(uint32(i)).u32(1).frame())
			}
			_, _ = c.Write(command(opReply, tag).frame())
			return true
		})
	})
	heard := make(chan Kind, 1000)
	c, err := Dial(t.Context(), path, "test", nil, func(k Kind) { heard <- k })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Subscribe(t.Context(), Sinks); err != nil {
		t.Fatal(err)
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	if len(heard) != 100 || len(c.waiting) != 0 || m.HeapAlloc > 32<<20 {
		t.Errorf("%d pieces of news, %d that wait, %d MiB", len(heard), len(c.waiting), m.HeapAlloc>>20)
	}
}

func TestAServerThatStopsAnswering(t *testing.T) {
	t.Parallel()
	path := played(t, func(c net.Conn) { polite(c, 35|0xc0000000, func(uint32, uint32) bool { return true }) })
	c, err := Dial(t.Context(), path, "test", nil, nil)
	if err != nil || c.Version() != maxVersion {
		t.Fatal(c, err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Server(ctx); !errors.Is(err, context.Canceled) || c.Err() != nil {
		t.Error(err, c.Err())
	}
	if _, err := c.Server(t.Context()); err == nil || !strings.Contains(err.Error(), "doesn't answer within 3s") {
		t.Error(err)
	}
	<-c.Ended()
	if err := c.Subscribe(t.Context(), Sinks); err == nil || err != c.Err() {
		t.Error(err)
	}
}

// TestTheEndOfTheContext ends the connection, and waiting calls.
func TestTheEndOfTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	path := played(t, func(c net.Conn) { polite(c, 35, func(uint32, uint32) bool { cancel(); return true }) })
	c, err := Dial(ctx, path, "test", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Recordings(t.Context()); !errors.Is(err, context.Canceled) { // not an error about patience
		t.Error(err)
	}
	<-c.Ended()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestTheGreeting checks that the cookie and our identity are sent.
func TestTheGreeting(t *testing.T) {
	t.Parallel()
	got := make(chan []byte, 2)
	path := played(t, func(c net.Conn) {
		orders(c, func(op, tag uint32, r *reading) bool {
			got <- r.b
			_, _ = c.Write(command(opReply, tag).u32(35).frame())
			return true
		})
	})
	c, err := Dial(t.Context(), path, "test", []byte("a cookie"), nil)
	if err != nil {
		t.Fatal(err)
	}
	auth, name := <-got, <-got
	c.Close()
	select {
	case <-c.Ended():
	default:
		t.Error("the reader isn't waited for")
	}
	if want := "L\x00\x00\x00\x08L\x00\x00\x00\x01L\x00\x00\x00\x20x\x00\x00\x01\x00a cookie\x00"; !strings.HasPrefix(string(auth), want) || len(auth) != 15+5+256 {
		t.Errorf("%q", auth)
	}
	if want := "L\x00\x00\x00\x09L\x00\x00\x00\x02Ptapplication.name\x00L\x00\x00\x00\x05x\x00\x00\x00\x05test\x00N"; string(name) != want {
		t.Errorf("%q", name)
	}
}

func TestAddresses(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PULSE_COOKIE", "")
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/5")
	for server, want := range map[string]string{
		"":                             "/run/user/5/pulse/native",
		"unix:/a/b":                    "/a/b",
		"/a/b":                         "/a/b",
		"tcp:other:4713 unix:/a":       "/a",
		"tcp:other:4713":               `$PULSE_SERVER: "tcp:other:4713" is not a unix socket; only unix:/path and /path are supported`,
		"{0123}unix:/a":                "is not a unix socket",
		"unix:relative":                "is not a unix socket",
		"/" + strings.Repeat("a", 200): "longer than",
	} {
		t.Setenv("PULSE_SERVER", server)
		path, err := Find()
		if got := path; err != nil && !strings.Contains(err.Error(), want) || err == nil && got != want {
			t.Errorf("%q: %q %v", server, path, err)
		}
	}
	t.Setenv("PULSE_SERVER", "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	if path, _ := Find(); !strings.HasPrefix(path, "/run/user/") {
		t.Error(path)
	}
	if c, err := Cookie(); c != nil || err != nil {
		t.Error(c, err)
	}
	if err := os.WriteFile(home+"/.pulse-cookie", []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Cookie(); string(c) != "old" || err != nil {
		t.Error(c, err)
	}
	t.Setenv("PULSE_COOKIE", home)
	if _, err := Cookie(); err == nil || !strings.Contains(err.Error(), "the cookie of the sound server") {
		t.Error(err)
	}
}
