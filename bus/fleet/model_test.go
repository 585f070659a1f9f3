package fleet

// This file is a model of a hub: a stream with faults, in virtual time. The tests of package stream show that
// a real hub does what it does.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/bus/fleet/stream"
)

// modelHub is a stream in memory.
type modelHub struct {
	mu       sync.Mutex
	rnd      *rand.Rand
	up       bool
	created  time.Time
	first    uint64
	msgs     []stream.Message // their sequences follow each other from first on
	changed  chan struct{}    // closed when something changed
	keepsFor time.Duration    // what Info says; 0: four minutes
	resets   int              // how often readers have to look at their place
	asked    map[string]func(string, []byte) []byte
}

func newModelHub(seed uint64) *modelHub {
	return &modelHub{rnd: rand.New(rand.NewPCG(seed, 7)), up: true, created: time.Now(), first: 1, changed: make(chan struct{}), asked: map[string]func(string, []byte) []byte{}}
}

func (h *modelHub) lastLocked() uint64 { return h.first + uint64(len(h.msgs)) - 1 }

func (h *modelHub) changeLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// kill ends the hub; what it forgets are its newest messages.
func (h *modelHub) kill(forget int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.up = false
	h.resets++
	h.msgs = h.msgs[:len(h.msgs)-min(forget, len(h.msgs))]
	h.changeLocked()
}

func (h *modelHub) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.up = true
	h.changeLocked()
}

// wipe replaces the stream by an empty one.
func (h *modelHub) wipe() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.msgs, h.first, h.created = nil, 1, time.Now()
	h.resets++
	h.changeLocked()
}

// expire removes the oldest n messages.
func (h *modelHub) expire(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n = min(n, len(h.msgs))
	h.msgs, h.first = h.msgs[n:], h.first+uint64(n)
}

func (h *modelHub) last(subject string) (m stream.Message, ok bool) {
	for i := len(h.msgs) - 1; i >= 0; i-- {
		if h.msgs[i].Subject == subject {
			return h.msgs[i], true
		}
	}
	return m, false
}

// link is a bus's connection to the hub.
type link struct {
	hub  *modelHub
	mu   sync.Mutex
	down bool
	rnd  *rand.Rand
	slow time.Duration // the longest way to the hub and back
	lose int           // of 1,000 answers
}

func newLink(h *modelHub, seed uint64) *link {
	return &link{hub: h, rnd: rand.New(rand.NewPCG(seed, 9)), slow: 40 * time.Millisecond}
}

var errOffline = errors.New("the hub can't be reached")

// way takes the time of half a round trip, and fails if the link or the hub is down.
func (l *link) way(ctx context.Context) error {
	l.mu.Lock()
	d, down := time.Duration(1+l.rnd.Int64N(int64(l.slow)))/2, l.down
	l.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return ctx.Err()
	}
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if down || !l.hub.up {
		return errOffline
	}
	return nil
}

func (l *link) cut(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
}

func seldom(l *link) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rnd.IntN(2) == 0
}

func (l *link) loses() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rnd.IntN(1000) < l.lose
}

// bound appends as long as the hub has not been restarted.
type bound struct {
	*link
	resets int
}

func (l *link) Bind() (stream.Appender, error) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	return &bound{l, l.hub.resets}, nil
}

func (b *bound) Last(ctx context.Context, subject string) (m stream.Message, ok bool, err error) {
	fresh := false
	m, ok, err = get(ctx, b.link, func() (stream.Message, bool) {
		fresh = b.resets == b.hub.resets
		return b.hub.last(subject)
	})
	if err == nil && !fresh {
		err = stream.ErrRestarted
	}
	return m, ok, err
}

func (b *bound) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	data = append([]byte(nil), data...)
	if err := b.way(ctx); err != nil {
		if errors.Is(err, errOffline) || seldom(b.link) {
			return 0, err
		}
		// The client is gone, and its message arrives later.
		time.AfterFunc(2*time.Second, func() { _, _ = b.hub.append(subject, expect, data, b.resets) })
		return 0, err
	}
	seq, err := b.hub.append(subject, expect, data, b.resets)
	if b.loses() {
		return 0, errors.New("the answer was lost")
	}
	if werr := b.way(ctx); werr != nil {
		return 0, werr
	}
	return seq, err
}

func (h *modelHub) append(subject string, expect uint64, data []byte, resets int) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.up {
		return 0, errOffline
	}
	if h.resets != resets {
		return 0, stream.ErrRestarted
	}
	m, _ := h.last(subject)
	if m.Seq != expect {
		return 0, &stream.Conflict{Subject: subject, Expected: expect, Last: m.Seq, Pending: h.rnd.IntN(5) == 0}
	}
	n := stream.Message{Seq: h.lastLocked() + 1, Subject: subject, Data: data, Stored: time.Now()}
	h.msgs = append(h.msgs, n)
	h.changeLocked()
	return n.Seq, nil
}

