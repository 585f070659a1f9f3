package bus

// This file bounds what clients can make the bus keep in memory and on disk. A limit refuses what is
// new; what is stored stays, also when a limit is lowered. The retained values of events that are on
// their way to the disk are not counted yet, so that a limit can be passed by what is in flight.

import (
	"bytes"
	"cmp"
	"fmt"
	"time"

	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

// The limits' keys in a config file.
const (
	LimitTopicLevels      = "limits.topic_levels"
	LimitSubscriptions    = "limits.subscriptions"
	LimitSubscriptionSize = "limits.subscription_size"
	LimitSessions         = "limits.sessions"
	LimitWillSize         = "limits.will_size"
	LimitRetained         = "limits.retained"
	LimitRetainedSize     = "limits.retained_size"
)

// Limits are the options that can change while the bus runs.
type Limits struct {
	RetentionAge   time.Duration // how long events are kept after all sessions have them; 24 h when 0, not at all when negative
	RetentionSize  int64         // bytes that are kept after all sessions have them; 1 GiB when 0, none when negative
	SessionBacklog uint64        // events a session may lag behind before it loses the oldest; 0: no limit
	MaxPayload     int           // bytes of one event; 1 MiB when 0
	MinFree        int64         // below this many free bytes on the disk no event is accepted; 0: no limit

	TopicLevels      int   // of a topic name or filter; 128 when 0
	Subscriptions    int   // of one session; 1,000 when 0
	SubscriptionSize int64 // bytes of memory of all sessions' subscriptions; 64 MiB when 0
	Sessions         int   // of clients, connected or not; 100,000 when 0
	WillSize         int64 // bytes of memory of all last wills; 64 MiB when 0
	Retained         int   // retained values; 250,000 when 0
	RetainedSize     int64 // bytes of their topics and payloads; 256 MiB when 0. Topics, which are in memory, may take an eighth
}

// LimitError says which limit refuses something.
type LimitError struct {
	Key string // one of the constants Limit…
	Max int64
}

func (e *LimitError) Error() string {
	switch e.Key {
	case LimitTopicLevels:
		return fmt.Sprintf("it has more levels than the %d of %s", e.Max, e.Key)
	case LimitSubscriptions:
		return fmt.Sprintf("the session has the %d subscriptions of %s", e.Max, e.Key)
	case LimitSubscriptionSize:
		return fmt.Sprintf("all subscriptions take the %d bytes of %s", e.Max, e.Key)
	case LimitSessions:
		return fmt.Sprintf("there are the %d sessions of %s", e.Max, e.Key)
	case LimitWillSize:
		return fmt.Sprintf("all last wills take the %d bytes of %s", e.Max, e.Key)
	case LimitRetained:
		return fmt.Sprintf("there are the %d retained values of %s", e.Max, e.Key)
	}
	return fmt.Sprintf("the retained values would exceed the %d bytes of %s", e.Max, e.Key)
}

// withDefaults fills in what is 0.
func (l Limits) withDefaults() Limits {
	l.RetentionAge, l.RetentionSize = cmp.Or(l.RetentionAge, 24*time.Hour), cmp.Or(l.RetentionSize, 1<<30)
	l.RetentionAge, l.RetentionSize = max(0, l.RetentionAge), max(0, l.RetentionSize)
	l.MaxPayload = cmp.Or(l.MaxPayload, 1<<20)
	l.TopicLevels = cmp.Or(l.TopicLevels, 128)
	l.Subscriptions, l.SubscriptionSize = cmp.Or(l.Subscriptions, 1000), cmp.Or(l.SubscriptionSize, 64<<20)
	l.Sessions, l.WillSize = cmp.Or(l.Sessions, 100_000), cmp.Or(l.WillSize, 64<<20)
	l.Retained, l.RetainedSize = cmp.Or(l.Retained, 250_000), cmp.Or(l.RetainedSize, 256<<20)
	return l
}

// SetLimits replaces the limits while the bus runs.
func (b *Bus) SetLimits(l Limits) {
	l = l.withDefaults()
	b.limits.Store(&l)
	b.journal.SetMinFree(l.MinFree)
}

// Limits returns the current limits, with their defaults filled in.
func (b *Bus) Limits() Limits { return *b.limits.Load() }

// admit returns a *LimitError when an event would pass a limit.
func (b *Bus) admit(r *journal.Record) error {
	l := b.limits.Load()
	if bytes.Count(r.Topic, slash) >= l.TopicLevels {
		return b.refuse(LimitTopicLevels, int64(l.TopicLevels))
	}
	if r.Flags&flagRetain == 0 || len(r.Payload) == 0 || isKept(r.Topic) {
		return nil
	}
	if key, limit := b.retained.full(r, l); key != "" {
		return b.refuse(key, limit)
	}
	return nil
}

var slash = []byte{'/'}

// refuse counts a refusal and returns its error.
func (b *Bus) refuse(key string, limit int64) error {
	b.reportMu.Lock()
	defer b.reportMu.Unlock()
	b.refusals[key]++
	return &LimitError{key, limit}
}

// Reached lists the keys of the limits that are reached, so that what is new is refused.
func (b *Bus) Reached() []string {
	l := b.limits.Load()
	b.retained.mu.RLock()
	n := b.retained.clients
	retained, size := n.count >= l.Retained, n.size() >= l.RetainedSize || n.topics >= l.RetainedSize/8
	b.retained.mu.RUnlock()
	var keys []string
	for _, c := range []struct {
		key     string
		reached bool
	}{
		{LimitSubscriptionSize, b.subscriptionSize.Load() >= l.SubscriptionSize},
		{LimitSessions, b.sessionCount() >= l.Sessions},
		{LimitWillSize, b.willSize.Load() >= l.WillSize},
		{LimitRetained, retained},
		{LimitRetainedSize, size},
	} {
		if c.reached {
			keys = append(keys, c.key)
		}
	}
	return keys
}

// full returns the limit that a new value would pass; "" when there is none. A value that replaces
// another counts with what it adds.
func (t *retainedSet) full(r *journal.Record, l *Limits) (key string, limit int64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := &t.clients
	size, topics := int64(len(r.Topic)+len(r.Payload)), int64(len(r.Topic))
	if n.count < l.Retained && n.size()+size <= l.RetainedSize && n.topics+topics <= l.RetainedSize/8 {
		return "", 0
	}
	if len(t.blocks) > 0 {
		b := t.blocks[t.blockOf(r.Topic)]
		if i, found := b.find(r.Topic); found {
			if grows := int64(len(r.Payload)) - int64(b.values[i].size); grows <= 0 || n.size()+grows <= l.RetainedSize {
				return "", 0
			}
			return LimitRetainedSize, l.RetainedSize
		}
	}
	if n.count >= l.Retained {
		return LimitRetained, int64(l.Retained)
	}
	return LimitRetainedSize, l.RetainedSize
}

// refusals returns for each filter the *LimitError that refuses it, or nil. Filters that the session
// has already are not counted twice.
func (s *Session) refusals(filters []Filter) []error {
	l := s.bus.limits.Load()
	errs := make([]error, len(filters))
	s.mu.Lock()
	s.pruneLocked()
	all, active := len(s.subs), s.activeLocked()
	s.mu.Unlock()
	n := len(active)
	// Filters that were removed or replaced are kept until the cursor has passed them.
	most := 2*l.Subscriptions + 16
	size := s.bus.subscriptionSize.Load()
	for i, f := range filters {
		if topic.Levels(topic.Inner(f.Filter)) > l.TopicLevels {
			errs[i] = s.bus.refuse(LimitTopicLevels, int64(l.TopicLevels))
			continue
		}
		_, again := active[f.Filter]
		cost := subscriptionCost(f.Filter)
		switch {
		case n >= l.Subscriptions && !again, all >= most:
			errs[i] = s.bus.refuse(LimitSubscriptions, int64(l.Subscriptions))
			continue
		case size+cost > l.SubscriptionSize && !again:
			errs[i] = s.bus.refuse(LimitSubscriptionSize, l.SubscriptionSize)
			continue
		}
		all, size = all+1, size+cost
		if !again {
			n++
		}
	}
	return errs
}

func (b *Bus) sessionCount() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.sessions)
}

// subscriptionCost is the memory of a subscription and of its part of the index, in bytes.
func subscriptionCost(filter string) int64 { return 600 + 2*int64(len(filter)) }
