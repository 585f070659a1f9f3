package plugins

// This file is the engine's keys: how they are made, kept within limits, forgotten, and encoded to be stored.

import (
	"time"

	"github.com/postbus/postbus/plugins/internal/clock"
)

// adopt gives a key to an entry of another version of the file; nil: it has none.
func (e *engine) adopt(k *keyState, st *ruleState, content string) (timers int) {
	if st == nil || !st.rule.keyed || k.stored && !st.rule.durable {
		return e.forget(k)
	}
	k.entry, k.rule = st, st.rule
	st.hold(k)
	if content == st.rule.content {
		return 0
	}
	for slot := range k.timers {
		timers += e.alarms.disarm(k, slot)
	}
	if !k.window.Empty() && timers == 0 {
		timers++
	}
	k.window = nil
	e.change(k)
	return timers
}

// forget removes a key, also where it is stored.
func (e *engine) forget(k *keyState) (timers int) {
	for slot := range k.timers {
		timers += e.alarms.disarm(k, slot)
	}
	if k.stored {
		e.clears = append(e.clears, k.topic(e.id))
	}
	e.keys.remove(k)
	return timers
}

// hold makes k one of the entry's keys.
func (st *ruleState) hold(k *keyState) {
	if st.keys == nil {
		st.keys = map[string]*keyState{}
	}
	st.keys[k.key] = k
}

// change marks a key whose state has to be stored.
func (e *engine) change(k *keyState) {
	if k.rule.durable && !k.dirty {
		k.dirty, k.outcome = true, -1
		e.changed = append(e.changed, k)
	}
}

// key returns the state for a key. It may forget others to make room.
func (e *engine) key(st *ruleState, name string, at clock.Instant) *keyState {
	k := st.keys[name]
	if k != nil {
		e.keys.use(k, at)
		return k
	}
	k = &keyState{entry: st, rule: st.rule, key: name, size: len(name) + keyOverhead, touched: at}
	st.hold(k)
	e.keys.add(k)
	e.makeRoom(k, at)
	return k
}

// reset forgets what the entry keeps for a key that was idle for too long.
func (e *engine) reset(k *keyState) {
	k.last, k.own, k.passed, k.passedAt, k.bucket, k.window = nil, nil, nil, time.Time{}, bucket{}, nil
	clear(k.timers[:])
	e.change(k)
}

// makeRoom forgets the keys that have been idle for longest while there are too many, and those that are
// past their time.
func (e *engine) makeRoom(but *keyState, now clock.Instant) {
	for e.keys.count > e.spec.perLimit || e.keys.bytes > e.spec.stateLimit {
		k := e.keys.oldest
		if k == but {
			return
		}
		e.keys.evicted++
		e.forget(k)
	}
	for k := e.keys.oldest; k != nil && k != but && now.Up-k.touched.Up > e.spec.perIdle; k = e.keys.oldest {
		if k.pending() {
			e.keys.use(k, now) // its timer is what it is kept for
			return
		}
		e.forget(k)
	}
}

// settle ends each step of the engine: it encodes the states that have changed, to be stored with the
// outcomes. One that cannot be stored is an error of its entry.
func (e *engine) settle() {
	for _, k := range e.changed {
		k.dirty = false
		if k.gone || e.forgets {
			continue
		}
		var err error
		if k.encoded, err = k.encode(e.boot); err != nil {
			k.entry.fail(verdictError, err)
			continue
		}
		k.stored = true
		e.keys.resize(k, len(k.encoded)+len(k.key)+keyOverhead)
		e.makeRoom(k, k.touched)
	}
}
