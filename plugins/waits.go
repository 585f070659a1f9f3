package plugins

// This file is how the engine waits, and what it does when a timer is due.

import (
	"reflect"
	"time"

	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/internal/clock"
)

// wait starts a wait, or continues one.
func (e *engine) wait(st *ruleState, k *keyState, v *expr.Vars, in input, el timer) {
	r, t := st.rule, &k.timers[waitTimer]
	if r.wait.kind == waitFor && t.phase == timerFired {
		st.tell("it acted already, and the condition still holds")
		return
	}
	recovered := r.wait.recover && t.phase == timerFired
	since, fired := t.since, t.due
	next := r.later(v, in.from, el)
	next.since, next.due = in.at.Wall, in.at.Add(r.wait.d)
	if r.wait.kind == waitFor && t.phase == timerArmed {
		next.since, next.due = t.since, t.due
		if reflect.DeepEqual(t.event, next.event) && reflect.DeepEqual(t.item, next.item) {
			st.waits("waits on", next.due.Wall) // nothing that must be stored has changed
			return
		}
	}
	e.alarms.arm(k, waitTimer, next)
	e.change(k)
	st.waits(r.wait.text, next.due.Wall)
	if recovered {
		v.Named = el.named(map[string]any{"since": since, "held": in.at.Up - (fired.Up - r.wait.d), "recovered": true})
		e.act(st, k, v, in.from, in.at.Wall, false)
	}
}

// later is a timer for an event, or for its element el of "each", with what the outcome needs.
func (r *rule) later(v *expr.Vars, from origin, el timer) timer {
	return timer{event: selected(v.Event, r.laterFields, r.laterWhole), item: el.item, index: el.index, each: el.each, from: from}
}

// expect arms the timer of an entry that waits from the start on.
func (e *engine) expect(st *ruleState, now clock.Instant) {
	k := e.key(st, "", now)
	if t := &k.timers[waitTimer]; t.phase == timerIdle {
		e.alarms.arm(k, waitTimer, timer{since: now.Wall, due: now.Add(st.rule.wait.d), from: origin{hops: 1}})
		e.change(k)
	}
}

// named adds the element of "each" to variables.
func (t *timer) named(names map[string]any) map[string]any {
	if t.each {
		names["item"], names["index"] = t.item, int64(t.index)
	}
	return names
}

// due folds the first timer that is due. ok: there was one.
func (e *engine) due(now clock.Instant, v *expr.Vars) (st *ruleState, list []outcome, ok bool) {
	if up, ok := e.alarms.next(); !ok || up > now.Up {
		return nil, nil, false
	}
	first := e.alarms[0]
	e.list, e.at = e.list[:0], now
	e.fire(first.key, first.slot, now, v)
	e.settle()
	return first.key.entry, e.list, true
}

// lateFrom is the delay from which a timer counts as late.
const lateFrom = time.Second

// fire acts for a timer that is due. Of v, the state is that after the outcome.
func (e *engine) fire(k *keyState, slot int, now clock.Instant, v *expr.Vars) {
	t := k.timers[slot]
	st, r := k.entry, k.rule
	e.alarms.disarm(k, slot)
	if slot == waitTimer && (r.wait.kind == waitFor || r.wait.kind == waitSilent) {
		next := &k.timers[slot]
		next.phase, next.due, next.since = timerFired, t.due, t.since
	}
	e.change(k)
	later := *v
	later.Now, later.Event, later.Last, later.Own, later.Key = now.Wall, t.event, k.last, k.own, k.key
	if later.Event == nil {
		later.Event = map[string]any{}
	}
	later.Named = t.named(map[string]any{})
	late := now.Up - t.due.Up
	if slot == waitTimer {
		held := r.wait.d
		if late >= lateFrom {
			later.Named["late"] = late.Round(time.Second)
			held += late.Round(time.Second)
		}
		if r.wait.kind == waitWindow {
			figures := e.close(k, &t, now)
			if figures == nil {
				return
			}
			later.Named["window"] = figures
		} else {
			later.Named["since"], later.Named["held"] = t.since, held
		}
		if r.wait.kind == waitSilent {
			later.Named["recovered"] = false
		}
	}
	st.at, st.seen, st.seenLast, st.seenState, st.err = now.Wall, later.Event, k.last, v.State, nil
	from := t.from
	from.timed = true
	e.act(st, k, &later, from, now.Wall.Add(-late), slot == rateTimer)
	v.State = later.State
}
