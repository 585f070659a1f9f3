package plugins

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

// TestPluginsAtRestDoNothing: plugins without events are woken neither by the supervisor's looks nor by
// a read of their unchanged files. One that has an event publishes its counters.
func TestPluginsAtRestDoNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 50
		dir := t.TempDir()
		for i := range count {
			text := fmt.Sprintf("source: {probe: {name: p%d}}\npublish:\n  - topic: t/%d\n", i, i)
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("p%d.yaml", i)), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "wrong.yaml"), []byte("source: {nothing: {}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := bus.Open(t.Context(), bus.Options{FS: bustest.NewDisk(1)})
		if err != nil {
			t.Fatal(err)
		}
		probes, catalog := newProbes(t)
		s := New(dir, b, catalog, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		pass := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
				s.look(time.Now())
			}
			synctest.Wait()
		}
		s.scan(ctx)
		pass(5 * time.Second)

		rounds := s.rounds.Load()
		for range 10 {
			pass(30 * time.Second)
			s.scan(ctx)
		}
		pass(time.Second)
		if n := s.rounds.Load() - rounds; n > 0 {
			t.Errorf("plugins at rest were woken %d times in five minutes", n)
		}

		probes.post(t, "p7", map[string]any{"value": 1})
		pass(2 * time.Second)
		if n := s.rounds.Load() - rounds; n != 1 {
			t.Errorf("an event of one plugin woke plugins %d times", n)
		}
		if e, ok := b.RetainedValue(stateTopic("p7")); !ok || decode(t, e.Payload)["counters"].(map[string]any)["in"] != 1.0 {
			t.Errorf("the state after an event is %s", e.Payload)
		}
		cancel()
		s.ending.Store(true)
		s.tasks.Wait()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
