package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// bus is the little of a bus that the source needs.
type bus struct {
	mu       sync.Mutex
	held     map[string]io.Closer
	lost     map[string]int
	degraded []string
	events   chan map[string]any
	gate     chan struct{} // when not nil, post waits for it
}

func newBus() *bus {
	return &bus{held: map[string]io.Closer{}, lost: map[string]int{}, events: make(chan map[string]any, 100000)}
}

func (b *bus) Degraded(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.degraded = append(b.degraded, fmt.Sprint(err))
}

func (b *bus) Lost(n int, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost[reason] += n
}

// Hold keeps what was released, as the bus does during a reload.
func (b *bus) Hold(key string, open func() (io.Closer, error)) (io.Closer, func(), error) {
	if c, ok := b.held[key]; ok {
		return c, func() {}, nil
	}
	c, err := open()
	if err != nil {
		return nil, nil, err
	}
	b.held[key] = c
	return c, func() {}, nil
}

func (b *bus) post(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error {
	if b.gate != nil {
		select {
		case <-b.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.events <- fields
	return nil
}

func (b *bus) next(t *testing.T) map[string]any {
	t.Helper()
	select {
	case e := <-b.events:
		return e
	case <-time.After(5 * time.Second):
		t.Fatal("no event within 5 s")
		return nil
	}
}

// eventually waits until what holds, under the bus's lock.
func (b *bus) eventually(t *testing.T, name string, what func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		b.mu.Lock()
		ok := what()
		b.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within 5 s: %s (lost %v, degraded %q)", name, b.lost, b.degraded)
		}
	}
}

func options() Options {
	o := Defaults()
	o.Listen = "127.0.0.1:0"
	return o
}

// start runs a source; the function that is returned stops it and leaves the port held.
func (b *bus) start(t *testing.T, o Options) (address string, stop func()) {
	t.Helper()
	s := New(o, b)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Stream(ctx, b.post) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(time.Second):
				t.Error("the source did not end within a second")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		stop()
		for _, c := range b.held {
			c.Close()
		}
	})
	return s.port.Addr().String(), stop
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// closed waits until the other side has ended the connection.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection is not closed: %v", err)
	}
}

func TestLines(t *testing.T) {
	b := newBus()
	o := options()
	o.MaxLine = 10
	address, _ := b.start(t, o)
	c := dial(t, address)
	send(t, c, "hello\r\n\n{\"a\":1}\na\xffb\n0123456789ABC\nlast")
	c.CloseWrite()
	for _, want := range []map[string]any{
		{"text": "hello", "json": nil, "bytes": nil},
		{"text": "", "json": nil, "bytes": nil},
		{"text": `{"a":1}`, "json": map[string]any{"a": 1.0}, "bytes": nil},
		{"text": "a\uFFFDb", "json": nil, "bytes": []byte("a\xffb")},
		{"text": "0123456789", "json": nil, "bytes": nil}, // a leading zero is not JSON
		{"text": "last", "json": nil, "bytes": nil},
	} {
		want["from"] = c.LocalAddr().String()
		if got := b.next(t); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	closed(t, c)
	if n := b.lost["a line was longer than max_line and was cut"]; n != 1 {
		t.Errorf("lost: %v", b.lost)
	}
}

func TestLineThatIsNotWholeIsNoEvent(t *testing.T) {
	b := newBus()
	o := options()
	o.Idle = 200 * time.Millisecond
	address, _ := b.start(t, o)
	partial := func() bool { return b.lost["the connection ended within a line"] == 1 }

	c := dial(t, address)
	send(t, c, "open the do")
	closed(t, c)
	b.eventually(t, "idle", partial)
	b.lost = map[string]int{}

	c = dial(t, address)
	send(t, c, "first\nopen the do")
	b.next(t)
	c.SetLinger(0)
	c.Close()
	b.eventually(t, "reset", partial)
	select {
	case e := <-b.events:
		t.Errorf("half a line became the event %v", e)
	default:
	}
}

func TestSilentClientIsDisconnected(t *testing.T) {
	b := newBus()
	o := options()
	o.Idle = 50 * time.Millisecond
	address, _ := b.start(t, o)
	closed(t, dial(t, address))
	if len(b.lost) > 0 {
		t.Errorf("lost: %v", b.lost)
	}
}

func TestTooManyClients(t *testing.T) {
	b := newBus()
	o := options()
	o.MaxClients = 2
	address, _ := b.start(t, o)
	first, second := dial(t, address), dial(t, address)
	send(t, first, "1\n")
	send(t, second, "2\n")
	b.next(t)
	b.next(t)
	closed(t, dial(t, address))
	b.eventually(t, "says so", func() bool {
		return reflect.DeepEqual(b.degraded, []string{"2 clients are connected to 127.0.0.1:0; more are refused (max_clients)"})
	})
	first.Close()
	b.eventually(t, "is well again", func() bool { return len(b.degraded) == 2 && b.degraded[1] == "<nil>" })
	third := dial(t, address)
	send(t, third, "3\n")
	send(t, second, "4\n")
	if got := map[any]bool{b.next(t)["text"]: true, b.next(t)["text"]: true}; !got["3"] || !got["4"] {
		t.Errorf("got %v", got)
	}
}

func TestFloodHarmsOnlyItself(t *testing.T) {
	b := newBus()
	address, _ := b.start(t, options())
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
	send(t, quiet, "quiet\n")
	for {
		if b.next(t)["text"] == "quiet" {
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
	address, stop := b.start(t, options())
	old := dial(t, address)
	send(t, old, "before\nhalf ")
	b.next(t)
	stop()
	between := dial(t, address) // waits in the listener
	send(t, between, "between\n")
	again, _ := b.start(t, options())
	if again != address {
		t.Fatalf("the port changed: %s, %s", address, again)
	}
	if got := b.next(t); got["text"] != "between" {
		t.Errorf("got %v", got)
	}
	send(t, old, "of it\n") // the connection stays, with what it had sent
	if got := b.next(t); got["text"] != "half of it" || got["from"] != old.LocalAddr().String() {
		t.Errorf("got %v", got)
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := runtime.NumGoroutine()
	b := newBus()
	b.gate = make(chan struct{})
	address, stop := b.start(t, options())
	silent, stuck := dial(t, address), dial(t, address)
	send(t, stuck, "1\n2\n3\n")
	b.gate <- struct{}{}
	b.next(t)
	stop()
	for _, port := range b.held { // as the bus does when the file is gone
		port.Close()
	}
	closed(t, silent)
	b.eventually(t, "what was read is counted", func() bool { return b.lost["received while stopping"] == 2 })
	for end := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
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
