package bench

// This file is Takeover: persistent sessions whose clients connect repeatedly while events flow.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// The actions of Takeover's clients at each step.
const (
	ModeTakeover  = "takeover"  // a new connection takes over while the old one is alive
	ModeReconnect = "reconnect" // close, with or without DISCONNECT, and connect at once or after a while
	ModeGroup     = "group"     // members of one shared subscription do both
)

// TakeoverOptions adds the connections to Options. Of those, Count is the events of one round
// (default 80,000), Rate is 10,000 by default and QoS is 1 (default) or 2.
type TakeoverOptions struct {
	Options
	Mode     string // default ModeTakeover
	Rounds   int    // each with sessions of its own; default 1
	Sessions int    // that receive every event each, or the members of the group; default 1, a group: 2

	Others int // further filters of each session, which match no event; they take the broker longer at each connection

	// How long a connection lasts: default 5 to 45 ms.
	IntervalMin, IntervalMax time.Duration

	Seed uint64 // of the intervals and choices; 0: a random one
	V5   bool   // the sessions speak MQTT 5, so that a reported gap is counted
}

// TakeoverResult is what Takeover measured, the sum over rounds, sessions and connections.
type TakeoverResult struct {
	Scenario string  `json:"scenario"`
	Target   string  `json:"target"`
	Mode     string  `json:"mode"`
	QoS      int     `json:"qos"`
	Rounds   int     `json:"rounds"`
	Sessions int     `json:"sessions"`
	V5       bool    `json:"v5"`
	Rate     float64 `json:"rate"`
	Seed     uint64  `json:"seed"`

	Takeovers    int    `json:"takeovers"` // connections after the first of each session
	Acknowledged uint64 `json:"acknowledged"`
	Counts
	SessionsLost int        `json:"sessions_lost"`
	Refused      int        `json:"refused"`   // CONNECTs that failed
	LeftOpen     int        `json:"left_open"` // old connections that the broker did not close [MQTT-3.1.4-2]
	ConnectTime  Latency    `json:"connect_time"`
	Bad          []BadRound `json:"bad_rounds,omitempty"`
}

// BadRound is a round in which the broker broke a promise; rounds count from 0.
type BadRound struct {
	Round int `json:"round"`
	Counts
	SessionsLost int `json:"sessions_lost"`
}

// prepare fills in the defaults and checks the options that Takeover adds.
func (o TakeoverOptions) prepare() (TakeoverOptions, error) {
	if o.Mode == "" {
		o.Mode = ModeTakeover
	}
	if o.Rounds == 0 {
		o.Rounds = 1
	}
	if o.Sessions == 0 {
		o.Sessions = 1
		if o.Mode == ModeGroup {
			o.Sessions = 2
		}
	}
	if o.IntervalMin == 0 && o.IntervalMax == 0 {
		o.IntervalMin, o.IntervalMax = 5*time.Millisecond, 45*time.Millisecond
	}
	if o.Seed == 0 {
		o.Seed = uint64(rand.Uint32()) | 1
	}
	if o.QoS == 0 {
		o.QoS = 1
	}
	if o.Count == 0 {
		o.Count = 80_000
	}
	if o.Rate == 0 {
		o.Rate = 10_000
	}
	switch {
	case o.Mode != ModeTakeover && o.Mode != ModeReconnect && o.Mode != ModeGroup:
		return o, usage("--mode %q: write takeover, reconnect or group", o.Mode)
	case o.Mode == ModeGroup && o.QoS != 1:
		return o, usage("--mode group needs --qos 1: a group promises at least once")
	case o.Rounds < 0 || o.Sessions < 0 || o.Sessions > 1000:
		return o, usage("--rounds must be positive, --sessions 1 to 1000")
	case o.Others < 0 || o.Others > 1000:
		return o, usage("--others %d: must be 0 to 1000", o.Others)
	case o.IntervalMin < 0 || o.IntervalMax < o.IntervalMin:
		return o, usage("--interval: write a range such as 5ms..45ms")
	}
	var err error
	o.Options, err = o.Options.prepare()
	o.Duration = 0
	return o, err
}

