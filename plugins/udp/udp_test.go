package udp

import (
	"context"
	"fmt"
	"io"
	"net"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// bus is the little of a bus that the source needs.
type bus struct {
	mu     sync.Mutex
	held   map[string]io.Closer
	lost   map[string]int
	events chan map[string]any
	gate   chan struct{} // when not nil, post waits for it
}

func newBus() *bus {
	return &bus{held: map[string]io.Closer{}, lost: map[string]int{}, events: make(chan map[string]any, 100000)}
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
				if err != nil && ctx.Err() == nil {
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
	return s.s.LocalAddr().String(), stop
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestDatagrams(t *testing.T) {
	b := newBus()
	address, _ := b.start(t, Options{Listen: "127.0.0.1:0"})
	c := dial(t, address)
	from := c.LocalAddr().String()
	for _, d := range []struct {
		name, data string
		want       map[string]any
	}{
		{"text", "hello\n", map[string]any{"text": "hello", "json": nil, "bytes": nil}},
		{"two lines are one event", "a\r\nb\r\n", map[string]any{"text": "a\r\nb", "json": nil, "bytes": nil}},
		{"JSON", `{"a":[1]}`, map[string]any{"text": `{"a":[1]}`, "json": map[string]any{"a": []any{1.0}}, "bytes": nil}},
		{"not UTF-8", "a\xff\n", map[string]any{"text": "a\uFFFD", "json": nil, "bytes": []byte("a\xff\n")}},
		{"nothing", "", map[string]any{"text": "", "json": nil, "bytes": nil}},
		{"the largest", strings.Repeat("x", 65507), map[string]any{"text": strings.Repeat("x", 65507), "json": nil, "bytes": nil}},
	} {
		send(t, c, d.data)
		d.want["from"] = from
		if got := b.next(t); !reflect.DeepEqual(got, d.want) {
			t.Errorf("%s: got %.200q", d.name, fmt.Sprint(got))
		}
	}
}

func TestLines(t *testing.T) {
	b := newBus()
	address, _ := b.start(t, Options{Listen: "127.0.0.1:0", Split: "line"})
	send(t, dial(t, address), "a\r\n\nb\n\n3")
	for _, want := range []string{"a", "b", "3"} {
		if got := b.next(t); got["text"] != want {
			t.Errorf("got %q, want %q", got["text"], want)
		}
	}
}

func TestReloadKeepsThePortAndWhatWaitsInIt(t *testing.T) {
	b := newBus()
	address, stop := b.start(t, Options{Listen: "127.0.0.1:0"})
	c := dial(t, address)
	send(t, c, "before")
	b.next(t)
	stop()
	send(t, c, "between")
	again, _ := b.start(t, Options{Listen: "127.0.0.1:0"})
	if again != address {
		t.Fatalf("the port changed: %s, %s", address, again)
	}
	send(t, c, "after")
	for _, want := range []string{"between", "after"} {
		if got := b.next(t); got["text"] != want {
			t.Errorf("got %q, want %q", got["text"], want)
		}
	}
}

func TestDroppedDatagramsAreCounted(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("only Linux counts them")
		return
	}
	b := newBus()
	b.gate = make(chan struct{})
	address, _ := b.start(t, Options{Listen: "127.0.0.1:0"})
	c := dial(t, address)
	const sent = 2000
	for range sent { // a few hundred fit in the socket's buffer
		send(t, c, strings.Repeat("x", 1000))
	}
	close(b.gate)
	deadline := time.Now().Add(5 * time.Second)
	for {
		// The count comes with the next datagram that has room.
		send(t, c, "probe")
		for b.next(t)["text"] != "probe" {
		}
		b.mu.Lock()
		n := b.lost["came faster than the bus took them"]
		b.mu.Unlock()
		if n > 0 && n < sent {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("lost: %d", n)
		}
	}
}

func TestOpenFails(t *testing.T) {
	b := newBus()
	address, _ := b.start(t, Options{Listen: "127.0.0.1:0"})
	s := New(Options{Listen: address}, newBus())
	if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "listening on "+address) {
		t.Errorf("a port in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := runtime.NumGoroutine()
	b := newBus()
	b.gate = make(chan struct{})
	address, stop := b.start(t, Options{Listen: "127.0.0.1:0"})
	send(t, dial(t, address), "stuck in post")
	stop()
	if n := b.lost["received while stopping"]; n > 1 { // 0: it was not read yet
		t.Errorf("%d lost", n)
	}
	for end := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

func TestAction(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := NewAction(ActionOptions{To: l.LocalAddr().String()}, nil)
	buf := make([]byte, 70000)
	for _, text := range []string{"hello", "", strings.Repeat("x", maxDatagram)} {
		if err := a.Do(t.Context(), Args{Text: text}); err != nil {
			t.Fatal(err)
		}
		l.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, _, err := l.ReadFrom(buf); err != nil || string(buf[:n]) != text {
			t.Errorf("got %d bytes of %d: %v", n, len(text), err)
		}
	}
	err = a.Do(t.Context(), Args{Text: strings.Repeat("x", maxDatagram+1)})
	if p, ok := err.(interface{ Permanent() bool }); !ok || !p.Permanent() {
		t.Errorf("too long: %v", err)
	}
	if err := NewAction(ActionOptions{To: "no-such-host.invalid:1"}, nil).Do(t.Context(), Args{}); err == nil {
		t.Error("sent to a host that does not exist")
	}
}

func TestCheck(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:9000": "", ":9000": "", "[::1]:9000": "", "localhost:9000": "",
		"":           `"" is not host:port`,
		"9000":       `"9000" is not host:port`,
		"::1:9000":   `"::1:9000" is not host:port`,
		":0":         `the port "0" is not a number from 1 to 65535`,
		":http":      `the port "http" is not a number from 1 to 65535`,
		"1.2.3.4:-1": `the port "-1" is not a number from 1 to 65535`,
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

func FuzzFields(f *testing.F) {
	f.Add([]byte("a\n"))
	f.Add([]byte{0xff, 0})
	f.Add([]byte(`{"a": 1e999}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := fields(data, "x"); len(got) != 4 || (got["bytes"] == nil) != (strings.ToValidUTF8(string(data), "") == string(data)) {
			t.Fatal(got)
		}
	})
}
