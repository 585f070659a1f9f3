package plugins

// This file is "rate: 1/10s": a bucket that holds n events and fills in the given time.

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postbus/postbus/config/yamlnode"
)

const rateForm = `write it as 5/s, 1/10s or 100/1m`

func parseRate(s string) (*rateSpec, error) {
	count, per, ok := strings.Cut(s, "/")
	n, err := strconv.Atoi(strings.TrimSpace(count))
	if !ok || err != nil || n < 1 || n > 1_000_000 {
		return nil, fmt.Errorf("%q is not a rate", s)
	}
	per = strings.TrimSpace(per)
	if per != "" && !strings.ContainsAny(per[:1], "0123456789") {
		per = "1" + per
	}
	d, err := yamlnode.ParseDuration(per)
	if err != nil || d < time.Millisecond || d > 366*24*time.Hour {
		return nil, fmt.Errorf("%q is not a rate", s)
	}
	return &rateSpec{n, d}, nil
}

// early is the fraction of an event's wait that may be missing. A timer of 10s sometimes fires
// slightly early, and 1/10s would drop every other tick.
const early = 0.05

// bucket is the state of a rate.
type bucket struct {
	tokens float64
	begun  bool
	at     time.Duration // since the machine's start
}

// take reports whether one more event is within the rate. Events that arrive out of order count as
// simultaneous.
func (b *bucket) take(r *rateSpec, now time.Duration) bool {
	if !b.begun {
		b.tokens, b.begun, b.at = float64(r.n), true, now
	} else if d := now - b.at; d > 0 {
		b.tokens = min(float64(r.n), b.tokens+float64(r.n)*float64(d)/float64(r.per))
		b.at = now
	}
	if b.tokens < 1-early {
		return false
	}
	b.tokens-- // may become negative: the next wait is that much longer
	return true
}

// wait returns how long the next event has to wait.
func (b *bucket) wait(r *rateSpec) time.Duration {
	missing := 1 - b.tokens
	return max(0, time.Duration(missing*float64(r.per)/float64(r.n)))
}
