// Package kindtest is what a kind's tests need of the bus: one that takes a source's events and says what becomes of them,
// holds what outlives a reload, and notes what it is told; and the other end of a connection or a serial port. Only tests
// import it, those of the kinds under plugins as well.
//
// [Bus] has the methods of plugins.Env that most kinds ask for. A test of a kind that asks for more (Log, Handle) embeds it
// and adds them. It has no topics, no mapping and no disk. What it is told it keeps where a test can look.
//
// It imports nothing of this module: a kind can be tested alone.
package kindtest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// Patience is how long a test waits for what comes at once on a machine that isn't busy: a guard against a hang, which judges
// no speed.
const Patience = time.Minute

// Bus is the little of a bus that a source needs. It is made by NewBus.
type Bus struct {
	Events chan map[string]any // what was posted, a hundred thousand at most
	Fates  chan error          // set before a source runs: what becomes of an event is what comes here; nil: it is durable at once

	Mu         sync.Mutex     // over what follows
	Gate       chan struct{}  // when not nil, Post waits for it
	Losses     map[string]int // what Lost counted, by its reason
	Conditions []string       // what Degraded was given, in order; "<nil>": all is well again

	posting sync.Mutex    // over told
	told    chan struct{} // closed when it is said what became of the last event; nil: there was none

	holding sync.Mutex // over what follows
	held    map[string]io.Closer
	users   map[string]int
	keeping bool
}

// NewBus makes a bus.
func NewBus() *Bus {
	return &Bus{Events: make(chan map[string]any, 100000), Losses: map[string]int{}, held: map[string]io.Closer{}, users: map[string]int{}}
}

// Degraded notes what is wrong.
func (b *Bus) Degraded(err error) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	b.Conditions = append(b.Conditions, fmt.Sprint(err))
}

// Last is the last of Conditions, or "nothing". Mu is held.
func (b *Bus) Last() string {
	if len(b.Conditions) == 0 {
		return "nothing"
	}
	return b.Conditions[len(b.Conditions)-1]
}

// Lost counts by reason. A loss of none is noted as well, so that a test sees it.
func (b *Bus) Lost(n int, reason string) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	b.Losses[reason] += n
}

// Hold opens a thing for the first who asks for it, and closes it when the last has released it; see Keep.
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

// Keep says whether what nobody uses stays open: as while a source is replaced. With false it is closed, as when the file
// is gone.
func (b *Bus) Keep(is bool) {
	b.holding.Lock()
	defer b.holding.Unlock()
	b.keeping = is
	b.letGo()
}

// letGo closes what is neither used nor kept. Its Close may call Lost: Mu is free.
func (b *Bus) letGo() {
	for key, c := range b.held {
		if b.users[key] == 0 && !b.keeping {
			c.Close()
			delete(b.held, key)
		}
	}
}

// Held is the keys of what is open.
func (b *Bus) Held() []string {
	b.holding.Lock()
	defer b.holding.Unlock()
	return slices.Sorted(maps.Keys(b.held))
}

// Post takes an event, unless ctx has ended, and says what becomes of it in the order of the events. A source's Stream is
// given it.
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

// Next is the next event, which must come soon.
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

// None fails the test when there is an event that nobody expects.
func (b *Bus) None(t *testing.T) {
	t.Helper()
	select {
	case e := <-b.Events:
		t.Errorf("there is an event: %v", e)
	default:
	}
}

// Eventually waits until what is so, which is asked with Mu held.
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

// Start opens a source and calls run, which runs it until its ctx ends: stop ends it, waits until run has returned, which must
// be without an error, and closes it. The test's end stops it as well, and lets go of what is
// kept.
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
