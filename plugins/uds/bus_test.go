//go:build unix

package uds

// A bus and a client for the tests.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
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
	seal     chan error    // when not nil, an event's fate is what comes here
	sealing  sync.WaitGroup
	sealed   chan struct{} // of the event before
}

func newBus() *bus {
	sealed := make(chan struct{})
	close(sealed)
	return &bus{held: map[string]io.Closer{}, lost: map[string]int{}, events: make(chan map[string]any, 100000), sealed: sealed}
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

// Hold keeps what was released, as the bus does during a reload; letGo closes it.
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

func (b *bus) letGo() {
	for k, c := range b.held {
		c.Close()
		delete(b.held, k)
	}
}

func (b *bus) post(ctx context.Context, _ time.Time, fields map[string]any, done func(error)) error {
	if b.gate != nil {
		select {
		case <-b.gate:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.events <- fields
	if done == nil {
		return nil
	}
	before, after := b.sealed, make(chan struct{})
	b.sealed = after
	b.sealing.Go(func() { // in the order of the events
		defer close(after)
		<-before
		if b.seal == nil {
			done(nil)
			return
		}
		done(<-b.seal)
	})
	return nil
}

func (b *bus) next(t *testing.T) map[string]any {
	t.Helper()
	select {
	case e := <-b.events:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event within 10 s")
		return nil
	}
}

func (b *bus) none(t *testing.T) {
	t.Helper()
	select {
	case e := <-b.events:
		t.Errorf("there is an event: %v", e)
	default:
	}
}

func (b *bus) eventually(t *testing.T, name string, what func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		ok := what()
		b.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s (lost %v, degraded %q)", name, b.lost, b.degraded)
		}
	}
}

// folder is a short one: a socket's path may not be long.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "uds")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func options(t *testing.T) Options {
	t.Helper()
	o := Defaults()
	o.Path = filepath.Join(folder(t), "s")
	return o
}

// start runs a source; the function that is returned stops it and leaves the socket held.
func (b *bus) start(t *testing.T, o Options) (stop func()) {
	t.Helper()
	if errs := o.Check(); errs != nil {
		t.Fatal(errs)
	}
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
		b.letGo()
	})
	return stop
}

// client is a program that sends lines and reads answers.
type client struct {
	*net.UnixConn
	r *bufio.Reader
}

func dial(t *testing.T, path string) client {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	return client{c.(*net.UnixConn), bufio.NewReader(c)}
}

func (c client) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func (c client) expect(t *testing.T, answers ...string) {
	t.Helper()
	for _, want := range answers {
		if got, err := c.r.ReadString('\n'); strings.TrimSuffix(got, "\n") != want {
			t.Errorf("the answer is %q, %v; want %q", got, err, want)
		}
	}
}

func (c client) closed(t *testing.T) {
	t.Helper()
	if _, err := c.r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is not closed: %v", err)
	}
}
