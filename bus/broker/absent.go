package broker

// This file is the clients without a connection and without a session, whose topics below
// $bus/clients stay for a while.

import (
	"container/heap"
	"slices"
	"time"
)

// absentees are clients without a session, by the time since which they are offline.
type absentees struct {
	list []absentee // a heap: the first is the oldest
	at   map[string]int
}

type absentee struct {
	id    string
	since time.Time
}

// Len implements heap.Interface.
func (a *absentees) Len() int { return len(a.list) }

// Less implements heap.Interface.
func (a *absentees) Less(i, j int) bool { return a.list[i].since.Before(a.list[j].since) }

// Swap implements heap.Interface.
func (a *absentees) Swap(i, j int) {
	a.list[i], a.list[j] = a.list[j], a.list[i]
	a.at[a.list[i].id], a.at[a.list[j].id] = i, j
}

// Push implements heap.Interface.
func (a *absentees) Push(x any) {
	e, _ := x.(absentee)
	a.at[e.id] = len(a.list)
	a.list = append(a.list, e)
}

// Pop implements heap.Interface.
func (a *absentees) Pop() any {
	last := len(a.list) - 1
	e := a.list[last]
	a.list[last] = absentee{}
	a.list = a.list[:last]
	delete(a.at, e.id)
	return e
}

func (a *absentees) has(id string) bool {
	_, ok := a.at[id]
	return ok
}

func (a *absentees) add(id string, since time.Time) {
	a.remove(id)
	heap.Push(a, absentee{id, since})
}

func (a *absentees) remove(id string) {
	if i, ok := a.at[id]; ok {
		heap.Remove(a, i)
	}
}

func (a *absentees) oldest() string { return a.list[0].id }

// knows reports whether idsAfter lists a client.
func (p *presence) knows(id string) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.absent.has(id)
}

// idsAfter lists up to n clients without a session, in the order of their identifiers.
func (p *presence) idsAfter(after string, n int) []string {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	ids := make([]string, 0, len(p.absent.list))
	for _, a := range p.absent.list {
		if a.id > after {
			ids = append(ids, a.id)
		}
	}
	p.mu.Unlock()
	slices.Sort(ids)
	return ids[:min(n, len(ids))]
}
