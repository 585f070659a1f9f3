package bench

// This file is Slow: how one consumer that stops reading affects the others, and whether it loses
// events.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// SlowOptions adds the stall to Options. Defaults: Rate 4000, Size 1024 (so that the stall exceeds
// the sockets' buffers), QoS 1.
type SlowOptions struct {
	Options
	Before time.Duration // how long to run without a stall first; default 5 s
	Stall  time.Duration // how long the slow consumer doesn't read; default 10 s
}

// SlowResult is what Slow measured.
type SlowResult struct {
	Scenario string  `json:"scenario"`
	Target   string  `json:"target"`
	Rate     float64 `json:"rate"`
	Size     int     `json:"size"`

	Acknowledged    uint64  `json:"acknowledged"`
	PublishedBefore float64 `json:"published_per_s_before"` // acknowledged, by when they were sent
	PublishedStall  float64 `json:"published_per_s_stall"`
	AckBefore       Latency `json:"ack_latency_before"`
	AckStall        Latency `json:"ack_latency_stall"`
	NormalBefore    Latency `json:"delivery_latency_before"`
	NormalStall     Latency `json:"delivery_latency_stall"`
	Normal          Counts  `json:"normal"`
	Slow            Counts  `json:"slow"`
	CatchUp         float64 `json:"slow_caught_up_seconds"` // from when it reads again to its last event
	Reconnects      int     `json:"slow_reconnects"`        // how often it reconnected after the broker disconnected it
	SessionsLost    int     `json:"sessions_lost"`
	Broker          *Usage  `json:"broker,omitempty"`
}

// Slow runs publishers at a rate with one normal and one stalling subscriber.
func Slow(ctx context.Context, so SlowOptions) (SlowResult, error) {
	o := so.Options
	o.QoS = 1
	if o.Rate == 0 {
		o.Rate = 4000
	}
	if o.Size == 0 {
		o.Size = 1024
	}
	before, stall := so.Before, so.Stall
	if before == 0 {
		before = 5 * time.Second
	}
	if stall == 0 {
		stall = 10 * time.Second
	}
	if before < 0 || stall < 0 {
		return SlowResult{}, usage("--before and --stall can't be negative")
	}
	o, err := o.prepare()
	if err != nil {
		return SlowResult{}, err
	}
	o.Count, o.Duration = 0, 0
	r := SlowResult{Scenario: "slow", Target: o.Target, Rate: o.Rate, Size: o.Size}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var cut phases
	publishers := newPublishers(o)
	for _, p := range publishers {
		p.acks.phases = &cut
	}
	normal := newSubscriber(newCheck(o.run, o.Publishers))
	normal.lat.phases = &cut
	nc, _, err := o.target.connect(ctx, o.clientID("n", 0), true)
	if err != nil {
		return r, err
	}
	defer nc.disconnect()
	if err := nc.subscribe(1, o.Topic); err != nil {
		return r, err
	}
	slow := &staller{o: o, id: o.clientID("s", 0), sub: newSubscriber(newCheck(o.run, o.Publishers)), cut: &cut}
	if err := slow.open(ctx); err != nil {
		return r, err
	}
	defer o.target.forget(ctx, slow.id)
	links, err := connectPublishers(ctx, o, publishers, true)
	if err != nil {
		slow.conn.close()
		return r, err
	}
	defer links.close()
	usage, err := startWatch(ctx, o.PID)
	if err != nil {
		slow.conn.close()
		return r, err
	}

	var finished atomic.Int64
	var work sync.WaitGroup
	var pubErr, normalErr, slowErr error
	sending, stop := context.WithCancel(ctx)
	defer stop()
	start := clock()
	work.Go(func() {
		pubErr = links.publish(ctx, sending, o)
		finished.Store(clock())
	})
	work.Go(func() {
		normalErr = normal.run(nc, complete(normal.check, publishers, o.Idle, finished.Load))
	})
	work.Go(func() { slowErr = slow.run(ctx, publishers, finished.Load) })

	sleep(ctx, before)
	cut.begin.Store(clock())
	sleep(ctx, stall)
	cut.end.Store(clock())
	sleep(ctx, min(before, 2*time.Second)) // continue to publish while the slow consumer catches up
	stop()
	work.Wait()
	broker, werr := usage.stop()

	t := total(publishers)
	r.Broker, r.Acknowledged = broker, t.acked
	begin, end := cut.begin.Load(), cut.end.Load()
	r.PublishedBefore = rate(t.acks[0].total, start, begin)
	r.PublishedStall = rate(t.acks[1].total, begin, end)
	r.AckBefore, r.AckStall = t.acks[0].summary(), t.acks[1].summary()
	r.NormalBefore, r.NormalStall = normal.lat.h[0].summary(), normal.lat.h[1].summary()
	r.Normal, r.Slow = normal.check.verdict(publishers), slow.sub.check.verdict(publishers)
	r.CatchUp = float64(max(0, slow.sub.last-end)) / 1e9
	r.Reconnects, r.SessionsLost = slow.reconnects, slow.sessionsLost
	if normalErr != nil {
		normalErr = fmt.Errorf("the normal subscriber: %w", normalErr)
	}
	if slowErr != nil {
		slowErr = fmt.Errorf("the slow subscriber: %w", slowErr)
	}
	if err = ended(ctx, errors.Join(pubErr, normalErr, slowErr, werr)); err != nil {
		return r, err
	}
	sum := r.Normal
	sum.add(r.Slow)
	return r, lost(r.Scenario, r.Target, sum, r.SessionsLost)
}

