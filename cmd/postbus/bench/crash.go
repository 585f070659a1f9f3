package bench

// This file is Crash: kill -9 under load, repeatedly. Acknowledged events must arrive.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// CrashOptions says how to start the broker. Defaults: Rate 8000, Publishers 4.
type CrashOptions struct {
	Options
	Start        []string      // program and arguments; it must listen on Target and keep its data across restarts
	Rounds       int           // default 5
	KillMin      time.Duration // kill between KillMin (default 1 s)
	KillMax      time.Duration // and KillMax (default 3 s) after the load began
	StartTimeout time.Duration // until the broker accepts connections; default 30 s
}

// CrashResult is what Crash measured, over all rounds.
type CrashResult struct {
	Scenario string  `json:"scenario"`
	Target   string  `json:"target"`
	Rounds   int     `json:"rounds"`
	Rate     float64 `json:"rate"`

	Acknowledged uint64 `json:"acknowledged"`
	Counts
	SessionsLost          int     `json:"sessions_lost"`           // the subscriber's: session present was 0
	PublisherSessionsLost int     `json:"publisher_sessions_lost"` // likewise; they had no subscriptions to lose
	CutOff                int     `json:"cut_off"`                 // connections that the broker ended before it was killed
	Recovery              Latency `json:"recovery"`                // from start to the first accepted connection
}

// Crash starts the broker, kills it under load Rounds times, and drains. The subscriber is online
// in even rounds and offline in odd ones. Publishers resend unacknowledged events, as real clients
// do.
func Crash(ctx context.Context, co CrashOptions) (CrashResult, error) {
	o := co.Options
	o.QoS = 1
	if o.Rate == 0 {
		o.Rate = 8000
	}
	if co.Rounds == 0 {
		co.Rounds = 5
	}
	if co.KillMin == 0 && co.KillMax == 0 {
		co.KillMin, co.KillMax = time.Second, 3*time.Second
	}
	if co.StartTimeout == 0 {
		co.StartTimeout = 30 * time.Second
	}
	o, err := o.prepare()
	switch {
	case err != nil:
		return CrashResult{}, err
	case len(co.Start) == 0:
		return CrashResult{}, usage("bench crash starts and kills the broker itself: give --start \"PROGRAM ARGUMENTS\"")
	case co.Rounds < 0 || co.KillMin < 0 || co.KillMax < co.KillMin:
		return CrashResult{}, usage("--rounds and --kill-after: must be positive, and write the range as 1s..3s")
	}
	o.Count, o.Duration = 0, 0
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x := &crash{o: o, co: co, publishers: newPublishers(o), sub: newSubscriber(newCheck(o.run, o.Publishers)), known: make([]bool, o.Publishers)}
	if c, err := o.target.dial(ctx); err == nil {
		c.close()
		return CrashResult{}, withHint(fmt.Errorf("bench crash: something already listens at %s", o.Target),
			"stop it first: this scenario starts its own broker with --start")
	}
	for n := 0; n < co.Rounds && err == nil; n++ {
		if err = x.round(ctx, n); err != nil {
			err = fmt.Errorf("round %d: %w", n, err)
		}
	}
	if err == nil {
		err = x.finish(ctx)
	}
	r := CrashResult{Scenario: "crash", Target: o.Target, Rounds: co.Rounds, Rate: o.Rate,
		Acknowledged: total(x.publishers).acked, Counts: x.sub.check.verdict(x.publishers),
		SessionsLost: x.sessionsLost, PublisherSessionsLost: int(x.publisherSessionsLost.Load()),
		CutOff: int(x.cutOff.Load()), Recovery: x.recovery.summary()}
	if err = ended(ctx, err); err != nil {
		return r, err
	}
	return r, lost(r.Scenario, r.Target, r.Counts, r.SessionsLost)
}

// crash is the scenario in progress.
type crash struct {
	o          Options
	co         CrashOptions
	publishers []*publisher
	sub        *subscriber
	known      []bool // by publisher: it had a CONNACK before
	subscribed bool

	sessionsLost                  int
	publisherSessionsLost, cutOff atomic.Int32
	recovery                      hist
}

// start runs the broker until it accepts connections.
func (x *crash) start(ctx context.Context) (*process, error) {
	began := clock()
	b, err := startProcess(x.co.Start)
	if err != nil {
		return nil, err
	}
	for {
		if c, err := x.o.target.dial(ctx); err == nil {
			c.close()
			x.recovery.add(clock() - began)
			return b, nil
		}
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case b.exited():
			err = b.exitError()
		case clock()-began > int64(x.co.StartTimeout):
			err = fmt.Errorf("%s does not accept connections %s after the start; it said: %s",
				x.o.Target, x.co.StartTimeout, b.output())
		default:
			pause(ctx, 10*time.Millisecond)
			continue
		}
		b.kill()
		return nil, withHint(err, "see that --start runs a broker in the foreground that listens on --target")
	}
}

