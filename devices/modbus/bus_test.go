package modbus

// What the tests share: a bus that holds things, and a source that runs.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"
)

const patience = 20 * time.Second // for what comes at once on a machine that isn't busy

// bus is the little of a bus that the kind needs. It holds things as the bus does.
type bus struct {
	mu       sync.Mutex
	held     map[string]io.Closer
	users    map[string]int
	keeping  bool
	degraded []string
	events   chan map[string]any
}

func newBus() *bus {
	return &bus{held: map[string]io.Closer{}, users: map[string]int{}, events: make(chan map[string]any, 1<<16)}
}

func (b *bus) Degraded(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.degraded = append(b.degraded, fmt.Sprint(err))
}

func (b *bus) Hold(key string, open func() (io.Closer, error)) (io.Closer, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[key] == nil {
		c, err := open()
		if err != nil {
			return nil, nil, err
		}
		b.held[key] = c
	}
	b.users[key]++
	return b.held[key], sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.users[key]--
		b.letGo()
	}), nil
}

func (b *bus) letGo() {
	for key, c := range b.held {
		if b.users[key] == 0 && !b.keeping {
			c.Close()
			delete(b.held, key)
		}
	}
}

// keep is what the bus does while a source is replaced.
func (b *bus) keep(is bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keeping = is
	b.letGo()
}

func (b *bus) next(t *testing.T) map[string]any {
	t.Helper()
	select {
	case e := <-b.events:
		return e
	case <-time.After(patience):
		b.mu.Lock()
		defer b.mu.Unlock()
		t.Fatalf("no event came; degraded %q", b.degraded)
		return nil
	}
}

// until waits for an event that is so.
func (b *bus) until(t *testing.T, name string, is func(e map[string]any) bool) map[string]any {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		e := b.next(t)
		if is(e) {
			return e
		}
		if time.Now().After(end) {
			t.Fatalf("not in time: %s, but %v", name, e)
		}
	}
}

func ok(e map[string]any) bool    { return e["ok"] == true }
func notOK(e map[string]any) bool { return e["ok"] == false }

func (b *bus) last() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.degraded) == 0 {
		return "nothing"
	}
	return b.degraded[len(b.degraded)-1]
}

// options are of a poll a second, with a timeout that a busy machine keeps.
func options(registers ...Register) Options {
	o := Defaults()
	o.Every, o.Timeout, o.Registers = time.Second, 2*time.Second, registers
	return o
}

// start runs a source; what is returned stops it.
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
	go func() {
		ended <- s.Run(ctx, func(ctx context.Context, _ time.Time, f map[string]any) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			b.events <- f
			return nil
		})
	}()
	stop = sync.OnceFunc(func() {
		began := time.Now()
		cancel()
		select {
		case err := <-ended:
			if d := time.Since(began); err != nil && !errors.Is(err, context.Canceled) || d > time.Second {
				t.Errorf("%v after %s", err, d)
			}
		case <-time.After(patience):
			t.Error("the source did not end")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func reg(name string, address int) Register { return Register{Name: name, Address: address} }
