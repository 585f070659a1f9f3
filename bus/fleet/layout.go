package fleet

// This file is layouts: which lane an event belongs to. A change of the bus's name or of what it shares
// begins a new layout at a number of the journal. The layouts are kept in the journal itself, so that a bus
// which sends its events again, to a hub that forgot them, puts each into the lane where it was: the buses
// that have it drop it.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/topic"
)

// Share is what a bus offers to the others.
type Share struct {
	Filter string `json:"filter"`
	Lane   int    `json:"lane,omitempty"` // how many first levels of a topic make a lane of its own, 0 to 8
}

// layout is what a bus shares from a number on.
type layout struct {
	From  uint64  `json:"from"`
	Again int     `json:"again,omitempty"` // how often the journal lost events that were on the hub
	Bus   string  `json:"bus"`
	Share []Share `json:"share"`

	until    uint64 // the number at which the next layout begins; 0: it is the newest
	id       string
	patterns []topic.Pattern
}

// layouts are those of a fleet, oldest first.
type layouts []*layout

// decodeLayouts reads the JSON of a list; nothing is no layout.
func decodeLayouts(b []byte) (layouts, error) {
	var l layouts
	if len(b) > 0 {
		if err := json.Unmarshal(b, &l); err != nil {
			return nil, fmt.Errorf("the layouts of the fleet: %w", err)
		}
	}
	l.prepare()
	return l, nil
}

func (l layouts) prepare() {
	for i, a := range l {
		text, _ := json.Marshal(a) // strings and numbers always encode
		sum := sha256.Sum256(text)
		a.id, a.until, a.patterns = hex.EncodeToString(sum[:5]), 0, nil
		for _, s := range a.Share {
			a.patterns = append(a.patterns, topic.Compile(s.Filter))
		}
		if i > 0 {
			l[i-1].until = a.From
		}
	}
}

// with returns the layouts with one for a bus's name and its shares as the newest, which begins at the number from, unless
// the newest is that already. Those that end before first, the oldest number of the journal, are left out.
func (l layouts) with(name string, share []Share, from, first uint64) (next layouts, changed bool) {
	if n := len(l); n > 0 && slices.Equal(l[n-1].Share, share) && (l[n-1].Bus == name || len(share) == 0) {
		return l, false
	}
	return l.and(&layout{From: from, Bus: name, Share: share}, first), true
}

// again returns the layouts with the newest once more, from a number on: the hub has other events with the
// numbers from there.
func (l layouts) again(from, first uint64) layouts {
	newest := l[len(l)-1]
	n := &layout{From: from, Bus: newest.Bus, Share: newest.Share}
	for _, a := range l {
		n.Again = max(n.Again, a.Again+1)
	}
	return l.and(n, first)
}

// and returns the layouts with another one as the newest.
func (l layouts) and(newest *layout, first uint64) (next layouts) {
	for _, a := range l {
		if a.until == 0 || a.until > first {
			next = append(next, &layout{From: a.From, Again: a.Again, Bus: a.Bus, Share: a.Share})
		}
	}
	from := newest.From
	for len(next) > 0 && next[len(next)-1].From >= from { // it never began
		next = next[:len(next)-1]
	}
	next = append(next, newest)
	if len(next) > maxLayouts {
		next = next[len(next)-maxLayouts:]
	}
	next.prepare()
	return next
}

// maxLayouts bounds the list, for a config that changes all the time.
const maxLayouts = 64

// name is the first token of the lanes of a share.
func (l *layout) name(share int) string { return l.id + "-" + strconv.Itoa(share) }

// shareOf returns the first share that matches a topic; -1 when there is none.
func (l *layout) shareOf(name []byte) int {
	return slices.IndexFunc(l.patterns, func(p topic.Pattern) bool { return p.Match(name) })
}

// lane returns the lane of a topic in a share.
func (l *layout) lane(share int, name string) string {
	return laneName(l.name(share), l.Share[share].Lane, name)
}

// Leave ends what this bus shares with the fleets that it is no member of any more, from the next event on:
// if it comes back, it shares what is published then.
func Leave(ctx context.Context, b *bus.Bus, member func(fleet string) bool) error {
	var left []string
	err := b.RetainedTopics(bus.KeptPrefix+"fleet/+/layouts", "", func(name string, _ int) bool {
		if fleet := strings.Split(name, "/")[2]; !member(fleet) {
			left = append(left, fleet)
		}
		return true
	})
	for _, fleet := range left {
		e := New(b, nil, Options{Fleet: fleet})
		if _, lerr := e.layouts(ctx); lerr != nil {
			err = errors.Join(err, fmt.Errorf("leaving the fleet %s: %w", fleet, lerr))
		}
	}
	return err
}
