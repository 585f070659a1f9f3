package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// newBus makes a bus that keeps released things, as during a reload.
func newBus() *kindtest.Bus {
	b := kindtest.NewBus()
	b.Keep(true)
	return b
}

func options() Options {
	o := defaults()
	o.Listen = "127.0.0.1:0"
	return o
}

// start runs a source. The returned function stops it and leaves the port held.
func start(t *testing.T, b *kindtest.Bus, o Options) (address string, stop func()) {
	t.Helper()
	s := New(o, b)
	stop = b.Start(t, s, nil)
	return s.port.Addr().String(), stop
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	return kindtest.Dial(t, "tcp", address).(*net.TCPConn)
}

// closed waits until the server has ended the connection.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(kindtest.Patience))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection is not closed: %v", err)
	}
}

func TestLines(t *testing.T) {
	b := newBus()
	o := options()
	o.MaxLine = 10
	address, _ := start(t, b, o)
	c := dial(t, address)
	kindtest.Send(t, c, "hello\r\n\n{\"a\":1}\na\xffb\n0123456789ABC\nlast")
	c.CloseWrite()
	for _, want := range []map[string]any{
		{"text": "hello", "json": nil, "bytes": nil},
		{"text": "", "json": nil, "bytes": nil},
		{"text": `{"a":1}`, "json": map[string]any{"a": int64(1)}, "bytes": nil},
		{"text": "a\uFFFDb", "json": nil, "bytes": []byte("a\xffb")},
		{"text": "0123456789", "json": nil, "bytes": nil}, // a leading zero is not JSON
		{"text": "last", "json": nil, "bytes": nil},
	} {
		want["from"] = c.LocalAddr().String()
		if got := b.Next(t); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	closed(t, c)
	if n := b.Losses["a line was longer than max_line and was cut"]; n != 1 {
		t.Errorf("lost: %v", b.Losses)
	}
}

func TestDecode(t *testing.T) {
	b := newBus()
	o := options()
	o.Decode = "csv"
	address, _ := start(t, b, o)
	kindtest.Send(t, dial(t, address), "a,\"1,2\"\n\"a\n")
	if got := b.Next(t); !reflect.DeepEqual(got["json"], []any{"a", "1,2"}) || got["decode_error"] != nil {
		t.Errorf("%v", got)
	}
	if got := b.Next(t); got["json"] != nil || got["decode_error"] == nil {
		t.Errorf("%v", got)
	}
}

func TestLineThatIsNotWholeIsNoEvent(t *testing.T) {
	b := newBus()
	o := options()
	o.Idle = 200 * time.Millisecond
	address, _ := start(t, b, o)
	c := dial(t, address)
	kindtest.Send(t, c, "open the do")
	closed(t, c)
	b.Eventually(t, "idle", func() bool { return b.Losses["the connection ended within a line"] == 1 })
	b.None(t) // half a line is no event
}

func TestLineThatEndsWithAResetIsNoEvent(t *testing.T) {
	b := newBus()
	address, _ := start(t, b, options())
	c := dial(t, address)
	kindtest.Send(t, c, "first\nopen the do")
	b.Next(t)
	c.SetLinger(0)
	c.Close()
	b.Eventually(t, "reset", func() bool { return b.Losses["the connection ended within a line"] == 1 })
	b.None(t)
}

func TestSilentClientIsDisconnected(t *testing.T) {
	b := newBus()
	o := options()
	o.Idle = 50 * time.Millisecond
	address, _ := start(t, b, o)
	closed(t, dial(t, address))
	if len(b.Losses) > 0 {
		t.Errorf("lost: %v", b.Losses)
	}
}

func TestTooManyClients(t *testing.T) {
	b := newBus()
	o := options()
	o.MaxClients = 2
	address, _ := start(t, b, o)
	first, second := dial(t, address), dial(t, address)
	kindtest.Send(t, first, "1\n")
	kindtest.Send(t, second, "2\n")
	b.Next(t)
	b.Next(t)
	closed(t, dial(t, address))
	b.Eventually(t, "says so", func() bool {
		return reflect.DeepEqual(b.Conditions, []string{"2 clients are connected to 127.0.0.1:0; more are refused (max_clients)"})
	})
	first.Close()
	b.Eventually(t, "is well again", func() bool { return len(b.Conditions) == 2 && b.Conditions[1] == "<nil>" })
	third := dial(t, address)
	kindtest.Send(t, third, "3\n")
	kindtest.Send(t, second, "4\n")
	if got := map[any]bool{b.Next(t)["text"]: true, b.Next(t)["text"]: true}; !got["3"] || !got["4"] {
		t.Errorf("got %v", got)
	}
}

func TestFloodHarmsOnlyItself(t *testing.T) {
	b := newBus()
	address, _ := start(t, b, options())
	flood := dial(t, address)
	endless := dial(t, address)
	done := make(chan struct{}, 2)
	for c, text := range map[net.Conn]string{flood: strings.Repeat("x\n", 10000), endless: strings.Repeat("x", 20000)} {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				if _, err := io.WriteString(c, text); err != nil {
					return
				}
			}
		}()
	}
	quiet := dial(t, address)
	kindtest.Send(t, quiet, "quiet\n")
	for {
		if b.Next(t)["text"] == "quiet" {
			break
		}
	}
	flood.Close()
	endless.Close()
	<-done
	<-done
}

func TestReloadKeepsThePort(t *testing.T) {
	b := newBus()
	address, stop := start(t, b, options())
	old := dial(t, address)
	kindtest.Send(t, old, "before\nhalf ")
	b.Next(t)
	stop()
	between := dial(t, address) // waits in the listener
	kindtest.Send(t, between, "between\n")
	again, _ := start(t, b, options())
	if again != address {
		t.Fatalf("the port changed: %s, %s", address, again)
	}
	if got := b.Next(t); got["text"] != "between" {
		t.Errorf("got %v", got)
	}
	kindtest.Send(t, old, "of it\n") // the connection stays open, with the bytes that it had sent
	if got := b.Next(t); got["text"] != "half of it" || got["from"] != old.LocalAddr().String() {
		t.Errorf("got %v", got)
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := runtime.NumGoroutine()
	b := newBus()
	b.Gate = make(chan struct{})
	address, stop := start(t, b, options())
	silent, stuck := dial(t, address), dial(t, address)
	kindtest.Send(t, stuck, "1\n2\n3\n")
	b.Gate <- struct{}{}
	b.Next(t)
	stop()
	b.Keep(false) // as the bus does when the file is deleted
	closed(t, silent)
	b.Eventually(t, "what was read is counted", func() bool { return b.Losses["received while stopping"] == 2 })
	kindtest.NoMoreGoroutines(t, before)
}

func TestCheck(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:9000": "", ":9000": "", "[::1]:9000": "",
		"9000": `"9000" is not host:port`,
		":0":   `the port "0" is not a number from 1 to 65535`,
	} {
		got := ""
		for _, err := range (Options{Listen: address}).Check() {
			got += err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", address, got, want)
		}
	}
	if errs := (ActionOptions{To: ":9000"}).Check(); len(errs) != 1 {
		t.Errorf("an action without a host: %v", errs)
	}
}
