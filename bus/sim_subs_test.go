package bus

// This file is how the simulated client subscribes and unsubscribes.

import (
	"context"
	"slices"
)

// place is where a change of filters is at the earliest.
func (c *simClient) offset() uint64 {
	if c.conn.s.durable {
		return c.s.bus.journal.Next() - 1
	}
	return c.s.bus.completed.Load()
}

var simFilters = []string{"n/#", "n/a/+", "n/+/1", "n/a/1", "n/b/#", "n/+"}
var simShared = []string{"$share/g/w/#", "$share/h/w/+", "$share/g/w/1"}

func (c *simClient) subscribe() {
	s, b, x, k := c.s, c.s.bus, c.sess, c.conn
	s.observe()
	if c.conn != k {
		return
	}
	var fs []Filter
	var spans []*span
	lo := c.offset()
	for range 1 + s.rnd.IntN(2) {
		f := Filter{QoS: byte(s.rnd.IntN(3)), RetainHandling: byte(s.rnd.IntN(3))}
		if c.shares && s.chance(40) {
			i := s.rnd.IntN(len(simShared))
			f = Filter{Filter: simShared[i], QoS: f.QoS, ID: uint32(100 + i)}
		} else {
			i := s.rnd.IntN(len(simFilters))
			f.Filter, f.NoLocal = simFilters[i], s.chance(20)
			if s.chance(50) {
				f.ID = uint32(1 + i)
			}
		}
		if slices.ContainsFunc(fs, func(o Filter) bool { return o.Filter == f.Filter }) {
			continue
		}
		fs = append(fs, f)
		spans = append(spans, &span{f: f, fromLo: lo, fromHi: forever, endLo: forever, endHi: forever, got: map[string]uint64{}, forbidsRetained: f.RetainHandling == 2})
	}
	var old []*span
	for _, sp := range spans {
		isNew := true
		for _, o := range x.spans {
			if o.f.Filter == sp.f.Filter && o.endHi == forever {
				old = append(old, o)
				o.endLo = min(o.endLo, lo)
				isNew = false
			}
		}
		sp.wantsRetained = sp.f.RetainHandling == 0 || sp.f.RetainHandling == 1 && isNew
	}
	x.spans = append(x.spans, spans...)
	s.log("%s subscribes %+v", c.name, fs)
	var hi uint64
	s.async(c, func() error {
		err := k.s.Subscribe(context.Background(), fs)
		if b.ctx.Err() == nil {
			hi = b.journal.Next() - 1
		} else if err == nil {
			hi = forever - 1
		}
		return err
	}, func(err error) {
		s.log("%s subscribed: %v", c.name, err)
		if err != nil {
			for _, o := range old { // which of the two stands is not known
				o.sure = false
				x.m.leaves(x, o)
			}
			return
		}
		for _, o := range old {
			o.endHi = hi
		}
		for _, sp := range spans {
			sp.fromHi, sp.sure = hi, true
			if c.expiry > 0 {
				x.m.joins(x, sp)
			}
		}
	})
}

func (c *simClient) unsubscribe() {
	s, b, x, k := c.s, c.s.bus, c.sess, c.conn
	f := simFilters[s.rnd.IntN(len(simFilters))]
	if c.shares && s.chance(30) {
		f = simShared[s.rnd.IntN(len(simShared))]
	}
	var spans []*span
	lo := c.offset()
	for _, sp := range x.spans {
		if sp.f.Filter == f && sp.endHi == forever {
			spans = append(spans, sp)
			sp.endLo = min(sp.endLo, lo)
			x.m.leaves(x, sp)
		}
	}
	s.log("%s unsubscribes %s", c.name, f)
	var hi uint64
	s.async(c, func() error {
		_, err := k.s.Unsubscribe(context.Background(), []string{f})
		if b.ctx.Err() == nil {
			hi = b.journal.Next() - 1
		} else {
			hi = forever
		}
		return err
	}, func(err error) {
		s.log("%s unsubscribed: %v", c.name, err)
		if err == nil {
			for _, sp := range spans {
				sp.endHi = hi
			}
		}
	})
}
