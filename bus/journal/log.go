package journal

// This file is the Log: its options, its state, Append and the commits it hands out.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus/internal/sched"
)

// formatVersion is the format that is written. Format 1 is read; it has neither causes, stamps nor
// positions, and keeps its files beside meta.json.
const formatVersion = 2

// Options of a log. The zero value works.
type Options struct {
	Logger *slog.Logger // discards when nil
	// Interval is 0 for one fdatasync a group before it commits. Otherwise a group commits when it
	// is written, and a sync follows at most every Interval: a power cut may lose that much.
	Interval    time.Duration
	SegmentSize int64           // bytes; 32 MiB when 0
	SegmentAge  time.Duration   // a segment is sealed when its first record is older; 0: only by size
	CacheSize   int             // bytes of the newest records kept in memory; 4 MiB when 0
	MaxPending  int             // bytes that may wait for the disk before Append blocks; 4 MiB when 0
	MinFree     int64           // with less free bytes on the disk events are refused; 0: never
	Schedule    *sched.Schedule // of a simulation; nil in a program
}

func (o *Options) defaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = 32 << 20
	}
	if o.CacheSize == 0 {
		o.CacheSize = 4 << 20
	}
	if o.MaxPending == 0 {
		o.MaxPending = 4 << 20
	}
}

// ErrClosed is returned after Close.
var ErrClosed = errors.New("the journal is closed")

func low(free, limit int64) error {
	return &Unavailable{Full: true, Cause: fmt.Errorf("%d MiB free, at least %d MiB required", free>>20, limit>>20)}
}

// Unavailable is the error of an Append that the disk does not allow now. Nothing was lost: a
// record that was not acknowledged was not accepted.
type Unavailable struct {
	Full  bool // the disk is full; otherwise it fails, or its files are gone
	Cause error
}

func (e *Unavailable) Error() string {
	if e.Full {
		return fmt.Sprintf("disk full: %v", e.Cause)
	}
	if errors.Is(e.Cause, errTaken) {
		return e.Cause.Error()
	}
	if errors.Is(e.Cause, ErrMisplaced) {
		return fmt.Sprintf("the data is not in its place: %v; put it back, or restart postbus to continue with what is there", e.Cause)
	}
	return fmt.Sprintf("disk failed: %v", e.Cause)
}

func (e *Unavailable) Unwrap() error { return e.Cause }

// Commit is the pending result of one record. Err and Seq are valid once Done is closed. The zero
// Commit belongs to no record: it is done, without an error.
type Commit struct {
	outcome *outcome
	seq     uint64
}

// outcome is the result of all records of a group.
type outcome struct {
	done chan struct{}
	err  error
}

var nothing = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

// IsZero reports whether c is the zero Commit.
func (c Commit) IsZero() bool { return c.outcome == nil }

// SameGroup reports whether both are done at once, with one error.
func (c Commit) SameGroup(o Commit) bool { return c.outcome == o.outcome }

// Done is closed when the result is known.
func (c Commit) Done() <-chan struct{} {
	if c.outcome == nil {
		return nothing
	}
	return c.outcome.done
}

// Err is nil when the record is durable. Call it after Done.
func (c Commit) Err() error {
	if c.outcome == nil {
		return nil
	}
	return c.outcome.err
}

// Seq is the record's sequence when it is durable. Call it after Done, and when Err is nil.
func (c Commit) Seq() uint64 { return c.seq }

// group collects the records of the next write.
type group struct {
	buf    []byte // header and records
	count  int
	first  uint64
	last   uint64
	blocks []block // of its records in their order
	commit *outcome
	began  time.Time // when its first record was appended
}

// blockSize is how many records of a group make a block.
const blockSize = 64

// block is some records that follow each other in a group. A reader finds its position by the
// blocks, and passes over those that hold nothing for it.
type block struct {
	seq    uint64 // of its first record
	off    int
	topics topicSet // of its events; complete once the group is durable
}

