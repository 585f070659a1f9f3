package fleet

// This file keeps what an entry needs of the journal, and stores how far it is.

import (
	"context"
	"maps"
	"sync"
	"time"
)

const (
	keepEvery  = time.Second
	storeEvery = 10 * time.Second
)

// keep moves the pin and stores the positions until the context ends.
func (e *Entry) keep(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	var stored map[string]*progress
	at := time.Now()
	for {
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			e.storeProgress(ctx, &stored)
			cancel()
			return
		case <-tick.C:
		}
		if time.Since(at) >= storeEvery {
			at = time.Now()
			e.storeProgress(ctx, &stored)
		}
		e.movePin(stored)
		e.announce()
	}
}

// holdJournal keeps all that the journal has, as far as keep_size allows: where the hub stands is not known yet.
func (e *Entry) holdJournal() {
	if len(e.o.Share) > 0 || e.hasLayouts() {
		e.bus.Pin(PinName(e.o.Fleet, e.o.Index), max(1, e.bus.SeqBefore(0, e.o.KeepSize)))
	}
}

// movePin lets the journal remove what every share has on the hub since the time of keep. What is stored
// counts: after a crash the entry continues from there.
func (e *Entry) movePin(stored map[string]*progress) {
	if len(stored) == 0 {
		e.holdJournal()
		return
	}
	from := e.bus.SeqBefore(e.o.Keep, 0)
	for _, p := range stored {
		if !p.Ended {
			from = min(from, p.Done+1)
		}
	}
	e.bus.Pin(PinName(e.o.Fleet, e.o.Index), max(from, e.bus.SeqBefore(0, e.o.KeepSize), 1))
}

// storeProgress stores how far the shares are, if that changed.
func (e *Entry) storeProgress(ctx context.Context, stored *map[string]*progress) {
	now := e.allProgress()
	if len(now) == 0 || maps.EqualFunc(now, *stored, (*progress).like) {
		return
	}
	if err := e.store(ctx, e.topic("export"), now); err != nil {
		e.log.Warn("storing how far events were sent failed, will retry", "err", err)
		return
	}
	*stored = now
}

// like reports whether it is not worth a record to store p over o. That record alone moves Done.
func (p *progress) like(o *progress) bool {
	return p.place == o.place && p.Done < o.Done+worthStoring && p.Ended == o.Ended && maps.Equal(p.Lanes, o.Lanes)
}

func (e *Entry) allProgress() map[string]*progress {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := make(map[string]*progress, len(e.shares))
	for name, p := range e.shares {
		c[name] = p.clone()
	}
	return c
}

func (e *Entry) setProgress(share string, p *progress) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shares[share] = p
}

// worthStoring is how many records of the journal that are not shared are worth a record of their own, after
// which the journal may remove them.
const worthStoring = 10_000

// keepOnly forgets the shares of layouts that are no more.
func (e *Entry) keepOnly(all layouts) {
	names := map[string]bool{}
	for _, l := range all {
		for i := range l.Share {
			names[l.name(i)] = true
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.shares, func(name string, _ *progress) bool { return !names[name] })
}

func (e *Entry) updateProgress(share string, f func(*progress)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e.shares[share])
}

// limiter bounds the bytes a second that are sent.
type limiter struct {
	rate int64
	mu   sync.Mutex
	free time.Time // when what was sent before has passed
}

func newLimiter(rate int64) *limiter { return &limiter{rate: rate} }

// group is the largest group, in bytes, so that an event of another lane waits a quarter of a second at most.
func (l *limiter) group() int {
	if l.rate == 0 {
		return groupBytes
	}
	return int(min(max(l.rate/4, 2<<10), groupBytes))
}

// wait returns when n more bytes may be sent.
func (l *limiter) wait(ctx context.Context, n int) error {
	if l.rate == 0 {
		return nil
	}
	l.mu.Lock()
	now := time.Now()
	at := now
	if l.free.After(now) {
		at = l.free
	}
	l.free = at.Add(time.Duration(float64(n) / float64(l.rate) * float64(time.Second)))
	l.mu.Unlock()
	select {
	case <-time.After(at.Sub(now)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
