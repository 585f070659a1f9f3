package fleet

// This file is the exporter: it sends this bus's events to the hub, share by share.
//
// The hub decides where the exporter continues: the last message of each lane names the number of its last event, and
// each message is accepted only behind that one. What the exporter keeps in the journal beside that is a
// hint, which is compared with the hub before it is used.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/fleet/stream"
	"github.com/postbus/postbus/bus/journal"
)

// layoutsTopic is where the layouts of a fleet are kept: all its hubs have the same.
func (e *Entry) layoutsTopic() string {
	return fmt.Sprintf("%sfleet/%s/layouts", bus.KeptPrefix, e.o.Fleet)
}

func (e *Entry) hasLayouts() bool {
	l, err := e.loadLayouts()
	return err != nil || len(l) > 0
}

func (e *Entry) loadLayouts() (layouts, error) {
	ev, _ := e.bus.RetainedValue(e.layoutsTopic())
	return decodeLayouts(ev.Payload)
}

// layoutMu serialises changes of layouts: two hubs of one fleet share them.
var layoutMu sync.Mutex

// layouts returns the layouts of the fleet, after it has begun a new one if the config changed.
func (e *Entry) layouts(ctx context.Context) (layouts, error) {
	layoutMu.Lock()
	defer layoutMu.Unlock()
	have, err := e.loadLayouts()
	if err != nil {
		return nil, err
	}
	if len(have) == 0 && len(e.o.Share) == 0 {
		return nil, nil // it has never shared anything
	}
	// Numbers up to the last may have been sent by the layout before.
	next, changed := have.with(e.o.Bus, e.o.Share, e.bus.Last()+1, e.bus.Stats().Journal.First)
	if changed {
		if err := e.store(ctx, e.layoutsTopic(), next); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// export sends events until something fails.
func (e *Entry) export(ctx context.Context) error {
	all, err := e.layouts(ctx)
	if err != nil {
		return err
	}
	kept := e.allProgress()
	if len(kept) == 0 { // otherwise it is newer than what is stored
		if _, err := e.load(e.topic("export"), &kept); err != nil {
			e.log.Warn("reading how far events were sent failed; they are sent again where the hub has not got them", "err", err)
		}
	}
	e.keepOnly(all)
	hub, err := e.hub.Bind()
	if err != nil {
		return err
	}
	info, err := e.hub.Info(ctx)
	if err != nil {
		return err
	}
	x := &exporter{Entry: e, writer: hub, info: info, kept: kept, limit: newLimiter(e.o.Rate), maxData: info.Largest()}
	for i, l := range all {
		var shares []*shareExport
		for n := range l.Share {
			s, err := x.locate(ctx, l, n)
			var d *divergence
			if errors.As(err, &d) {
				return e.beginAgain(ctx, d)
			}
			if err != nil {
				return err
			}
			shares = append(shares, s)
		}
		ctx, cancel := context.WithCancelCause(ctx)
		var tasks sync.WaitGroup
		for _, s := range shares {
			tasks.Go(func() {
				if err := s.run(ctx); err != nil {
					cancel(err)
				}
			})
		}
		if i == len(all)-1 && l.Bus == e.o.Bus {
			tasks.Go(func() {
				if err := x.offerValues(ctx, l, shares); err != nil {
					cancel(err)
				}
			})
		}
		tasks.Wait()
		err := context.Cause(ctx)
		cancel(nil)
		if err != nil {
			return err
		}
	}
	<-ctx.Done() // nothing is shared
	return context.Cause(ctx)
}

// exporter is what the shares of one connection have in common.
type exporter struct {
	*Entry
	writer  stream.Appender
	info    stream.Info
	kept    map[string]*progress
	limit   *limiter
	maxData int
}

// encode appends a record as it travels. Its number is its sequence here; what has a meaning in this journal
// alone stays.
func (e *Entry) encode(b []byte, r *journal.Record, sent int64) []byte {
	out := *r
	out.Kind, out.ID, out.Cause = journal.KindEvent, 0, 0
	out.KeptTopic, out.Kept, out.Lane, out.Number, out.At = nil, nil, nil, 0, 0
	out.Time = sent - int64(e.age(r, sent))
	return journal.Encode(b, &out)
}

// age is how old an event is. Its time may be of a clock that was not set yet: an event of this process is
// not older than the process.
func (e *Entry) age(r *journal.Record, now int64) time.Duration {
	age := max(0, time.Duration(now-r.Time))
	if r.Seq > e.startSeq {
		age = min(age, time.Since(e.startedAt))
	}
	return age
}