// Stats are counters since Open.
type Stats struct {
	Appended, Bytes, Syncs, Groups uint64
	SyncTime, LastSync             time.Duration // total and last of write and sync
	Damaged                        uint64        // damaged records that were skipped
	Holes                          int           // in what is kept
	Missing                        uint64        // sequences in them
	Segments                       int
	DiskBytes                      int64
	First, Last                    uint64 // sequences kept
	Free                           int64  // bytes free at the last check
	SyncTimes                      Times  // of each group: its write and sync
	CommitTimes                    Times  // of each group: from its first record until it was durable
}

// TimeBounds are the upper bounds of Times, in the order of its counts; the last count has none.
var TimeBounds = [...]time.Duration{100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond, time.Millisecond,
	2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second}

// Times counts durations by TimeBounds.
type Times struct {
	Counts [len(TimeBounds) + 1]uint64
	Sum    time.Duration
}

func (t *Times) add(d time.Duration) {
	i := sort.Search(len(TimeBounds), func(i int) bool { return d <= TimeBounds[i] })
	t.Counts[i]++
	t.Sum += d
}

// Quantile is the bound under which the share q (0 to 1) of the durations is; 0 when there are
// none, and a result of five seconds means five or more.
func (t *Times) Quantile(q float64) time.Duration {
	var all, n uint64
	for _, c := range t.Counts {
		all += c
	}
	for i, c := range t.Counts {
		if n += c; n > 0 && float64(n) >= q*float64(all) {
			return TimeBounds[min(i, len(TimeBounds)-1)]
		}
	}
	return 0
}

// Log is an open journal. All methods may be called from any goroutine.
type Log struct {
	o     Options
	fs    FS
	lock  Lock
	log   *slog.Logger
	epoch [16]byte
	meta  meta // as last written

	mu       sched.Mutex
	space    *sync.Cond // pending went down, or err changed
	next     uint64     // sequence of the next Append
	pending  int        // bytes appended and not durable
	cur      *group     // collects
	spare    int        // capacity of the next group
	highest  int64      // the highest stamp of any record
	err      error      // why Append fails; nil when it accepts records
	low      bool       // free space is below MinFree: events are refused
	minFree  int64
	closed   bool
	progress chan struct{} // closed and replaced when durable rises
	stats    Stats

	durable        atomic.Uint64 // last committed sequence
	newestSnapshot atomic.Uint64 // its sequence
	restored       atomic.Uint64 // see Restored
	taken          atomic.Bool   // another process used the directory meanwhile: only a restart helps

	rd       sched.RWMutex // what readers need; Append never takes it
	segs     []*segment    // oldest first; the last is active
	tail     []*group      // newest groups, oldest first
	tailSize int

	active     File   // of the last segment; this and the next are the writer's
	tip        uint64 // the last sequence that is durable in a record, or in a hole
	unsynced   bool
	unused     []*segment // made since the active one, and not used because something failed then
	watch      bool       // files that are moved or removed are noticed
	removed    bool       // Retain removed a file, and the directory may not be synced; Retain's
	stop       chan struct{}
	kick       chan struct{}
	writerDone chan struct{}
}

// Epoch is the random id made with the data directory: a sequence means something only with it.
func (l *Log) Epoch() [16]byte { return l.epoch }

// Append adds r. Its Commit says later whether the record is durable, and with which sequence:
// sequences are in the order of the calls. It sets Time when it is 0, and Stamp when it is NextStamp. It blocks while MaxPending bytes wait for the disk. The
// record's slices are copied. Errors: *Unavailable, ErrClosed, or a field that is too long.
func (l *Log) Append(r *Record) (Commit, error) { return l.AppendAll(r) }