// Takeover runs rounds of publishers at a rate while clients connect repeatedly.
func Takeover(ctx context.Context, o TakeoverOptions) (TakeoverResult, error) {
	topic := o.Topic
	o, err := o.prepare()
	if err != nil {
		return TakeoverResult{}, err
	}
	r := TakeoverResult{Scenario: "takeover", Target: o.Target, Mode: o.Mode, QoS: o.QoS, Rounds: o.Rounds,
		Sessions: o.Sessions, V5: o.V5, Rate: o.Rate, Seed: o.Seed}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var connects hist
	var refusal error
	for n := 0; n < o.Rounds && err == nil; n++ {
		round := &takeoverRound{o: o, n: n}
		round.o.Topic = topic
		round.o.Options, _ = round.o.Options.prepare() // checked before; identifiers and topic are the round's own
		if err = round.run(ctx); err != nil && o.Rounds > 1 {
			err = fmt.Errorf("round %d: %w", n, err)
		}
		bad := BadRound{Round: n}
		for _, k := range round.checks {
			bad.Counts.add(k.verdict(round.publishers))
		}
		for _, c := range round.clients {
			bad.SessionsLost += c.sessionsLost
			r.Takeovers += int(c.connects.total)
			r.Refused += c.refused
			r.LeftOpen += int(c.leftOpen.Load())
			connects.merge(&c.connects)
			refusal = firstError(refusal, c.refusal)
		}
		r.Acknowledged += total(round.publishers).acked
		r.Counts.add(bad.Counts)
		r.SessionsLost += bad.SessionsLost
		if bad.broken() || bad.SessionsLost > 0 {
			r.Bad = append(r.Bad, bad)
		}
	}
	r.ConnectTime = connects.summary()
	if r.Refused > 0 && r.Takeovers == 0 {
		err = errors.Join(err, fmt.Errorf("every connection after the first failed: %w", refusal))
	}
	if err = ended(ctx, err); err != nil {
		return r, err
	}
	return r, lost(r.Scenario, r.Target, r.Counts, r.SessionsLost)
}

// takeoverRound is one round in progress.
type takeoverRound struct {
	o TakeoverOptions
	n int

	publishers []*publisher
	checks     []*check // one a session, or one for the whole group
	clients    []*takenClient
	finished   atomic.Int64 // clock when publishing ended
	reading    sync.WaitGroup
}

// rule returns a check with the round's rules.
func (t *takeoverRound) rule() *check {
	k := newCheck(t.o.run, t.o.Publishers)
	switch {
	case t.o.Mode == ModeGroup:
		k.repeats, k.unordered = regroup, t.o.Sessions > 1
	case t.o.QoS == 2:
		k.repeats = noRepeat
	default:
		k.repeats = redelivered
	}
	return k
}

func (t *takeoverRound) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer t.reading.Wait()
	defer cancel()
	t.publishers = newPublishers(t.o.Options)
	filters := []string{t.o.Topic}
	if t.o.Mode == ModeGroup {
		filters[0] = fmt.Sprintf("$share/bench%08x/%s", t.o.run, t.o.Topic)
	}
	for i := range t.o.Others {
		filters = append(filters, fmt.Sprintf("postbus-bench/%08x/other/%d", t.o.run, i))
	}
	for i := range t.o.Sessions {
		if i == 0 || t.o.Mode != ModeGroup {
			t.checks = append(t.checks, t.rule())
		}
		k := t.checks[len(t.checks)-1]
		c := &takenClient{round: t, id: t.o.clientID("s", i), filters: filters, sub: newSubscriber(k),
			random: rand.New(rand.NewPCG(t.o.Seed, uint64(t.n)<<32|uint64(i)))}
		c.target = t.o.target
		c.target.v5 = t.o.V5
		if err := c.begin(ctx); err != nil {
			return err
		}
		defer c.target.forget(ctx, c.id)
		t.clients = append(t.clients, c)
	}
	links, err := connectPublishers(ctx, t.o.Options, t.publishers, true)
	if err != nil {
		return err
	}
	defer links.close()
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	var work sync.WaitGroup
	for _, c := range t.clients {
		work.Go(func() { c.drive(ctx, publishing) })
	}
	errs := []error{links.publish(ctx, ctx, t.o.Options)}
	stop()
	work.Wait()
	t.finished.Store(clock())
	for _, c := range t.clients {
		errs = append(errs, c.drain(ctx))
	}
	return errors.Join(errs...)
}
