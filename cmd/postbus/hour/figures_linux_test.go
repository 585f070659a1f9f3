package hour

// This file is the figures of a run.

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

func (h *hour) line() string {
	h.ledger.mu.Lock()
	defer h.ledger.mu.Unlock()
	var delivered, again, missing, told uint64
	for _, a := range h.ledger.accounts {
		delivered, again, missing, told = delivered+a.events, again+a.again, missing+a.missing, told+a.toldOf()
	}
	return fmt.Sprintf("%d kills, %d stops, %d events acknowledged, %d refused, %d delivered (%d again), %d missed, told of %d, %d MiB",
		h.bus.kills, h.bus.stops, h.ledger.acked, h.ledger.refused, delivered, again, missing, told, h.bus.most)
}

func (h *hour) report(took time.Duration) {
	starts := slices.Sorted(slices.Values(h.bus.starts))
	if len(starts) == 0 {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d clients (%d publishers, %d durable sessions), %d logins (%d refused), %d takeovers, %d dropped connections\n",
		len(h.pubs)+len(h.subs)+len(h.pubs)*6/10, len(h.pubs), len(h.subs), h.logins.Load(), h.refused.Load(), h.takeover.Load(), h.drops.Load())
	fmt.Fprintln(&b, h.line())
	fmt.Fprintf(&b, "the disk was full %d times, %.1f s in all; %d segments damaged; changes: %v\n", h.fulls, h.full.Seconds(), h.damages, h.changes)
	fmt.Fprintf(&b, "%d starts, median %d ms, longest %d ms; everybody had everything after %.1f s at most\n",
		len(starts), starts[len(starts)/2].Milliseconds(), starts[len(starts)-1].Milliseconds(), h.slowest.Seconds())
	fmt.Fprintf(&b, "%d balances in %.0f s: nothing is unaccounted for", h.balances, took.Seconds())
	if h.t.Failed() {
		fmt.Fprint(&b, " before the failure")
	}
	h.t.Log(b.String())
}
