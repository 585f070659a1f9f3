package bench

// This file is Offline: how an offline persistent session catches up, and what its backlog costs.

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// OfflineResult is what Offline measured.
type OfflineResult struct {
	Scenario string `json:"scenario"`
	Target   string `json:"target"`
	Size     int    `json:"size"`

	Acknowledged uint64  `json:"acknowledged"`
	PublishRate  float64 `json:"published_per_s"`
	SessionLost  bool    `json:"session_lost"`   // CONNACK's session present was 0 on return
	FirstEvent   float64 `json:"first_event_ms"` // from CONNECT to the first event
	DrainRate    float64 `json:"drained_per_s"`  // from the first to the last event
	DrainSeconds float64 `json:"drained_in_seconds"`
	Counts

	GeneratorCPU float64 `json:"generator_cpu_seconds,omitempty"`
	Broker       *Usage  `json:"broker,omitempty"`
}

// Offline publishes Count (default 1,000,000) events at QoS 1 to a persistent session that is
// offline, and reconnects it.
func Offline(ctx context.Context, o Options) (OfflineResult, error) {
	o.QoS = 1
	if o.Count == 0 {
		o.Count = 1_000_000
	}
	o, err := o.prepare()
	if err != nil {
		return OfflineResult{}, err
	}
	r := OfflineResult{Scenario: "offline", Target: o.Target, Size: o.Size}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	id := o.clientID("s", 0)
	c, _, err := o.target.connect(ctx, id, false)
	if err != nil {
		return r, err
	}
	if err = c.subscribe(1, o.Topic); err == nil {
		err = c.disconnect()
	}
	if err != nil {
		c.close()
		return r, err
	}
	defer o.target.forget(ctx, id)

	usage, err := startWatch(ctx, o.PID)
	if err != nil {
		return r, err
	}
	cpu := ownCPU()
	publishers := newPublishers(o)
	links, err := connectPublishers(ctx, o, publishers, true)
	if err != nil {
		_, werr := usage.stop()
		return r, errors.Join(err, werr)
	}
	err = links.publish(ctx, ctx, o)
	links.close()
	s := newSubscriber(newCheck(o.run, o.Publishers))
	s.pace = pace
	start := clock()
	if err == nil {
		err = r.drain(ctx, o, id, s, publishers)
	}
	broker, werr := usage.stop()
	r.Broker, r.GeneratorCPU = broker, ownCPU()-cpu

	t := total(publishers)
	r.Acknowledged, r.PublishRate = t.acked, rate(t.acked, t.first, t.last)
	r.Counts = s.check.verdict(publishers)
	if s.first > 0 {
		r.FirstEvent = float64(s.first-start) / 1e6
		r.DrainSeconds = float64(s.last-s.first) / 1e9
		r.DrainRate = rate(r.Counts.Received, s.first, s.last)
	}
	if err = ended(ctx, errors.Join(err, werr)); err != nil {
		return r, err
	}
	sessions := 0
	if r.SessionLost {
		sessions = 1
	}
	return r, lost(r.Scenario, r.Target, r.Counts, sessions)
}

// drain reconnects the session and reads until it has all events.
func (r *OfflineResult) drain(ctx context.Context, o Options, id string, s *subscriber, publishers []*publisher) error {
	now := clock()
	c, present, err := o.target.connect(ctx, id, false)
	if err != nil {
		return err
	}
	defer c.disconnect()
	r.SessionLost = !present
	if err := s.run(c, complete(s.check, publishers, o.Idle, func() int64 { return now })); err != nil {
		return fmt.Errorf("the returning subscriber: %w", err)
	}
	return nil
}

// seconds formats seconds for the tables.
func seconds(s float64) string { return short(time.Duration(s * 1e9)) }