// AppendAll is Append for one or more records that follow each other, with no other between them.
// The Commit is that of the last.
func (l *Log) AppendAll(rs ...*Record) (Commit, error) {
	event := false // free space is kept from events alone; a last will was promised before
	for _, r := range rs {
		if err := r.check(); err != nil {
			return Commit{}, err
		}
		if r.Time == 0 {
			r.Time = time.Now().UnixNano()
		}
		event = event || r.Kind.Event() && r.Kind != KindConditional
	}
	l.mu.Lock()
	for l.pending > l.o.MaxPending && l.err == nil && !l.closed {
		l.space.Wait()
	}
	switch {
	case l.closed:
		l.mu.Unlock()
		return Commit{}, ErrClosed
	case l.err != nil:
		err := l.err
		l.mu.Unlock()
		return Commit{}, err
	case l.low && event:
		err := low(l.stats.Free, l.minFree)
		l.mu.Unlock()
		return Commit{}, err
	}
	g := l.cur
	wake := g.count == 0
	for _, r := range rs {
		if r.Stamp != 0 {
			l.stamp(r)
		}
		l.add(g, r)
	}
	c := Commit{g.commit, g.last}
	l.mu.Unlock()
	if wake {
		select {
		case l.kick <- struct{}{}:
		default:
		}
	}
	return c, nil
}

// stamp replaces NextStamp, and notes the highest stamp. Once another bus has used up all stamps, equal ones follow:
// the later record replaces the earlier one then, and no bus refuses it. The caller holds mu.
func (l *Log) stamp(r *Record) {
	if r.Stamp == NextStamp {
		r.Stamp = max(r.Time, min(l.highest+1, LatestStamp))
	}
	l.highest = max(l.highest, r.Stamp)
}

// RaiseStamp makes later stamps that Append gives higher than stamp.
func (l *Log) RaiseStamp(stamp int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.highest = max(l.highest, stamp)
}

// add gives r the next sequence and adds it to the group. The caller holds mu.
func (l *Log) add(g *group, r *Record) {
	seq := l.next
	l.next++
	if g.count == 0 {
		g.first, g.began = seq, time.Now()
		g.buf = append(make([]byte, 0, l.spare), make([]byte, groupHeader)...)
	}
	if g.count%blockSize == 0 {
		g.blocks = append(g.blocks, block{seq: seq, off: len(g.buf)})
	}
	before := len(g.buf)
	g.buf = appendRecord(g.buf, r, seq)
	l.pending += len(g.buf) - before
	g.count++
	g.last = seq
	l.stats.Appended++
}

// Durable is the last sequence that is committed; a reader sees nothing behind it.
func (l *Log) Durable() uint64 { return l.durable.Load() }

// Next is the sequence that the next Append gets.
func (l *Log) Next() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// First is the oldest sequence that is kept.
func (l *Log) First() uint64 {
	l.rd.RLock()
	defer l.rd.RUnlock()
	return l.segs[0].base
}

// Err is why events are not accepted now, nil when they are.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && l.low {
		return low(l.stats.Free, l.minFree)
	}
	return l.err
}

// Wait returns when a sequence behind after is durable, or the context ends, or the log is closed.
func (l *Log) Wait(ctx context.Context, after uint64) error {
	for {
		l.mu.Lock()
		progress, closed := l.progress, l.closed
		l.mu.Unlock()
		if l.durable.Load() > after {
			return nil
		}
		if closed {
			return ErrClosed
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.stop:
		}
	}
}

// SetMinFree changes the limit of free bytes below which events are refused; 0: none.
func (l *Log) SetMinFree(n int64) {
	l.mu.Lock()
	l.minFree = n
	l.mu.Unlock()
	l.lookAtSpace()
}

// Stats returns a copy of the counters.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	s := l.stats
	l.mu.Unlock()
	l.rd.RLock()
	defer l.rd.RUnlock()
	s.First, s.Last = l.segs[0].base, l.durable.Load()
	for _, seg := range l.segs {
		if seg.missing {
			s.Holes++
			s.Missing += seg.last - seg.base + 1
			continue
		}
		s.Segments++
		s.DiskBytes += seg.size
	}
	return s
}

func newGroup() *group { return &group{commit: &outcome{done: make(chan struct{})}} }

// Close writes the appended records, syncs, and releases the directory. Appends that wait fail.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.space.Broadcast()
	l.mu.Unlock()
	close(l.stop)
	<-l.writerDone
	var err error
	if l.active != nil {
		err = l.active.Close()
	}
	return errors.Join(err, l.lock.Close())
}
