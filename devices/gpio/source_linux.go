// This file is the source: it requests lines, or takes them over, and makes events of their edges.

package gpio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// checkInterval is how often a source checks that its chip still exists, in addition to the
// kernel's notifications, which not every container receives.
const checkInterval = 30 * time.Second

func (o Options) setting() setting {
	s := setting{flags: flagInput, debounce: o.Debounce}
	if o.Edge != "falling" {
		s.flags |= flagRising
	}
	if o.Edge != "rising" {
		s.flags |= flagFalling
	}
	switch o.Pull {
	case "none":
		s.flags |= flagPullNone
	case "up":
		s.flags |= flagPullUp
	case "down":
		s.flags |= flagPullDown
	}
	if o.ActiveLow {
		s.flags |= flagActiveLow
	}
	return s
}

// Open requests the lines, or takes them over from this plugin's previous source. An error says
// which chips and lines exist, who holds a line, or who may open a chip.
func (s *Source) Open(context.Context) error {
	s.watch = newWatch() // before the chip is opened, so that no removal is missed
	var slots []*slot
	for _, key := range s.o.Claims() {
		held, release, err := s.env.Hold(key, func() (io.Closer, error) { return &slot{}, nil })
		if err != nil {
			return err
		}
		s.releases = append(s.releases, release)
		sl, ok := held.(*slot)
		if !ok {
			return errNotSlot
		}
		slots = append(slots, sl)
	}
	if s.r = same(slots); s.r != nil {
		_, gone := s.r.values()
		if gone == nil && s.r.change(s.o.setting()) == nil {
			return nil
		}
	}
	for _, sl := range slots {
		_ = sl.Close() // the request also holds other lines
		sl.r = nil
	}
	c, lines, err := find(s.dev, s.o.Chip, s.o.lines())
	if err != nil {
		return err
	}
	defer c.f.Close()
	if s.r, err = c.hold(lines, s.o.setting(), s.consumer); err != nil {
		return err
	}
	for _, sl := range slots {
		sl.r = s.r
	}
	s.fresh = true
	return nil
}

// same returns the request that is in all the slots and holds no other line; nil when there is
// none.
func same(slots []*slot) *request {
	for _, sl := range slots {
		if sl.r == nil || sl.r != slots[0].r || len(sl.r.lines) != len(slots) {
			return nil
		}
	}
	return slots[0].r
}

// Close releases the lines, unless the next source holds them.
func (s *Source) Close() error {
	for _, release := range s.releases {
		release()
	}
	s.releases = nil
	if s.watch != nil {
		s.watch.close()
		s.watch = nil
	}
	return nil
}

// Stream posts edges or counts until ctx ends or the chip is removed.
func (s *Source) Stream(ctx context.Context, p kind.Post) error {
	wake := func() { _ = s.r.f.SetReadDeadline(time.Unix(1, 0)) } // fails only when closed
	defer kind.Interrupt(ctx, wake)()                             // then the next source may set another deadline
	s.watch.start(wake)
	defer s.watch.close()
	if s.o.Count != nil {
		return s.count(ctx, p)
	}
	if s.o.Initial && s.fresh {
		if err := s.initial(ctx, p); err != nil {
			return err
		}
	}
	for {
		for i, e := range s.r.pending {
			if err := s.edge(ctx, p, e); err != nil {
				s.r.pending = s.r.pending[i:] // left to the next source
				return nil
			}
		}
		s.r.pending = s.r.pending[:0]
		if err := s.wait(ctx, s.pause()); err != nil || ctx.Err() != nil {
			return err
		}
		s.compare()
	}
}

// wait reads edges, at most until a time. It returns nil when ctx ends; pending then holds the
// edges read.
func (s *Source) wait(ctx context.Context, until time.Time) error {
	if err := kind.ReadUntil(ctx, s.r.f, until); ctx.Err() != nil {
		return nil
	} else if err != nil {
		return err
	}
	if !s.watch.changed() {
		switch err := s.r.read(); {
		case ctx.Err() != nil || err == nil:
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return s.gone(err)
		}
	}
	if _, err := s.r.values(); err != nil {
		return s.gone(err)
	}
	return nil
}

// pause returns until when to wait for edges.
func (s *Source) pause() time.Time {
	if s.r.audit.due {
		return time.Now().Add(quietTime)
	}
	return time.Now().Add(checkInterval)
}

// compare looks for merged edges while no edges arrive.
func (s *Source) compare() {
	if len(s.r.pending) > 0 {
		s.r.audit.edges()
	} else if s.r.audit.due {
		merged := s.r.audit.check(s.r.edges)
		s.env.Lost(int(merged), "edges so close together that the kernel merged them")
		s.r.unreported += merged
	}
}

func (s *Source) gone(err error) error {
	return fmt.Errorf("the chip %s of %s is gone: %w", s.r.chip, lineList(s.r.lines), err)
}

// initial posts the lines' values.
func (s *Source) initial(ctx context.Context, p kind.Post) error {
	bits, err := s.r.values()
	if err != nil {
		return s.gone(err)
	}
	now := time.Now()
	for i, l := range s.r.lines {
		f := s.fields(l.offset, now)
		f["value"], f["edge"], f["seq"], f["line_seq"], f["lost"] = int(bits>>i&1), "initial", int64(0), int64(0), int64(0)
		if err := p(ctx, now, f, nil); err != nil {
			return nil
		}
	}
	return nil
}

// edge posts an edge.
func (s *Source) edge(ctx context.Context, p kind.Post, e edge) error {
	seen := s.r.tallies[e.offset].seen
	lost := seen.before(e.lineSeq)
	f := s.fields(e.offset, e.at)
	f["value"], f["edge"] = 0, "falling"
	if e.rising {
		f["value"], f["edge"] = 1, "rising"
	}
	f["seq"], f["line_seq"], f["lost"] = int64(e.seq), int64(e.lineSeq), lost+s.r.unreported
	if err := p(ctx, e.at, f, nil); err != nil {
		return err
	}
	s.r.tallies[e.offset].seen = seen
	s.r.edges += 1 + lost
	s.r.unreported = 0
	if lost > 0 {
		s.env.Lost(int(lost), "edges were faster than the bus accepted them")
	}
	return nil
}

// fields returns the fields that every event has.
func (s *Source) fields(offset int, at time.Time) map[string]any {
	return map[string]any{"line": s.r.name(offset), "offset": offset, "chip": s.r.chip, "time": at.UTC().Format(time.RFC3339Nano),
		"value": nil, "edge": nil, "seq": nil, "line_seq": nil, "lost": int64(0), "count": nil, "total": nil, "hz": nil}
}

// count posts the number of edges at each interval.
func (s *Source) count(ctx context.Context, p kind.Post) error {
	next := time.Now().Add(s.o.Count.Every)
	for {
		err := s.wait(ctx, earlier(next, s.pause()))
		s.compare()
		for _, e := range s.r.pending {
			s.r.edges += s.r.tallies[e.offset].add(e)
		}
		s.r.pending = s.r.pending[:0]
		if err != nil || ctx.Err() != nil {
			return err
		}
		if time.Now().Before(next) {
			continue
		}
		for _, l := range s.r.lines {
			t := *s.r.tallies[l.offset]
			n, hz := t.report()
			f := s.fields(l.offset, next)
			f["count"], f["total"], f["line_seq"], f["hz"] = n, t.total, int64(t.seen.last), hz
			if err := p(ctx, next, f, nil); err != nil {
				return nil // the next source continues the count
			}
			*s.r.tallies[l.offset] = t
		}
		next = kind.NextTick(next, s.o.Count.Every) // the bus may have been busy for longer than an interval
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
