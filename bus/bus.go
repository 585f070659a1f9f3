package bus

// This file opens and closes the bus, accepts events and dispatches them.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus/internal/fair"
	"github.com/postbus/postbus/bus/internal/sched"
	"github.com/postbus/postbus/bus/journal"
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("the bus is closed")

// ErrForeignSession is returned for a session that belongs to another user.
var ErrForeignSession = errors.New("the session belongs to another user")

// Options of a bus. Dir or FS is required; everything else may be zero.
type Options struct {
	Dir    string       // data directory, created when missing
	FS     journal.FS   // instead of Dir
	Logger *slog.Logger // discards when nil
	// Durability is 0 for a sync before every acknowledgement; otherwise syncs come at this
	// interval and a power cut may lose events that were acknowledged within it.
	Durability  time.Duration
	Limits            // can change while the bus runs
	SegmentSize int64 // of the journal; 32 MiB when 0
	CacheSize   int   // bytes of newest events kept in memory; 4 MiB when 0
	// MayPublishWill is asked when a last will is due: the rules may have changed since its client
	// connected. client is the session's name. A will that may not be published counts as lost. nil
	// allows all. It is called with a session locked, and must not call the bus.
	MayPublishWill func(user, client string, w *Will) bool
	// Pins are the names of pins that exist when the bus is opened. Each holds the whole journal until
	// Pin is called for it: see Pin.
	Pins []string

	schedule *sched.Schedule // of a simulation; nil in a program
}

func (o *Options) defaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = 32 << 20
	}
}

