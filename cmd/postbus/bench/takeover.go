package bench

// Takeover: one session id, connected again and again while events flow.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// TakeoverOptions adds the takeovers to Options, whose Count is how many there are (default 150).
// Defaults: Rate 4000.
type TakeoverOptions struct {
	Options
	Interval time.Duration // between takeovers; default 50 ms
}

// TakeoverResult is what Takeover measured: the union over all connections of the session. Order is
// judged on each connection alone, because two are read at once.
type TakeoverResult struct {
	Scenario  string  `json:"scenario"`
	Target    string  `json:"target"`
	Takeovers int     `json:"takeovers"`
	Rate      float64 `json:"rate"`

	Acknowledged uint64 `json:"acknowledged"`
	Counts
	SessionsLost int     `json:"sessions_lost"`
	Refused      int     `json:"refused"`   // CONNECTs that failed
	LeftOpen     int     `json:"left_open"` // old connections that the broker did not close [MQTT-3.1.4-2]
	ConnectTime  Latency `json:"connect_time"`
}

// Takeover runs publishers at a rate while one persistent session is taken over Count times.
func Takeover(ctx context.Context, to TakeoverOptions) (TakeoverResult, error) {
	o := to.Options
	o.QoS = 1
	count, interval := o.Count, to.Interval
	if count == 0 {
		count = 150
	}
	if interval == 0 {
		interval = 50 * time.Millisecond
	}
	if interval < 0 {
		return TakeoverResult{}, usage("--interval can't be negative")
	}
	if o.Rate == 0 {
		o.Rate = 4000
	}
	o, err := o.prepare()
	if err != nil {
		return TakeoverResult{}, err
	}
	o.Count, o.Duration = 0, 0
	r := TakeoverResult{Scenario: "takeover", Target: o.Target, Takeovers: count, Rate: o.Rate}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	publishers := newPublishers(o)
	k := newCheck(o.run, o.Publishers)
	k.perLink = true
	s := &takenSession{o: o, id: o.clientID("s", 0), check: k, publishers: publishers}
	defer o.target.forget(ctx, s.id)
	if err := s.begin(ctx); err != nil {
		return r, err
	}
	links, err := connectPublishers(ctx, o, publishers, true)
	if err != nil {
		cancel()
		s.reading.Wait()
		return r, err
	}
	defer links.close()
	sending, stop := context.WithCancel(ctx)
	defer stop()
	var work sync.WaitGroup
	var pubErr error
	work.Go(func() {
		pubErr = links.publish(ctx, sending, o)
		s.finished.Store(clock())
	})
	for i := 0; i < count && ctx.Err() == nil; i++ {
		sleep(ctx, interval)
		s.takeOver(ctx)
	}
	stop()
	work.Wait()
	err = s.drain(ctx)

	r.Acknowledged, r.Counts = total(publishers).acked, k.verdict(publishers)
	r.SessionsLost, r.Refused, r.LeftOpen = s.sessionsLost, s.refused, int(s.leftOpen.Load())
	r.ConnectTime = s.connects.summary()
	if r.Refused > 0 && r.Refused == count {
		err = errors.Join(err, fmt.Errorf("every takeover failed: %w", s.refusal))
	}
	if err = ended(ctx, errors.Join(pubErr, err)); err != nil {
		return r, err
	}
	return r, lost(r.Scenario, r.Target, r.Counts, r.SessionsLost)
}

// takenSession is the session and the readers of its connections.
type takenSession struct {
	o          Options
	id         string
	check      *check
	publishers []*publisher
	finished   atomic.Int64
	reading    sync.WaitGroup
	current    *takenLink

	connects              hist
	sessionsLost, refused int
	refusal               error
	leftOpen              atomic.Int32
}

// takenLink is one connection of it.
type takenLink struct {
	conn       *conn
	superseded atomic.Int64 // clock when the next CONNECT went out
	done       chan struct{}
	err        error
}

func (s *takenSession) begin(ctx context.Context) error {
	c, _, err := s.o.target.connect(ctx, s.id, false)
	if err != nil {
		return err
	}
	if err := c.subscribe(s.o.Topic, 1); err != nil {
		c.close()
		return err
	}
	s.read(c)
	return nil
}

// takeOver connects while the old connection is still being read.
func (s *takenSession) takeOver(ctx context.Context) {
	old := s.current
	old.superseded.Store(clock())
	start := clock()
	c, present, err := s.o.target.connect(ctx, s.id, false)
	if err != nil {
		s.refused++
		s.refusal = err
		return
	}
	s.connects.add(clock() - start)
	if !present {
		s.sessionsLost++
		if err := c.subscribe(s.o.Topic, 1); err != nil {
			s.refusal = err
		}
	}
	s.read(c)
}

// read gives c a goroutine that owns it: everything that arrives there counts and is acknowledged.
func (s *takenSession) read(c *conn) {
	l := &takenLink{conn: c, done: make(chan struct{})}
	s.current = l
	sub := newSubscriber(s.check)
	over := complete(s.check, s.publishers, s.o.Idle, s.finished.Load)
	s.reading.Go(func() {
		defer close(l.done)
		defer c.close()
		l.err = sub.run(c, func(quiet bool) bool {
			if at := l.superseded.Load(); at > 0 && clock()-at > int64(2*time.Second) {
				s.leftOpen.Add(1)
				return true
			}
			return over(quiet)
		})
	})
}

// drain lets the last connection receive the rest, and waits for all readers.
func (s *takenSession) drain(ctx context.Context) error {
	for try := 0; ; try++ {
		<-s.current.done
		if s.current.err == nil && s.current.superseded.Load() == 0 {
			break
		}
		if try == 5 || ctx.Err() != nil {
			s.reading.Wait()
			return fmt.Errorf("the subscriber: %w", firstError(s.current.err, s.refusal, errClosed))
		}
		s.takeOver(ctx)
	}
	s.reading.Wait()
	return nil
}
