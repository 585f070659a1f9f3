// This file remembers answers, within bounds.

package hook

import (
	"container/list"
	"time"
)

// recent is the newest results, by the sums of their logins.
type recent struct {
	maxCount, maxBytes int

	items map[[32]byte]*list.Element
	order list.List // of *item, the oldest first
	bytes int
}

type item struct {
	sum [32]byte
	res result
	at  time.Time
}

func newRecent(maxCount, maxBytes int) *recent {
	return &recent{maxCount: maxCount, maxBytes: maxBytes, items: map[[32]byte]*list.Element{}}
}

// get returns a result that is not older than age, and whose login has not ended.
func (r *recent) get(sum [32]byte, now time.Time, age time.Duration) (result, bool) {
	e := r.items[sum]
	if e == nil {
		return result{}, false
	}
	i := e.Value.(*item)
	until := i.res.answer.Until
	if now.Sub(i.at) >= age || !until.IsZero() && !now.Before(until) {
		return result{}, false
	}
	return i.res, true
}

func (r *recent) put(sum [32]byte, res result, now time.Time) {
	r.remove(sum)
	r.items[sum] = r.order.PushBack(&item{sum, res, now})
	r.bytes += res.answer.size()
	for r.order.Len() > r.maxCount || r.bytes > r.maxBytes {
		r.remove(r.order.Front().Value.(*item).sum)
	}
}

func (r *recent) remove(sum [32]byte) {
	e := r.items[sum]
	if e == nil {
		return
	}
	r.bytes -= e.Value.(*item).res.answer.size()
	r.order.Remove(e)
	delete(r.items, sum)
}