// staller is the consumer that stops reading between the two marks of cut.
type staller struct {
	o    Options
	id   string
	sub  *subscriber
	conn *conn
	cut  *phases

	reconnects, sessionsLost int
}

// stallBuffer is how much the kernel buffers for a reader that doesn't read: little, so that the
// stall has an effect, but several segments of the loopback, because otherwise TCP drains it in
// tiny pieces.
const stallBuffer = 256 << 10

// open connects the persistent session.
func (s *staller) open(ctx context.Context) error {
	c, _, err := s.o.target.connect(ctx, s.id, false)
	if err != nil {
		return err
	}
	if tcp, ok := c.nc.(*net.TCPConn); ok {
		tcp.SetReadBuffer(stallBuffer)
	}
	if err := c.subscribe(1, s.o.Topic); err != nil {
		c.close()
		return err
	}
	s.conn = c
	return nil
}

// run reads, stalls, and reads again. When the broker disconnects it, it reconnects as a real
// client would.
func (s *staller) run(ctx context.Context, publishers []*publisher, finished func() int64) error {
	stalled := false
	resumed := int64(0)
	done := complete(s.sub.check, publishers, s.o.Idle, func() int64 {
		if end := finished(); end > 0 && resumed > 0 {
			return max(end, resumed)
		}
		return 0
	})
	asked := clock()
	for {
		if !stalled && s.cut.begin.Load() > 0 {
			stalled = true
			for s.cut.end.Load() == 0 && ctx.Err() == nil {
				pause(ctx, 10*time.Millisecond)
			}
			resumed = clock()
		}
		quiet, err := s.sub.step(s.conn)
		if err != nil {
			s.conn.close()
			if ctx.Err() != nil || s.reconnects >= 100 {
				return err
			}
			if err := s.again(ctx); err != nil {
				return err
			}
			continue
		}
		if now := clock(); quiet || now-asked > int64(time.Second) {
			if done(quiet) {
				return s.conn.disconnect()
			}
			asked = now
		}
	}
}

// again resumes the session.
func (s *staller) again(ctx context.Context) error {
	pause(ctx, 50*time.Millisecond)
	c, present, err := s.o.target.connect(ctx, s.id, false)
	if err != nil {
		return err
	}
	s.reconnects++
	s.conn, s.sub.link = c, s.sub.check.newLink()
	if !present {
		s.sessionsLost++
		return c.subscribe(1, s.o.Topic)
	}
	return nil
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	for end := clock() + int64(d); ctx.Err() == nil && clock() < end; {
		pause(ctx, time.Duration(end-clock()))
	}
}