// round runs the broker once, until it is killed.
func (x *crash) round(ctx context.Context, n int) error {
	b, err := x.start(ctx)
	if err != nil {
		return err
	}
	defer b.kill()
	var killed atomic.Bool
	var work sync.WaitGroup
	alive, die := context.WithCancel(ctx) // for pauses between reconnects; connections end with the broker
	defer work.Wait()
	defer die()
	online := n%2 == 0
	var subErr error
	ready := make(chan struct{})
	if online {
		work.Go(func() { subErr = x.subscribe(alive, ctx, &killed, ready) })
	} else {
		close(ready)
	}
	select {
	case <-ready:
	case <-b.gone:
	case <-ctx.Done():
	}
	errs := make([]error, len(x.publishers))
	for i := range x.publishers {
		work.Go(func() { errs[i] = x.publish(alive, ctx, i, &killed) })
	}
	life := x.co.KillMin + rand.N(x.co.KillMax-x.co.KillMin+1)
	t := time.NewTimer(life)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.gone:
		err = b.exitError()
	case <-ctx.Done():
		err = ctx.Err()
	}
	killed.Store(true)
	b.kill()
	die()
	work.Wait()
	return errors.Join(append(errs, err, subErr)...)
}

// publish reconnects one publisher until the broker is killed.
func (x *crash) publish(alive, ctx context.Context, i int, killed *atomic.Bool) error {
	for !killed.Load() {
		c, present, err := x.o.target.connect(ctx, x.o.clientID("p", i), false)
		if errors.Is(err, errRefused) || errors.Is(err, errMalformed) {
			return err
		}
		if err != nil {
			pause(alive, 20*time.Millisecond)
			continue
		}
		if x.known[i] && !present {
			x.publisherSessionsLost.Add(1)
		}
		x.known[i] = true
		err = x.publishers[i].run(ctx, alive, c, plan{rate: x.o.Rate / float64(x.o.Publishers)})
		c.close()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errMalformed):
			return err
		case !killed.Load():
			x.cutOff.Add(1)
			pause(alive, 20*time.Millisecond)
		}
	}
	return nil
}

// open resumes the subscriber's session, or begins it.
func (x *crash) open(ctx context.Context) (*conn, error) {
	c, present, err := x.o.target.connect(ctx, x.o.clientID("s", 0), false)
	if err != nil {
		return nil, err
	}
	if x.subscribed && !present {
		x.sessionsLost++
	}
	x.sub.link = x.sub.check.newLink()
	if !present {
		if err := c.subscribe(1, x.o.Topic); err != nil {
			c.close()
			return nil, err
		}
		x.subscribed = true
	}
	return c, nil
}

// subscribe reconnects the subscriber until the broker is killed; ready closes at its first
// connection.
func (x *crash) subscribe(alive, ctx context.Context, killed *atomic.Bool, ready chan struct{}) error {
	defer func() {
		if ready != nil {
			close(ready)
		}
	}()
	for !killed.Load() {
		c, err := x.open(ctx)
		if err != nil {
			if errors.Is(err, errRefused) || errors.Is(err, errMalformed) {
				return err
			}
			pause(alive, 20*time.Millisecond)
			continue
		}
		if ready != nil {
			close(ready)
			ready = nil
		}
		err = x.sub.run(c, func(bool) bool { return false })
		c.close()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errMalformed):
			return err
		case !killed.Load():
			x.cutOff.Add(1)
			pause(alive, 20*time.Millisecond)
		}
	}
	return nil
}

// finish starts the broker once more, lets publishers deliver their remaining events and the
// subscriber drain.
func (x *crash) finish(ctx context.Context) error {
	b, err := x.start(ctx)
	if err != nil {
		return err
	}
	defer b.stop()
	links, err := connectPublishers(ctx, x.o, x.publishers, false)
	if err != nil {
		return err
	}
	over, stop := context.WithCancel(ctx)
	stop()
	err = links.publish(ctx, over, x.o)
	links.close()
	if err != nil {
		return err
	}
	c, err := x.open(ctx)
	if err != nil {
		return err
	}
	now := clock()
	if err := x.sub.run(c, complete(x.sub.check, x.publishers, x.o.Idle, func() int64 { return now })); err != nil {
		c.close()
		return fmt.Errorf("the subscriber, draining: %w", err)
	}
	if err := c.disconnect(); err != nil {
		return err
	}
	err = x.o.target.forget(ctx, x.o.clientID("s", 0))
	for i := range x.publishers {
		err = errors.Join(err, x.o.target.forget(ctx, x.o.clientID("p", i)))
	}
	return err
}