// Bus is an open bus. All methods may be called from any goroutine.
type Bus struct {
	o       Options
	logger  *slog.Logger
	journal *journal.Log

	// visible is the last record that dispatch has folded, completed the last that it has offered
	// to all live cursors. Only dispatch writes them.
	visible   atomic.Uint64
	completed atomic.Uint64

	index    index
	retained retainedSet
	void     voidSet // conditional events that the fold refused
	lanes    laneSet // of other buses
	limits   atomic.Pointer[Limits]
	stamping atomic.Bool // see StampRetained
	tie      uint64      // that of stamps that this bus gives
	highest  int64       // the highest stamp of a folded record; dispatch's

	mu       sched.RWMutex // never held while a cursor's mu is taken
	sessions map[string]*Session
	groups   map[string]*group
	waiters  []waiter
	pins     map[string]uint64
	awaited  atomic.Uint64 // the lowest sequence that a waiter waits for

	reportMu sched.Mutex
	reports  map[report]uint64
	lostAll  map[string]uint64
	refusals map[string]uint64 // by the limit's key

	willSize         atomic.Int64 // see setWillLocked
	subscriptionSize atomic.Int64 // see subscriptionCost; sessions add and take away with their mu held

	published, dropped atomic.Uint64
	snapshotAt         uint64            // bytes written to the journal when the last snapshot was made
	floor              uint64            // the last snapshot needs the journal from this sequence on
	persisted          map[string]uint64 // durable positions; dispatch's and keep's, under mu
	snapshotting       atomic.Bool
	snapshotDue        atomic.Bool // the next record that dispatch folds begins one
	restored           uint64      // of the journal, as housekeeping saw it last
	snapshotSize       atomic.Uint64
	cursorsAt          journal.Commit // of the last record of positions; housekeeping's

	before       time.Time                    // see Before
	sessionEnded atomic.Pointer[func(string)] // see OnSessionEnd

	turns  fair.Turns // of pumps that read the past
	locals sched.Mutex
	local  map[string]*Subscription

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

type waiter struct {
	seq  uint64
	done chan struct{}
}

const nobodyWaits = math.MaxUint64

// Open opens the data directory, replays the records behind the last snapshot, and starts the bus.
// The context bounds the opening only.
func Open(ctx context.Context, o Options) (*Bus, error) {
	o.defaults()
	fsys := o.FS
	if fsys == nil {
		var err error
		if fsys, err = journal.DirFS(o.Dir); err != nil {
			return nil, err
		}
	}
	j, err := journal.Open(ctx, fsys, journal.Options{Logger: o.Logger, Interval: o.Durability,
		SegmentSize: o.SegmentSize, CacheSize: o.CacheSize, MinFree: o.MinFree,
		SegmentAge: max(o.RetentionAge/8, 10*time.Minute), Schedule: o.schedule})
	if err != nil {
		return nil, err
	}
	b := &Bus{o: o, logger: o.Logger, journal: j, sessions: map[string]*Session{}, groups: map[string]*group{},
		reports: map[report]uint64{}, lostAll: map[string]uint64{}, refusals: map[string]uint64{}, persisted: map[string]uint64{},
		turns: newTurns(o.schedule != nil)}
	b.awaited.Store(nobodyWaits)
	b.mu.Use(o.schedule, "bus")
	b.reportMu.Use(o.schedule, "reports")
	b.locals.Use(o.schedule, "locals")
	b.index.mu.Use(o.schedule, "index")
	b.retained.mu.Use(o.schedule, "retained")
	b.lanes.mu.Use(o.schedule, "lanes")
	b.SetLimits(o.Limits)
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.tie = tieOf(j.Epoch())
	next, err := b.replay(ctx)
	if err != nil {
		b.retained.close()
		return nil, errors.Join(err, j.Close())
	}
	j.RaiseStamp(b.highest)
	b.pinAll(o.Pins) // after the replay, which knows what the journal needs to hold without them
	b.before = b.timeOfLast()
	b.tasks.Add(2)
	go b.dispatch(next)
	go b.housekeep()
	return b, nil
}

func (b *Bus) stopping() bool { return b.ctx.Err() != nil }

// Close writes pending records and a snapshot, and releases the directory. Attached sessions get no
// further events.
func (b *Bus) Close() error {
	if b.stopping() {
		return nil
	}
	b.cancel()
	b.tasks.Wait()
	b.storeCursors()
	b.snapshot()
	b.retained.close()
	return b.journal.Close()
}

// Epoch identifies the journal: sequences of different epochs are not comparable.
func (b *Bus) Epoch() [16]byte { return b.journal.Epoch() }

// Unavailable is the error of a publish while the disk refuses writes.
type Unavailable = journal.Unavailable

// Holes lists where records of the journal are missing, oldest first.
func (b *Bus) Holes() []journal.Hole { return b.journal.Holes() }

// Last returns the sequence of the newest event that was offered to sessions; 0 if there is none.
func (b *Bus) Last() uint64 { return b.visible.Load() }

// Ready returns nil when events are accepted, otherwise the reason why not.
func (b *Bus) Ready() error {
	if b.stopping() {
		return ErrClosed
	}
	return b.journal.Err()
}

// Publish accepts an event. With QoS 1 or 2, or when it is retained, nil means that it is durable
// and its sequence is returned. With QoS 0 it goes to connected consumers, and the sequence is 0.
// Errors: *Unavailable when the disk refuses writes (try again later), ErrClosed, or what is
// invalid in the event.
func (b *Bus) Publish(ctx context.Context, e Event) (uint64, error) {
	p, err := b.Send(e)
	if err != nil {
		return 0, err
	}
	select {
	case <-p.Done():
		if err := p.Err(); err != nil {
			return 0, err
		}
		return p.Seq(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("publish to %s: not on disk yet: %w", e.Topic, ctx.Err())
	}
}

// Pending is an event that is being written: Done is closed when it is durable or was refused, Err
// distinguishes the two, and Seq is then its sequence; 0 for QoS 0. For an event of QoS 0 with a kept
// value it is the record of that value.
type Pending = journal.Commit

// Send is Publish without the wait, for programs that have more to publish. Events of one goroutine
// get their sequences in the order of the calls. The payload may be reused when Send returns.
//
// An event of QoS 0 that is not retained has no record that could hold its kept value. The value is
// written first, in a record of its own, and the event is routed without waiting for the disk.
func (b *Bus) Send(e Event) (Pending, error) {
	if err := e.check(b.limits.Load().MaxPayload); err != nil {
		return Pending{}, err
	}
	if b.stopping() {
		return Pending{}, ErrClosed
	}
	if e.QoS == 0 && !e.Retain {
		if e.Kept.Topic != "" || len(e.Kept.Value) > 0 {
			return b.sendKept(&e)
		}
		return Pending{}, b.PublishNow(e.Record())
	}
	r := records.Get().(*journal.Record) // the journal copies it
	p, err := b.Append(e.record(r))
	r.Props, r.Payload, r.Kept = nil, nil, nil
	records.Put(r)
	return p, err
}

var records = sync.Pool{New: func() any { return new(journal.Record) }}

// Append accepts an event of QoS 1 or 2, or a retained one. It may be acknowledged when the commit is
// done without an error; a kept value is then durable, too. The record's slices are copied. The error
// may be a *LimitError.
func (b *Bus) Append(r *journal.Record) (journal.Commit, error) {
	if err := b.admit(r); err != nil {
		return journal.Commit{}, err
	}
	if err := checkKept(r); err != nil {
		return journal.Commit{}, err
	}
	b.stamp(r)
	c, err := b.journal.Append(r)
	if err == nil {
		b.published.Add(1)
	}
	return c, err
}

// Offered returns when an event has been offered to its consumers or refused by the disk. It returns
// before that when stop or the bus is closed. The zero Commit needs no wait.
func (b *Bus) Offered(commit journal.Commit, stop <-chan struct{}) {
	select {
	case <-commit.Done():
	case <-stop:
		return
	}
	if commit.Err() != nil {
		return
	}
	done, ok := b.passes(commit.Seq())
	if ok {
		return
	}
	select {
	case <-done:
	case <-stop:
	case <-b.ctx.Done():
	}
}

// PublishNow routes an event of QoS 0 to connected consumers. It writes nothing, so that the event
// must have no kept value: see Send. The error is a *LimitError, or says so.
func (b *Bus) PublishNow(r *journal.Record) error {
	if len(r.KeptTopic) > 0 {
		return fmt.Errorf("publish to %s: an event that is not written can't have a kept value", r.Topic)
	}
	if err := b.admit(r); err != nil {
		return err
	}
	b.published.Add(1)
	b.route(r)
	return nil
}

// route hands an event that is not in the journal to connected consumers.
func (b *Bus) route(r *journal.Record) {
	if r.Time == 0 {
		r.Time = time.Now().UnixNano()
	}
	found := foundPool.Get().(*[]*subscription)
	subs := b.index.match(r.Topic, (*found)[:0])
	for i, s := range subs {
		if s == nil {
			continue
		}
		var m match
		for j := i; j < len(subs); j++ {
			if o := subs[j]; o != nil && o.cursor == s.cursor {
				if !(o.NoLocal && o.session.name == string(r.Source)) {
					m.add(o)
				}
				if j > i {
					subs[j] = nil
				}
			}
			if s.cursor.single.Load() {
				break
			}
		}
		if m.found {
			s.cursor.deliverNow(&Delivery{Event: r, Retain: m.asPub && r.Flags&flagRetain != 0, SubIDs: m.subIDs, Meta: m.meta})
		}
	}
	clear(subs)
	*found = subs
	foundPool.Put(found)
}

var foundPool = sync.Pool{New: func() any { return new([]*subscription) }}

// Announce sets a retained value that is not in the journal: state of the bus itself under $bus/
// and $SYS/, which is published again after each start.
func (b *Bus) Announce(topic string, payload []byte) {
	r := &journal.Record{Kind: journal.KindEvent, Flags: flagRetain, Expiry: journal.NoExpiry, Time: time.Now().UnixNano(),
		Source: []byte(ownSource), Topic: []byte(topic), Payload: payload, Seq: b.visible.Load()}
	b.retained.announce(r)
	b.route(r) // it does not count as published
}

// dispatch folds the journal's records in their order and offers events to live cursors.
func (b *Bus) dispatch(next uint64) {
	defer b.tasks.Done()
	b.step("dispatch starts")
	reader := b.journal.Reader(next)
	defer reader.Release()
	var (
		r    journal.Record
		subs []*subscription
		hit  []*cursor
	)
	for {
		ok, err := reader.Next(&r)
		if err != nil {
			b.logger.Error("reading the journal failed, will retry", "err", err)
			select {
			case <-time.After(time.Second):
				continue
			case <-b.ctx.Done():
				return
			}
		}
		if !ok {
			if at := reader.Position() - 1; at > b.completed.Load() { // damaged records are skipped
				b.visible.Store(at)
				b.completed.Store(at)
			}
			b.wake()
			if err := b.journal.Wait(b.ctx, reader.Position()-1); err != nil {
				return
			}
			continue
		}
		b.step("dispatch folds")
		event, err := b.apply(&r, false)
		if err != nil {
			b.logger.Error("journal record skipped", "err", err)
		}
		b.step("dispatch has folded")
		b.visible.Store(r.Seq)
		b.step("dispatch makes visible")
		if event {
			subs = b.index.match(r.Topic, subs[:0])
			hit = hit[:0]
			for _, s := range subs {
				if !s.wants(&r) {
					continue
				}
				c := s.cursor
				if c.stamp != r.Seq {
					c.stamp = r.Seq
					c.merged = match{subIDs: c.merged.subIDs[:0]}
					hit = append(hit, c)
				}
				c.merged.add(s)
			}
			for _, c := range hit {
				c.offer(&r, &c.merged)
			}
		}
		b.step("dispatch has offered")
		b.completed.Store(r.Seq)
		b.step("dispatch has completed")
		if r.Seq%64 == 0 || b.snapshotDue.Load() {
			b.maybeSnapshot()
		}
		if r.Seq >= b.awaited.Load() {
			b.wake()
		}
	}
}

// step marks a point at which a simulation may stop the goroutine.
func (b *Bus) step(point string) { b.o.schedule.Point(point) }

// stepOf marks a step of a session. If one event wakes goroutines of several sessions, they stop at
// different points, so that a seed repeats their order.
func (b *Bus) stepOf(name, point string) {
	if b.o.schedule != nil {
		b.o.schedule.Point(name + " " + point)
	}
}

// wake wakes the callers that wait for records that are now folded.
func (b *Bus) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	done := b.completed.Load()
	kept, next := b.waiters[:0], uint64(nobodyWaits)
	for _, w := range b.waiters {
		if w.seq <= done {
			close(w.done)
		} else {
			kept = append(kept, w)
			next = min(next, w.seq)
		}
	}
	clear(b.waiters[len(kept):])
	b.waiters = kept
	b.awaited.Store(next)
}

// stateRecord is a record of the bus's own state, about a session.
func stateRecord(kind journal.Kind, name string, v any) (*journal.Record, error) {
	p, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("session %q: %w", name, err)
	}
	return &journal.Record{Kind: kind, Source: []byte(name), Payload: p}, nil
}

