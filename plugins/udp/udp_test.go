package udp

import (
	"fmt"
	"net"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// newBus makes a bus that keeps released things, as during a reload.
func newBus() *kindtest.Bus {
	b := kindtest.NewBus()
	b.Keep(true)
	return b
}

// start runs a source. The returned function stops it and leaves the port held.
func start(t *testing.T, b *kindtest.Bus, o Options) (address string, stop func()) {
	t.Helper()
	s := New(o, b)
	stop = b.Start(t, s, nil)
	return s.s.LocalAddr().String(), stop
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	return kindtest.Dial(t, "udp", address)
}

func TestDatagrams(t *testing.T) {
	b := newBus()
	address, _ := start(t, b, Options{Listen: "127.0.0.1:0"})
	c := dial(t, address)
	from := c.LocalAddr().String()
	for _, d := range []struct {
		name, data string
		want       map[string]any
	}{
		{"text", "hello\n", map[string]any{"text": "hello", "json": nil, "bytes": nil}},
		{"two lines are one event", "a\r\nb\r\n", map[string]any{"text": "a\r\nb", "json": nil, "bytes": nil}},
		{"JSON", `{"a":[1]}`, map[string]any{"text": `{"a":[1]}`, "json": map[string]any{"a": []any{int64(1)}}, "bytes": nil}},
		{"not UTF-8", "a\xff\n", map[string]any{"text": "a\uFFFD", "json": nil, "bytes": []byte("a\xff\n")}},
		{"nothing", "", map[string]any{"text": "", "json": nil, "bytes": nil}},
		{"the largest", strings.Repeat("x", 65507), map[string]any{"text": strings.Repeat("x", 65507), "json": nil, "bytes": nil}},
	} {
		kindtest.Send(t, c, d.data)
		d.want["from"] = from
		if got := b.Next(t); !reflect.DeepEqual(got, d.want) {
			t.Errorf("%s: got %.200q", d.name, fmt.Sprint(got))
		}
	}
}

func TestLines(t *testing.T) {
	b := newBus()
	address, _ := start(t, b, Options{Listen: "127.0.0.1:0", Split: "line"})
	kindtest.Send(t, dial(t, address), "a\r\n\nb\n\n3")
	for _, want := range []string{"a", "b", "3"} {
		if got := b.Next(t); got["text"] != want {
			t.Errorf("got %q, want %q", got["text"], want)
		}
	}
}

func TestReloadKeepsThePortAndWhatWaitsInIt(t *testing.T) {
	b := newBus()
	address, stop := start(t, b, Options{Listen: "127.0.0.1:0"})
	c := dial(t, address)
	kindtest.Send(t, c, "before")
	b.Next(t)
	stop()
	kindtest.Send(t, c, "between")
	again, _ := start(t, b, Options{Listen: "127.0.0.1:0"})
	if again != address {
		t.Fatalf("the port changed: %s, %s", address, again)
	}
	kindtest.Send(t, c, "after")
	for _, want := range []string{"between", "after"} {
		if got := b.Next(t); got["text"] != want {
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
	b.Gate = make(chan struct{})
	address, _ := start(t, b, Options{Listen: "127.0.0.1:0"})
	c := dial(t, address)
	const sent = 2000
	for range sent { // a few hundred fit in the socket's buffer
		kindtest.Send(t, c, strings.Repeat("x", 1000))
	}
	close(b.Gate)
	deadline := time.Now().Add(kindtest.Patience)
	for {
		// The count arrives with the next datagram that fits into the buffer.
		kindtest.Send(t, c, "probe")
		for b.Next(t)["text"] != "probe" {
		}
		b.Mu.Lock()
		n := b.Losses["arrived faster than the bus accepted them"]
		b.Mu.Unlock()
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
	address, _ := start(t, b, Options{Listen: "127.0.0.1:0"})
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
	b.Gate = make(chan struct{})
	address, stop := start(t, b, Options{Listen: "127.0.0.1:0"})
	kindtest.Send(t, dial(t, address), "stuck in post")
	stop()
	if n := b.Losses["received while stopping"]; n > 1 { // 0: it was not read yet
		t.Errorf("%d lost", n)
	}
	kindtest.NoMoreGoroutines(t, before)
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
		l.SetReadDeadline(time.Now().Add(kindtest.Patience))
		if n, _, err := l.ReadFrom(buf); err != nil || string(buf[:n]) != text {
			t.Errorf("got %d bytes of %d: %v", n, len(text), err)
		}
	}
	err = a.Do(t.Context(), Args{Text: strings.Repeat("x", maxDatagram+1)})
	if !kind.IsPermanent(err) {
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

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		split       string
		decode      decode.Encoding
		data        string
		json, wrong any
	}{
		{"datagram", "json", "[1]\r\n", []any{int64(1)}, nil},
		{"datagram", "none", "[1]", nil, nil},
		{"datagram", "cbor", "\x0d", int64(13), nil}, // looks like a line end
		{"datagram", "msgpack", "\x92\x01\x0a", []any{int64(1), int64(10)}, nil},
		{"datagram", "csv", "a,1\nb,2\n", []any{[]any{"a", "1"}, []any{"b", "2"}}, nil},
		{"line", "csv", "a,1", []any{"a", "1"}, nil},
		{"datagram", "msgpack", "\x92\x01", nil, "this is not MessagePack: it ends in the middle of a value"},
	} {
		got := New(Options{Split: c.split, Decode: c.decode}, nil).fields([]byte(c.data), "x")
		if !reflect.DeepEqual(got["json"], c.json) || got["decode_error"] != c.wrong {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if errs := (Options{Listen: ":1", Split: "line", Decode: "cbor"}).Check(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "a line cannot hold cbor") {
		t.Error(errs)
	}
}

func FuzzFields(f *testing.F) {
	f.Add([]byte("a\n"))
	f.Add([]byte{0xff, 0})
	f.Add([]byte(`{"a": 1e999}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := New(defaults(), nil).fields(data, "x"); len(got) != 4 || (got["bytes"] == nil) != (strings.ToValidUTF8(string(data), "") == string(data)) {
			t.Fatal(got)
		}
	})
}
