package bench

// This file is Throughput: publishers to subscribers, at full speed or at a fixed rate.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// pace bounds the reads of all subscribers together at full speed. A broker that waits for
// acknowledgements with as few as 20 events in flight can still send 200,000 a second.
const pace = 100 * time.Microsecond

// Result is what Throughput measured. Rates are events a second.
type Result struct {
	Scenario    string `json:"scenario"`
	Target      string `json:"target"`
	Publishers  int    `json:"publishers"`
	Subscribers int    `json:"subscribers"`
	QoS         int    `json:"qos"`
	Size        int    `json:"size"`

	Sent          uint64  `json:"sent"`
	Acknowledged  uint64  `json:"acknowledged"`    // 0 at QoS 0
	PublishRate   float64 `json:"published_per_s"` // from the first PUBLISH to the last acknowledgement (QoS 0: PINGRESP)
	DeliveredRate float64 `json:"delivered_per_s"` // all subscribers together, from the first to the last receipt
	PerSubscriber float64 `json:"delivered_per_s_each"`

	Counts
	Latency    Latency `json:"latency"`     // from sending to receipt
	AckLatency Latency `json:"ack_latency"` // from sending to acknowledgement

	GeneratorCPU float64 `json:"generator_cpu_seconds,omitempty"`
	Broker       *Usage  `json:"broker,omitempty"`
}

// Throughput publishes Count events, or for Duration (default 10 s), to Subscribers. At QoS >= 1 an
// error that is ErrLost is returned with the result when events were missed or disordered; at QoS 0
// a loss is only counted.
func Throughput(ctx context.Context, o Options) (Result, error) {
	o, err := o.prepare()
	if err != nil {
		return Result{}, err
	}
	if o.Count == 0 && o.Duration == 0 {
		o.Duration = 10 * time.Second
	}
	r := Result{Scenario: "throughput", Target: o.Target, Publishers: o.Publishers, Subscribers: o.Subscribers, QoS: o.QoS, Size: o.Size}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	publishers := newPublishers(o)
	subs := make([]*subscriber, o.Subscribers)
	conns := make([]*conn, o.Subscribers)
	for i := range subs {
		if conns[i], _, err = o.target.connect(ctx, o.clientID("s", i), true); err != nil {
			return r, err
		}
		defer conns[i].disconnect()
		if err = conns[i].subscribe(byte(o.QoS), o.Topic); err != nil {
			return r, err
		}
		subs[i] = newSubscriber(newCheck(o.run, o.Publishers))
		if o.Rate == 0 {
			subs[i].pace = time.Duration(o.Subscribers) * pace
		}
	}
	links, err := connectPublishers(ctx, o, publishers, true)
	if err != nil {
		return r, err
	}
	defer links.close()
	usage, err := startWatch(ctx, o.PID)
	if err != nil {
		return r, err
	}
	cpu := ownCPU()

	var finished atomic.Int64
	var reading sync.WaitGroup
	errs := make([]error, len(subs))
	for i, s := range subs {
		reading.Go(func() {
			if err := s.run(conns[i], complete(s.check, publishers, o.Idle, finished.Load)); err != nil {
				errs[i] = fmt.Errorf("subscriber %d: %w", i, err)
			}
		})
	}
	sending := ctx
	if o.Duration > 0 {
		var stop context.CancelFunc
		sending, stop = context.WithTimeout(ctx, o.Duration)
		defer stop()
	}
	err = links.publish(ctx, sending, o)
	finished.Store(clock())
	reading.Wait()

	r.GeneratorCPU = ownCPU() - cpu
	broker, werr := usage.stop()
	r.Broker = broker
	r.fill(publishers, subs)
	if err = ended(ctx, errors.Join(append(errs, err, werr)...)); err != nil {
		return r, err
	}
	if o.QoS == 0 {
		return r, nil
	}
	return r, lost(r.Scenario, r.Target, r.Counts, 0)
}

// fill computes the figures.
func (r *Result) fill(publishers []*publisher, subs []*subscriber) {
	t := total(publishers)
	r.Sent, r.Acknowledged = t.sent, t.acked
	done := t.acked
	if r.QoS == 0 {
		done = t.sent
	}
	r.PublishRate = rate(done, t.first, t.last)
	r.AckLatency = t.acks[0].summary()
	var all hist
	var first, last int64
	for _, s := range subs {
		r.Counts.add(s.check.verdict(publishers))
		all.merge(&s.lat.h[0])
		if s.first > 0 && (first == 0 || s.first < first) {
			first = s.first
		}
		last = max(last, s.last)
	}
	r.Latency = all.summary()
	r.DeliveredRate = rate(all.total, first, last)
	if len(subs) > 0 {
		r.PerSubscriber = r.DeliveredRate / float64(len(subs))
	}
}

func rate(n uint64, first, last int64) float64 {
	if last <= first || first == 0 {
		return 0
	}
	return float64(n) / (float64(last-first) / 1e9)
}

// publisherLinks is publishers with their connections.
type publisherLinks struct {
	publishers []*publisher
	conns      []*conn
}

func connectPublishers(ctx context.Context, o Options, publishers []*publisher, clean bool) (*publisherLinks, error) {
	l := &publisherLinks{publishers: publishers}
	for i := range publishers {
		c, _, err := o.target.connect(ctx, o.clientID("p", i), clean)
		if err != nil {
			l.close()
			return nil, err
		}
		l.conns = append(l.conns, c)
	}
	return l, nil
}

func (l *publisherLinks) close() {
	for _, c := range l.conns {
		c.disconnect()
	}
}

// publish runs all publishers until they have sent their share, or sending ends, and waits for
// them.
func (l *publisherLinks) publish(ctx, sending context.Context, o Options) error {
	errs := make([]error, len(l.conns))
	var all sync.WaitGroup
	for i, p := range l.publishers {
		pl := plan{count: o.share(i), rate: o.Rate / float64(o.Publishers)}
		if o.Count > 0 && pl.count == 0 {
			continue
		}
		all.Go(func() { errs[i] = p.run(ctx, sending, l.conns[i], pl) })
	}
	all.Wait()
	return errors.Join(errs...)
}
