package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// bus is the part of a bus that the source needs.
type bus struct {
	mu       sync.Mutex
	degraded []string
	lost     map[string]int
	events   chan map[string]any
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

// start runs a source; stop ends it.
func start(t *testing.T, path string, change func(*Options)) (b *bus, stop func()) {
	t.Helper()
	b = &bus{lost: map[string]int{}, events: make(chan map[string]any, 100000)}
	o := Defaults()
	o.Path, o.Settle = path, 30*time.Millisecond
	if change != nil {
		change(&o)
	}
	s := New(o, b)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Stream(ctx, func(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error {
			select {
			case b.events <- fields:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			case <-time.After(time.Minute):
				t.Error("the source did not end within a minute")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return b, stop
}

// expect waits for events with these values of key, in this order.
func (b *bus) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case e := <-b.events:
			got := fmt.Sprint(e["name"], " ", e["text"])
			if e["op"] != nil {
				got = strings.TrimSpace(fmt.Sprint(e["op"], " ", e["name"], " ", e["text"]))
			}
			if got != w {
				t.Fatalf("got %q, want %q", got, w)
			}
		case <-time.After(time.Minute):
			b.mu.Lock()
			defer b.mu.Unlock()
			t.Fatalf("no event %q within a minute (lost %v, degraded %q)", w, b.lost, b.degraded)
		}
	}
}

func (b *bus) eventually(t *testing.T, name string, what func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; runtime.Gosched() {
		b.mu.Lock()
		ok := what()
		b.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s (lost %v, degraded %q)", name, b.lost, b.degraded)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func add(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(t, err)
	defer f.Close()
	_, err = f.WriteString(text)
	must(t, err)
}

// Without notifications polling finds the changes.
func TestWithoutNotices(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	b := &bus{lost: map[string]int{}, events: make(chan map[string]any, 10)}
	o := Defaults()
	o.Path = p
	s := New(o, b)
	must(t, s.Open(t.Context()))
	defer s.Close()
	s.notice.close()
	s.notice.w = nil
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Stream(ctx, func(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error {
			b.events <- fields
			return nil
		})
	}()
	add(t, p, "x\n")
	b.expect(t, "a x")
	cancel()
	must(t, <-ended)
}

func TestNothingIsLeftOpen(t *testing.T) {
	before := runtime.NumGoroutine()
	p := filepath.Join(t.TempDir(), "a")
	for _, mode := range []string{"tail", "watch"} {
		b, stop := start(t, p, func(o *Options) { o.Mode = mode })
		add(t, p, "x\n")
		<-b.events
		stop()
	}
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
	if runtime.GOOS == "linux" {
		fds, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		for _, fd := range fds {
			if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(to, p) {
				t.Errorf("%s is still open", to)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Path: "/x/*.log", Mode: "tail"}, ""},
		{Options{Path: "/x/[a", Mode: "tail"}, `path: the pattern "/x/[a" is not complete`},
		{Options{Path: "/x", Mode: "tail", Read: 1}, "read: read is about mode: watch"},
	} {
		got := ""
		for _, err := range c.o.Check() {
			got += err.(interface{ Key() string }).Key() + ": " + err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: %q", c.o, got)
		}
	}
}
