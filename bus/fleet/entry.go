package fleet

// This file is an Entry: one hub of one fleet, with its exporter and its importer.

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/fleet/stream"
	"github.com/postbus/postbus/bus/quiet"
	"github.com/postbus/postbus/bus/topic"
)

// Take is what a bus takes from the others.
type Take struct {
	Filter string
	From   string // the bus that it is taken from; empty: from all
}

// Options of an entry. Fleet and Bus are required.
type Options struct {
	Fleet    string // letters, digits, - and _
	Bus      string // this bus's name, letters, digits, - and _
	Index    int    // of the hub among those of this fleet, from 0
	Share    []Share
	Take     []Take
	Since    Since         // where a bus that is new to the hub begins
	Keep     time.Duration // how long events are kept after the hub has them, in case it forgets them; 24 h when 0
	KeepSize int64         // bytes of events that are kept for the hub; 1 GiB when 0
	Rate     int64         // bytes a second that are sent; 0: no limit
	Logger   *slog.Logger  // discards when nil
}

// Since is where a bus begins that is new to a hub.
type Since struct {
	All bool          // with the oldest event that the hub has
	Age time.Duration // with the events of that age; 0: with the next ones
}

func (o *Options) defaults() {
	if o.Keep == 0 {
		o.Keep = 24 * time.Hour
	}
	if o.KeepSize == 0 {
		o.KeepSize = 1 << 30
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Entry connects a bus to one hub. Its methods may be called from any goroutine.
type Entry struct {
	o       Options
	bus     *bus.Bus
	open    func(context.Context) (Hub, error)
	hub     Hub // Run's
	log     *slog.Logger
	quiet   quiet.Log
	process uint64 // random, names this process on the hub
	takes   []topic.Pattern

	startedAt time.Time // with startSeq, for ages: records up to it are older than the process
	startSeq  uint64

	hellos atomic.Uint64 // the sequence on the hub of the newest hello of another bus
	wake   chan struct{} // a hello came

	mu     sync.Mutex
	status Status
	shares map[string]*progress // by the name of the share, see layout.name
	others map[uint64]int       // messages of other processes that came between, see foreign

	announced map[string]announced // by topic; keep's

	toldLoss func(bus, lane string, after, to uint64) // a test's
}

// New returns an entry; Run starts it. Run calls open until it has a hub, which it closes at its end.
func New(b *bus.Bus, open func(context.Context) (Hub, error), o Options) *Entry {
	o.defaults()
	e := &Entry{o: o, bus: b, open: open, log: o.Logger.With("fleet", o.Fleet), wake: make(chan struct{}, 1),
		startedAt: time.Now(), startSeq: b.Last(), shares: map[string]*progress{}, others: map[uint64]int{}, announced: map[string]announced{}}
	var run [8]byte
	_, _ = rand.Read(run[:]) // it never fails
	e.process = binary.LittleEndian.Uint64(run[:])
	for _, t := range o.Take {
		e.takes = append(e.takes, topic.Compile(t.Filter))
	}
	e.status = Status{State: StateConnecting, Peers: map[string]*Peer{}}
	return e
}

// PinName is the name of the pin that an entry holds; see bus.Options.Pins.
func PinName(fleet string, index int) string { return fmt.Sprintf("fleet/%s/%d", fleet, index) }

// errNameTaken means that another bus with this name is connected.
var errNameTaken = errors.New("another bus has this name")

// Prepare makes the journal hold what the entry shares, from the next event on. Call it before clients can
// publish. Run does it otherwise.
func (e *Entry) Prepare(ctx context.Context) error {
	e.holdJournal()
	e.bus.StampRetained(true)
	_, err := e.layouts(ctx)
	return err
}

// Run exchanges events until the context ends. It never fails: what can't be done now is in Status, in the
// log, and tried again.
func (e *Entry) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	if err := e.Prepare(ctx); err != nil && ctx.Err() == nil {
		e.fail(err) // export tries again
	}
	tasks.Go(func() { e.keep(ctx) })
	defer func() {
		if e.hub != nil {
			e.hub.Close()
		}
	}()
	for wait := minWait; ; {
		online, err := e.connected(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, stream.ErrRestarted) { // it may have forgotten what exporter and importer rely on
			e.log.Info("the hub's stream may have changed; comparing it with the journal")
		} else {
			e.fail(err)
		}
		if online {
			wait = minWait
		}
		if errors.Is(err, errNameTaken) {
			wait = maxWait
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, maxWait)
	}
}

// errConnecting is why there is no connection when nothing failed yet.
var errConnecting = errors.New("the connection is being made")

// How long an entry waits before it tries again.
const (
	minWait = 250 * time.Millisecond
	maxWait = 15 * time.Second
)

// connected exchanges events until something fails. online: it had begun.
func (e *Entry) connected(ctx context.Context) (online bool, err error) {
	if e.hub == nil {
		if e.hub, err = e.open(ctx); err != nil {
			return false, err
		}
	}
	if ok, why := e.hub.Connected(); !ok {
		e.fail(cmp.Or(why, errConnecting))
	}
	if err := e.hub.WaitConnected(ctx); err != nil {
		return false, err
	}
	if err := e.claimName(ctx); err != nil {
		return false, err
	}
	stop, err := e.hub.Listen(PresenceSubject(e.o.Fleet, e.o.Bus), func(string, []byte) []byte { return e.identity() })
	if err != nil {
		return false, err
	}
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var tasks sync.WaitGroup
	start := func(f func(context.Context) error) {
		tasks.Go(func() {
			if err := f(ctx); err != nil {
				cancel(err)
			}
		})
	}
	e.setOnline()
	if e.hasLayouts() {
		start(e.export)
	}
	start(e.importAll)
	start(e.watchHub)
	<-ctx.Done()
	tasks.Wait()
	return true, context.Cause(ctx)
}

// watchHub fails when the connection is lost, which is not noticed otherwise while nothing is sent.
func (e *Entry) watchHub(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if ok, why := e.hub.Connected(); !ok {
				return cmp.Or(why, errConnecting)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// identity says which bus answers on a name.
func (e *Entry) identity() []byte {
	epoch := e.bus.Epoch()
	return binary.LittleEndian.AppendUint64(epoch[:], e.process)
}

// claimName fails if another bus that is connected has this one's name: of two buses the later one stops.
func (e *Entry) claimName(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	who, err := e.hub.Ask(ctx, PresenceSubject(e.o.Fleet, e.o.Bus), e.identity())
	if err == nil && string(who) != string(e.identity()) {
		return fmt.Errorf("%w: %q is connected to the hub; give this bus another name with the key bus", errNameTaken, e.o.Bus)
	}
	return nil // nobody answered
}

// topic is where a value of the entry is kept in the journal.
func (e *Entry) topic(name string) string {
	return fmt.Sprintf("%sfleet/%s/%d/%s", bus.KeptPrefix, e.o.Fleet, e.o.Index, name)
}

// store keeps a value in the journal; nil means that it is durable, and that load finds it.
func (e *Entry) store(ctx context.Context, topic string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	seq, err := e.bus.Publish(ctx, bus.Event{Topic: topic, Payload: b, QoS: 1, Retain: true, Source: "fleet"})
	if err != nil {
		return err
	}
	return e.bus.WaitFor(ctx, seq)
}

// load reads a kept value; false: there is none.
func (e *Entry) load(topic string, v any) (bool, error) {
	ev, ok := e.bus.RetainedValue(topic)
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal(ev.Payload, v); err != nil {
		return false, fmt.Errorf("the value at %s in the journal: %w", topic, err)
	}
	return true, nil
}

// foreign counts a message with this bus's name and epoch that another process wrote. One may be the last of
// this bus's previous process, which arrived late: more are of a copy of its data.
func (e *Entry) foreign(process uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.others) > 1000 {
		clear(e.others)
	}
	e.others[process]++
	return e.others[process] > 1
}
