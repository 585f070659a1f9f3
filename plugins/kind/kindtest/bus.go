// Package kindtest is what the test of a kind needs of the program: [Bus], a fake of kind.Env for
// sources and actions, and the other end of a connection or a serial port. Only tests import it.
//
// A Bus accepts a source's events and settles them as the test says, offers events to Consume,
// mounts handlers, holds what outlives a reload, and records what is published, logged and
// reported. It has no mapping and no disk.
//
// Of this module it imports only the contract: a kind can be tested alone.
package kindtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// Patience is how long a test waits for what happens at once on an idle machine. It guards against
// a hang, and judges no speed.
const Patience = time.Minute

// Bus is a fake of the program for one source or action. NewBus makes it.
type Bus struct {
	// Set these before a source runs.
	Folder       string              // what Dir returns; empty: the folder of the package that is tested
	DataFolder   string              // what Data returns
	Events       chan map[string]any // the posted events, a hundred thousand at most
	Fates        chan error          // each posted event gets its result from here; nil: it is durable at once
	HandleError  error               // what Handle returns
	PublishError error               // what Publish returns after it has recorded the event
	Consuming    Consuming           // how Consume works

	Mu         sync.Mutex     // protects the fields below
	Gate       chan struct{}  // when not nil, Post waits for it
	Losses     map[string]int // the counts of Lost, by reason
	Conditions []string       // the arguments of Degraded, in order; "<nil>": no error any more
	Published  []Publication  // the arguments of Publish, in order
	Offered    []*Offered     // the events of Offer, in order
	Cursor     string         // the name that the last Consume passed
	Filters    []string       // the filters that the last Consume passed

	nextCondition int                        // of NextDegraded
	offer         chan struct{}              // closed, and replaced, by Offer
	mounted       map[string]*mountedHandler // by path

	log recorder

	posting sync.Mutex    // protects settled
	settled chan struct{} // closed when the last event has its result; nil: there was no event

	holding sync.Mutex // protects the fields below
	held    map[string]io.Closer
	users   map[string]int
	keeping bool
}

// Publication is what Publish recorded.
type Publication struct {
	Topic   string
	Payload string
	QoS     int
	Retain  bool
}

var _ kind.Env = (*Bus)(nil)

// NewBus makes a bus.
func NewBus() *Bus {
	return &Bus{Events: make(chan map[string]any, 100000), Losses: map[string]int{}, held: map[string]io.Closer{}, users: map[string]int{},
		offer: make(chan struct{}), mounted: map[string]*mountedHandler{}, Consuming: Consuming{Grace: 10 * Patience}}
}

// ID is "test".
func (b *Bus) ID() string { return "test" }

// Source is "plugin:test".
func (b *Bus) Source() string { return "plugin:test" }

// Origin is "here".
func (b *Bus) Origin() string { return "here" }

// Dir is Folder.
func (b *Bus) Dir() string {
	if b.Folder != "" {
		return b.Folder
	}
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}

// Data is DataFolder.
func (b *Bus) Data() string { return b.DataFolder }

// Publish records an event.
func (b *Bus) Publish(_ context.Context, topic string, payload []byte, qos int, retain bool) error {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	b.Published = append(b.Published, Publication{topic, string(payload), qos, retain})
	return b.PublishError
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

// NextDegraded waits for the next argument of Degraded that it has not returned yet, and returns
// its text; "<nil>" is no error any more.
func (b *Bus) NextDegraded(t testing.TB) (text string) {
	t.Helper()
	b.Eventually(t, "a call of Degraded", func() bool {
		if b.nextCondition == len(b.Conditions) {
			return false
		}
		text = b.Conditions[b.nextCondition]
		b.nextCondition++
		return true
	})
	return text
}

// MayRun implements kind.Env: everything is approved.
func (b *Bus) MayRun() error { return nil }

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
		b.closeUnused()
	}), nil
}

// Keep sets whether unused things stay open, as while a source is replaced. With false they are
// closed, as when the file is deleted.
func (b *Bus) Keep(is bool) {
	b.holding.Lock()
	defer b.holding.Unlock()
	b.keeping = is
	b.closeUnused()
}

// closeUnused closes things that are neither used nor kept. Their Close may call Lost, so Mu must be
// free.
func (b *Bus) closeUnused() {
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
	before, after := b.settled, make(chan struct{})
	b.settled = after
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

// Emit is Post that waits for the event's result. It is the function for a source's Run.
func (b *Bus) Emit(ctx context.Context, at time.Time, fields map[string]any) error {
	result := make(chan error, 1)
	if err := b.Post(ctx, at, fields, func(err error) { result <- err }); err != nil {
		return err
	}
	return <-result
}

// Next returns the next event, and fails the test when none arrives soon.
func (b *Bus) Next(t testing.TB) map[string]any {
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
func (b *Bus) None(t testing.TB) {
	t.Helper()
	select {
	case e := <-b.Events:
		t.Errorf("there is an event: %v", e)
	default:
	}
}

// Eventually waits until what returns true. It calls what with Mu held.
func (b *Bus) Eventually(t testing.TB, name string, what func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(time.Millisecond) {
		b.Mu.Lock()
		ok := what()
		reports := fmt.Sprintf("lost %v, degraded %q", b.Losses, b.Conditions)
		b.Mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s (%s)", Patience, name, reports)
		}
	}
}

// Start opens a source, if it can be opened, and runs it by calling run, or with a nil run, by
// calling its Run with Emit or its Stream with Post. stop ends the source, waits until it has
// returned without an error but ctx's, and closes it. The test's end stops it as well, and closes
// what is kept.
func (b *Bus) Start(t testing.TB, s any, run func(ctx context.Context) error) (stop func()) {
	t.Helper()
	if run == nil {
		switch s := s.(type) {
		case kind.Source:
			run = func(ctx context.Context) error { return s.Run(ctx, b.Emit) }
		case kind.Stream:
			run = func(ctx context.Context) error { return s.Stream(ctx, b.Post) }
		default:
			t.Fatalf("%T is no source", s)
		}
	}
	if o, ok := s.(kind.Opener); ok {
		if err := o.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("the source ended with %v", err)
			}
		case <-time.After(Patience):
			t.Errorf("the source did not end within %s", Patience)
		}
		if c, ok := s.(io.Closer); ok {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(func() {
		stop()
		b.Keep(false)
	})
	return stop
}
