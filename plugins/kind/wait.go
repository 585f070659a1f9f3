package kind

// This file is how a method of a source or an action returns soon after its ctx has ended, although
// it waits for a time or for a device.

import (
	"context"
	"sync"
	"time"
)

// Sleep waits for d. It returns ctx's error if ctx ends before that.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Interrupt calls wake, on another goroutine, when ctx ends: wake makes a blocked call return.
// Call stop once that call is over. If wake has been called, stop waits until it has returned, so
// that it cannot disturb what follows.
func Interrupt(ctx context.Context, wake func()) (stop func()) {
	woken := make(chan struct{})
	unregister := context.AfterFunc(ctx, func() {
		defer close(woken)
		wake()
	})
	return sync.OnceFunc(func() {
		if !unregister() {
			<-woken
		}
	})
}

// elapsed is a deadline that is over.
var elapsed = time.Unix(1, 0)

// ReadDeadliner is a connection or a file whose Read can be interrupted.
type ReadDeadliner interface{ SetReadDeadline(t time.Time) error }

// InterruptReads makes reads of c fail with os.ErrDeadlineExceeded as soon as ctx ends: a Read that
// is blocked and the later ones. Call stop when the reading is over; after that another deadline
// can be set. Whoever sets a deadline before that uses [ReadUntil].
func InterruptReads(ctx context.Context, c ReadDeadliner) (stop func()) {
	return Interrupt(ctx, func() { _ = c.SetReadDeadline(elapsed) }) // fails only when c is closed
}

// ReadUntil sets a deadline for reads of c, which [InterruptReads] may interrupt earlier; the zero
// time is none. It returns ctx's error if ctx has ended: its deadline may have been overwritten.
func ReadUntil(ctx context.Context, c ReadDeadliner, until time.Time) error {
	if err := c.SetReadDeadline(until); err != nil {
		return err
	}
	return ctx.Err()
}

// InterruptWrites is InterruptReads for writes.
func InterruptWrites(ctx context.Context, c interface{ SetWriteDeadline(t time.Time) error }) (stop func()) {
	return Interrupt(ctx, func() { _ = c.SetWriteDeadline(elapsed) }) // fails only when c is closed
}

// NextTick returns when the tick after the one of the time at is due. Ticks that are late already are left out.
func NextTick(at time.Time, every time.Duration) time.Time {
	next := at.Add(every)
	if late := time.Since(next); late > 0 {
		next = next.Add(late.Truncate(every) + every)
	}
	return next
}
