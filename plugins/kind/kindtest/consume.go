package kindtest

// This file is the fake's Consume: a list of events, which all names share.

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// Results of an offered event before the source has called done.
var (
	ErrQueued  = errors.New("kindtest: the event is not delivered yet")
	ErrPending = errors.New("kindtest: the event is not done yet")
)

// Consuming is how Consume works.
type Consuming struct {
	// Err ends Consume when it has delivered all events, also those that a bus may still deliver
	// while ctx ends. With nil it waits for more until ctx ends.
	Err error
	// Grace is how long Consume waits for delivered events before it returns. NewBus sets a time
	// that a test does not live to see: a source that never calls done does not end.
	Grace time.Duration
	// Match decides which events are delivered. The others are acknowledged. nil: all are
	// delivered.
	Match func(filter, topic string) bool
}

// Offered is an event for Consume, with the fields that kind.Env.Consume lists.
type Offered struct {
	Event  map[string]any
	Result error // nil: acknowledged; ErrQueued, ErrPending, or the error that done got
}

// Offer adds an event for Consume. It sets seq, and redelivered when Consume delivers it.
func (b *Bus) Offer(event map[string]any) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	event = maps.Clone(event)
	event["seq"] = uint64(len(b.Offered) + 1)
	b.Offered = append(b.Offered, &Offered{event, ErrQueued})
	close(b.offer)
	b.offer = make(chan struct{})
}

// Acknowledged returns how many of the first events are acknowledged, up to one that is not. The
// caller holds Mu.
func (b *Bus) Acknowledged() int {
	if i := slices.IndexFunc(b.Offered, func(o *Offered) bool { return o.Result != nil }); i >= 0 {
		return i
	}
	return len(b.Offered)
}

// Consume delivers all offered events that are not acknowledged, and then those that are offered
// meanwhile. A second call of done for a delivery panics.
func (b *Bus) Consume(ctx context.Context, name string, filters []string, each func(map[string]any, func(error))) error {
	b.Mu.Lock()
	b.Cursor, b.Filters = name, slices.Clone(filters)
	b.Mu.Unlock()
	var deliveries []chan struct{} // each is closed by done
	var err error
	for i := 0; ; {
		if err = ctx.Err(); err != nil && b.Consuming.Err == nil {
			break
		}
		b.Mu.Lock()
		if i == len(b.Offered) {
			more := b.offer
			b.Mu.Unlock()
			if err = b.Consuming.Err; err != nil {
				break
			}
			select {
			case <-more:
			case <-ctx.Done():
			}
			continue
		}
		o := b.Offered[i]
		i++
		event := b.deliverLocked(o, filters)
		b.Mu.Unlock()
		if event == nil {
			continue
		}
		done := make(chan struct{})
		deliveries = append(deliveries, done)
		each(event, func(err error) {
			b.Mu.Lock()
			o.Result = err
			b.Mu.Unlock()
			close(done)
		})
	}
	grace := time.NewTimer(b.Consuming.Grace)
	defer grace.Stop()
	for _, done := range deliveries {
		select {
		case <-done:
			continue
		case <-grace.C:
		}
		break
	}
	return err
}

// deliverLocked returns the event to deliver, or nil if it is not wanted or acknowledged.
func (b *Bus) deliverLocked(o *Offered, filters []string) map[string]any {
	topic, _ := o.Event["topic"].(string)
	if b.Consuming.Match != nil && !slices.ContainsFunc(filters, func(f string) bool { return b.Consuming.Match(f, topic) }) {
		o.Result = nil
	}
	if o.Result == nil {
		return nil
	}
	event := maps.Clone(o.Event)
	event["redelivered"] = !errors.Is(o.Result, ErrQueued)
	o.Result = ErrPending
	return event
}
