// This file runs sources for the tests.

package desktop

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/desktoptest"
)

// TestMain hides the session in which the tests run.
func TestMain(m *testing.M) {
	os.Unsetenv("XDG_SESSION_ID")
	m.Run()
}

// fakeEnv is a source's environment.
type fakeEnv struct {
	mu       sync.Mutex
	degraded error
	lost     int
}

func (e *fakeEnv) Degraded(err error) { e.mu.Lock(); defer e.mu.Unlock(); e.degraded = err }
func (e *fakeEnv) Lost(n int, _ string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost += n
}
func (e *fakeEnv) trouble() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.degraded == nil {
		return ""
	}
	return e.degraded.Error()
}

// running is a running source.
type running struct {
	t      *testing.T
	env    *fakeEnv
	events chan map[string]any
	gate   chan struct{} // unless nil, emit waits for it
	stop   func()
}

// nowhere is an address without a server.
const nowhere = "unix:path=/nowhere/bus"

const silent = "unix:/nowhere/native"

// run runs a source on a machine without a camera.
func run(t *testing.T, o Options, gate chan struct{}) *running {
	t.Helper()
	return runIn(t, o, gate, places{dev: t.TempDir(), proc: "/proc", udev: "/nowhere", sys: "/nowhere"})
}

func runIn(t *testing.T, o Options, gate chan struct{}, at places) *running {
	t.Helper()
	r := &running{t: t, env: &fakeEnv{}, events: make(chan map[string]any, 1000), gate: gate}
	s := New(o, r.env)
	s.places = at
	if s.camera != nil {
		s.camera.settle = 150 * time.Millisecond // the tests use short times
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Run(ctx, func(ctx context.Context, _ time.Time, f map[string]any) error {
			r.events <- maps.Clone(f)
			if gate != nil {
				select {
				case <-gate:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			t.Helper()
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(desktoptest.Patience):
				t.Error("the source did not end")
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

// words returns an event in short form: what=… and the named fields.
func words(e map[string]any, fields ...string) string {
	out := []string{fmt.Sprint(e["what"])}
	for _, f := range fields {
		out = append(out, fmt.Sprint(e[f]))
	}
	return strings.Join(out, " ")
}

// want waits for the next event, which must be this one.
func (r *running) want(text string, fields ...string) map[string]any {
	r.t.Helper()
	select {
	case e := <-r.events:
		if got := words(e, fields...); got != text {
			r.t.Fatalf("got %q, want %q: %v", got, text, e)
		}
		return e
	case <-time.After(desktoptest.Patience):
		r.t.Fatalf("no event within %s, want %q; trouble: %s", desktoptest.Patience, text, r.env.trouble())
		return nil
	}
}

// until discards events until this one arrives.
func (r *running) until(text string, fields ...string) {
	r.t.Helper()
	var seen []string
	for end := time.After(desktoptest.Patience); ; {
		select {
		case e := <-r.events:
			got := words(e, fields...)
			if got == text {
				return
			}
			seen = append(seen, got)
		case <-end:
			r.t.Fatalf("no event %q within %s, but %q; trouble: %s", text, desktoptest.Patience, seen, r.env.trouble())
		}
	}
}

func (r *running) none() {
	r.t.Helper()
	select {
	case e := <-r.events:
		r.t.Fatalf("there is one more event: %v", e)
	default:
	}
}

// says waits until Degraded reports an error that contains part.
func (r *running) says(part string) {
	r.t.Helper()
	desktoptest.Eventually(r.t, fmt.Sprintf("Degraded says %q", part), func() bool {
		text := r.env.trouble()
		return part == "" && text == "" || part != "" && strings.Contains(text, part)
	})
}

// several waits for events of lock, sleep and idle in any order.
func (r *running) several(want ...string) {
	r.t.Helper()
	var got []string
	for range want {
		select {
		case e := <-r.events:
			got = append(got, words(e, map[string]string{"lock": "locked", "sleep": "asleep", "idle": "idle", "volume": "muted", "microphone": "in_use"}[e["what"].(string)]))
		case <-time.After(desktoptest.Patience):
			r.t.Fatalf("got only %q, want %q; trouble: %s", got, want, r.env.trouble())
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.t.Fatalf("got %q, want %q", got, want)
	}
}