// change appends a record and returns when it is durable and folded.
func (b *Bus) change(ctx context.Context, kind journal.Kind, name string, v any) error {
	r, err := stateRecord(kind, name, v)
	if err != nil {
		return err
	}
	commit, err := b.journal.Append(r)
	if err != nil {
		return err
	}
	return b.await(ctx, name, commit)
}

// await returns when a record is durable and folded.
func (b *Bus) await(ctx context.Context, name string, commit journal.Commit) error {
	select {
	case <-commit.Done():
		b.stepOf(name, "commits a change")
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := commit.Err(); err != nil {
		return err
	}
	return b.folded(ctx, name, commit.Seq())
}

// folded returns when dispatch has passed a sequence that is durable.
func (b *Bus) folded(ctx context.Context, name string, seq uint64) error {
	done, passed := b.passes(seq)
	if passed {
		return nil
	}
	select {
	case <-done:
		b.stepOf(name, "sees a change folded")
		return nil
	case <-b.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// passes returns a channel that is closed when dispatch has passed a sequence, unless it has.
func (b *Bus) passes(seq uint64) (done chan struct{}, passed bool) {
	if b.completed.Load() >= seq {
		return nil, true
	}
	done = make(chan struct{})
	b.mu.Lock()
	b.waiters = append(b.waiters, waiter{seq, done})
	b.awaited.Store(min(b.awaited.Load(), seq))
	b.mu.Unlock()
	if b.completed.Load() >= seq { // dispatch may have looked before the waiter was registered
		b.wake()
	}
	return done, false
}

func (b *Bus) session(name string) *Session {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.sessions[name]
}
