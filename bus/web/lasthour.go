package web

// This file counts the events that were lost in the last hour. Older losses appear only in the
// total.

import (
	"context"
	"sync"
	"time"
)

// lastHour records a counter's value every minute. The zero value is a counter that began at zero.
type lastHour struct {
	mu    sync.Mutex
	marks [60]mark // a ring
	next  int
}

type mark struct {
	at    time.Time
	total uint64
}

// note records the value; it is called every minute.
func (h *lastHour) note(now time.Time, total uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.marks[h.next] = mark{now, total}
	h.next = (h.next + 1) % len(h.marks)
}

// grown returns how much the counter grew since the newest mark that is at least an hour old: in an
// hour or up to a minute more.
func (h *lastHour) grown(now time.Time, total uint64) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var before mark
	for _, m := range h.marks {
		if now.Sub(m.at) >= time.Hour && m.at.After(before.at) {
			before = m
		}
	}
	return total - min(total, before.total)
}

// watchLosses records the number of lost events until ctx ends.
func (s *Server) watchLosses(ctx context.Context) {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			s.lost.note(now, sum(s.bus.Stats().Lost))
		case <-ctx.Done():
			return
		}
	}
}

func sum(by map[string]uint64) (n uint64) {
	for _, x := range by {
		n += x
	}
	return n
}
