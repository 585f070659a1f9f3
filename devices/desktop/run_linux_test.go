// This file runs sources for the tests.

package desktop

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// TestMain hides the session in which the tests run.
func TestMain(m *testing.M) {
	os.Unsetenv("XDG_SESSION_ID")
	m.Run()
}

// running is a running source.
type running struct {
	t    *testing.T
	env  *kindtest.Bus
	stop func()
}

// nowhere is an address without a server.
const nowhere = "unix:path=/nowhere/bus"

const silent = "unix:/nowhere/native"

// run runs a source on a machine without a camera. An event is settled when gate lets it, unless
// that is nil.
func run(t *testing.T, o Options, gate chan struct{}) *running {
	t.Helper()
	return runIn(t, o, gate, paths{dev: t.TempDir(), proc: "/proc", udev: "/nowhere", sys: "/nowhere"})
}

func runIn(t *testing.T, o Options, gate chan struct{}, at paths) *running {
	t.Helper()
	r := &running{t: t, env: kindtest.NewBus()}
	s := New(o, r.env)
	s.paths = at
	if s.camera != nil {
		s.camera.settle = 150 * time.Millisecond // the tests use short times
	}
	r.stop = r.env.Start(t, s, func(ctx context.Context) error {
		return s.Run(ctx, func(ctx context.Context, _ time.Time, f map[string]any) error {
			r.env.Events <- maps.Clone(f)
			if gate != nil {
				select {
				case <-gate:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	})
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
	e := r.env.Next(r.t)
	if got := words(e, fields...); got != text {
		r.t.Fatalf("got %q, want %q: %v", got, text, e)
	}
	return e
}

// until discards events until this one arrives.
func (r *running) until(text string, fields ...string) {
	r.t.Helper()
	for words(r.env.Next(r.t), fields...) != text {
	}
}

func (r *running) none() {
	r.t.Helper()
	r.env.None(r.t)
}

// says waits until Degraded reports an error that contains part.
func (r *running) says(part string) {
	r.t.Helper()
	r.env.Eventually(r.t, fmt.Sprintf("Degraded reports %q", part), func() bool {
		text := r.env.Last()
		return part == "" && (text == "<nil>" || text == "nothing") || part != "" && strings.Contains(text, part)
	})
}

// several waits for events of lock, sleep and idle in any order.
func (r *running) several(want ...string) {
	r.t.Helper()
	var got []string
	for range want {
		e := r.env.Next(r.t)
		got = append(got, words(e, map[string]string{"lock": "locked", "sleep": "asleep", "idle": "idle", "volume": "muted", "microphone": "in_use"}[e["what"].(string)]))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.t.Fatalf("got %q, want %q", got, want)
	}
}