// get is a question to the hub.
func get[T any](ctx context.Context, l *link, f func() (T, bool)) (v T, ok bool, err error) {
	if err = l.way(ctx); err != nil {
		return v, false, err
	}
	l.hub.mu.Lock()
	v, ok = f()
	l.hub.mu.Unlock()
	return v, ok, l.way(ctx)
}

func (l *link) Last(ctx context.Context, subject string) (stream.Message, bool, error) {
	return get(ctx, l, func() (stream.Message, bool) { return l.hub.last(subject) })
}

func (l *link) At(ctx context.Context, seq uint64) (stream.Message, bool, error) {
	return get(ctx, l, func() (m stream.Message, ok bool) { return l.hub.atLocked(seq) })
}

func (h *modelHub) atLocked(seq uint64) (m stream.Message, ok bool) {
	if seq < h.first || seq > h.lastLocked() {
		return m, false
	}
	return h.msgs[seq-h.first], true
}

func (l *link) Info(ctx context.Context) (stream.Info, error) {
	info, _, err := get(ctx, l, func() (stream.Info, bool) {
		return stream.Info{First: l.hub.first, Last: l.hub.lastLocked(), Now: time.Now(), Created: l.hub.created,
			MaxPayload: 1 << 20, Shape: stream.Shape{MaxMessage: 1 << 20, MaxAge: cmp.Or(l.hub.keepsFor, 4*time.Minute)}}, true
	})
	return info, err
}

func matchSubject(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, t := range f {
		switch {
		case t == ">":
			return len(s) > i
		case i >= len(s) || t != "*" && t != s[i]:
			return false
		}
	}
	return len(f) == len(s)
}

func (l *link) LastPerSubject(ctx context.Context, filter string, upTo uint64, each func(stream.Message) error) error {
	found, _, err := get(ctx, l, func() ([]stream.Message, bool) {
		lasts := map[string]int{}
		for i, m := range l.hub.msgs {
			if matchSubject(filter, m.Subject) && (upTo == 0 || m.Seq <= upTo) {
				lasts[m.Subject] = i
			}
		}
		var found []stream.Message
		for i, m := range l.hub.msgs {
			if j, ok := lasts[m.Subject]; ok && i == j {
				found = append(found, m)
			}
		}
		return found, true
	})
	if err != nil {
		return err
	}
	for _, m := range found {
		if err := each(m); err != nil {
			return err
		}
	}
	return nil
}

type modelReader struct {
	l      *link
	next   uint64
	filter string
	resets int
}

func (l *link) Read(ctx context.Context, from uint64, subjects ...string) (Reader, error) {
	r, _, err := get(ctx, l, func() (*modelReader, bool) {
		return &modelReader{l: l, next: from, filter: subjects[0], resets: l.hub.resets}, true
	})
	return r, err
}

func (r *modelReader) Close() {}

func (l *link) Close() {}

func (l *link) Connected() (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if l.down || !l.hub.up {
		return false, errOffline
	}
	return true, nil
}

func (l *link) WaitConnected(ctx context.Context) error {
	for {
		if ok, _ := l.Connected(); ok {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *modelReader) Next(ctx context.Context) (stream.Message, error) {
	for {
		if err := r.l.way(ctx); err != nil && !errors.Is(err, errOffline) {
			return stream.Message{}, err
		}
		h := r.l.hub
		h.mu.Lock()
		changed := h.changed
		up := h.up && !r.isDown()
		if up && r.resets != h.resets {
			r.resets = h.resets
			h.mu.Unlock()
			return stream.Message{}, stream.ErrRestarted
		}
		if up {
			r.next = max(r.next, h.first)
			for r.next <= h.lastLocked() {
				m := h.msgs[r.next-h.first]
				r.next++
				if matchSubject(r.filter, m.Subject) {
					h.mu.Unlock()
					return m, nil
				}
			}
		}
		h.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return stream.Message{}, ctx.Err()
		}
	}
}

func (r *modelReader) isDown() bool {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	return r.l.down
}

func (l *link) Ask(ctx context.Context, subject string, data []byte) ([]byte, error) {
	f, ok, err := get(ctx, l, func() (func(string, []byte) []byte, bool) {
		f := l.hub.asked[subject]
		return f, f != nil
	})
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, stream.ErrNobody
	}
	if b := f(subject, data); b != nil {
		return b, nil
	}
	return nil, stream.ErrNobody
}

func (l *link) Listen(subject string, answer func(string, []byte) []byte) (func(), error) {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	mine := func(s string, d []byte) []byte {
		if l.way(context.Background()) != nil {
			return nil
		}
		return answer(s, d)
	}
	if h.asked[subject] == nil {
		h.asked[subject] = mine
		return func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.asked, subject)
		}, nil
	}
	return func() {}, nil
}

func (h *modelHub) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprintf("stream of %s, %d to %d", h.created.Format(time.TimeOnly), h.first, h.lastLocked())
}
