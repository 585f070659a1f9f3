// Package kindtest is what a kind's tests need of the bus: one that accepts a source's events and
// decides their fate, keeps what outlives a reload, and records reports; and the other end of a
// connection or a serial port. Only tests import it, also those of the kinds under plugins.
//
// [Bus] has the methods of plugins.Env that most kinds ask for. A test of a kind that asks for more
// (Log, Handle) embeds it and adds them. It has no topics, no mapping and no disk. It keeps reports
// where a test can read them.
//
// It imports nothing of this module: a kind can be tested alone.
package kindtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// Patience is how long a test waits for what happens at once on an idle machine. It guards against
// a hang, and judges no speed.
const Patience = time.Minute

// Bus is the part of a bus that a source needs. NewBus makes it.
type Bus struct {
	Events chan map[string]any // the posted events, a hundred thousand at most
	Fates  chan error          // set before a source runs: each event gets its result from here; nil: it is durable at once

	Mu         sync.Mutex     // protects the fields below
	Gate       chan struct{}  // when not nil, Post waits for it
	Losses     map[string]int // the counts of Lost, by reason
	Conditions []string       // the arguments of Degraded, in order; "<nil>": no error any more

	posting sync.Mutex    // protects told
	told    chan struct{} // closed when the last event has its result; nil: there was no event

	holding sync.Mutex // protects the fields below
	held    map[string]io.Closer
	users   map[string]int
	keeping bool
}

var _ kind.Env = (*Bus)(nil)

// NewBus makes a bus.
func NewBus() *Bus {
	return &Bus{Events: make(chan map[string]any, 100000), Losses: map[string]int{}, held: map[string]io.Closer{}, users: map[string]int{}}
}

// Log discards everything.
func (b *Bus) Log() *slog.Logger { return slog.New(slog.DiscardHandler) }

// ID is "test".
func (b *Bus) ID() string { return "test" }

// Source is "plugin:test".
func (b *Bus) Source() string { return "plugin:test" }

// Origin is "here".
func (b *Bus) Origin() string { return "here" }

// Dir is the folder of the package that is tested.
func (b *Bus) Dir() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}

// Publish fails.
func (b *Bus) Publish(context.Context, string, []byte, int, bool) error {
	return errors.New("kindtest: Publish is not implemented")
}

// Consume fails.
func (b *Bus) Consume(context.Context, string, []string, func(map[string]any, func(error))) error {
	return errors.New("kindtest: Consume is not implemented")
}

// Handle fails.
func (b *Bus) Handle(string, bool, http.Handler) (func(), error) {
	return nil, errors.New("kindtest: Handle is not implemented")
}

// Degraded records an error.
func (b *Bus) Degraded(err error) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	b.Conditions = append(b.Conditions, fmt.Sprint(err))
}

// Last returns the last of Conditions, or "nothing". The caller holds Mu.
func (b *Bus) Last() string {
	if len(b.Conditions) == 0 {
		return "nothing"
	}
	return b.Conditions[len(b.Conditions)-1]
}

// Lost counts by reason. It also records a loss of 0, so that a test sees it.
func (b *Bus) Lost(n int, reason string) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	b.Losses[reason] += n
}

// Hold opens a thing for the first caller that asks for it, and closes it when the last has
// released it; see Keep.
func (b *Bus) Hold(key string, open func() (io.Closer, error)) (io.Closer, func(), error) {
	b.holding.Lock()
	defer b.holding.Unlock()
	if b.held[key] == nil {
		c, err := open()
		if err != nil {
			return nil, nil, err
		}
		b.held[key] = c
	}
	b.users[key]++
	return b.held[key], sync.OnceFunc(func() {
		b.holding.Lock()
		defer b.holding.Unlock()
		b.users[key]--
		b.letGo()
	}), nil
}

// Keep sets whether unused things stay open, as while a source is replaced. With false they are
// closed, as when the file is deleted.
func (b *Bus) Keep(is bool) {
	b.holding.Lock()
	defer b.holding.Unlock()
	b.keeping = is
	b.letGo()
}

// letGo closes things that are neither used nor kept. Their Close may call Lost, so Mu must be
// free.
func (b *Bus) letGo() {
	for key, c := range b.held {
		if b.users[key] == 0 && !b.keeping {
			c.Close()
			delete(b.held, key)
		}
	}
}

// Held returns the keys of the open things.
func (b *Bus) Held() []string {
	b.holding.Lock()
	defer b.holding.Unlock()
	return slices.Sorted(maps.Keys(b.held))
}

// Post accepts an event, unless ctx has ended, and gives each its result in the order of the
// events. It is the function for a source's Stream.
func (b *Bus) Post(ctx context.Context, _ time.Time, fields map[string]any, done func(error)) error {
	b.Mu.Lock()
	gate := b.Gate
	b.Mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.posting.Lock()
	defer b.posting.Unlock()
	b.Events <- fields
	if done == nil {
		return nil
	}
	before, after := b.told, make(chan struct{})
	b.told = after
	go func() {
		defer close(after)
		if before != nil {
			<-before
		}
		if b.Fates == nil {
			done(nil)
		} else {
			done(<-b.Fates)
		}
	}()
	return nil
}

// Next returns the next event, and fails the test when none arrives soon.
func (b *Bus) Next(t *testing.T) map[string]any {
	t.Helper()
	select {
	case e := <-b.Events:
		return e
	case <-time.After(Patience):
		b.Mu.Lock()
		defer b.Mu.Unlock()
		t.Fatalf("no event within %s (lost %v, degraded %q)", Patience, b.Losses, b.Conditions)
		return nil
	}
}

// None fails the test when there is an unexpected event.
func (b *Bus) None(t *testing.T) {
	t.Helper()
	select {
	case e := <-b.Events:
		t.Errorf("there is an event: %v", e)
	default:
	}
}

// Eventually waits until what returns true. It calls what with Mu held.
func (b *Bus) Eventually(t *testing.T, name string, what func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(time.Millisecond) {
		b.Mu.Lock()
		ok := what()
		said := fmt.Sprintf("lost %v, degraded %q", b.Losses, b.Conditions)
		b.Mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s (%s)", Patience, name, said)
		}
	}
}

// Start opens a source and calls run, which runs it until its ctx ends. stop ends the source, waits
// until run has returned, which must be without an error, and closes it. The test's end stops it as
// well, and closes what is kept.
func (b *Bus) Start(t *testing.T, s interface {
	Open(ctx context.Context) error
	Close() error
}, run func(ctx context.Context) error) (stop func()) {
	t.Helper()
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the source ended with %v", err)
			}
		case <-time.After(Patience):
			t.Errorf("the source did not end within %s", Patience)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		b.Keep(false)
	})
	return stop
}

// NoMoreGoroutines waits until there are no more goroutines than before.
func NoMoreGoroutines(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(Patience); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
