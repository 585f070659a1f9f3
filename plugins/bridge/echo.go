// This file prevents events from looping.
//
//  0. With MQTT 5 the subscription asks the remote not to send what we published, and each event
//     carries the bus where it was published first: see v5.go.
//  1. An event that this plugin published is not sent out; its source identifies it. That alone
//     ends every loop after one round.
//  2. With MQTT 3.1.1 the connection asks to be a bridge, by the protocol version 0x84 that
//     Mosquitto and others know. Such a broker doesn't send us what we published, and leaves the
//     retain flag unchanged.
//  3. A broker that refuses that version does send us what we published. So the plugin remembers
//     for a minute each message that it sent, and discards one identical message from the remote
//     for each. An identical message of another client in that minute may be discarded in its
//     place. Therefore this is not done where 2 works.

package bridge

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	echoes  = 10000 // remembered at most; the oldest is forgotten first
	echoAge = time.Minute
)

type sent struct {
	sum uint64
	at  time.Time
}

// echo remembers the messages that were sent.
type echo struct {
	mu    sync.Mutex
	seed  maphash.Seed
	ring  []sent // oldest first
	count map[uint64]int
}

func (e *echo) sum(topic string, payload []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(e.seed)
	h.WriteString(topic)
	h.WriteByte(0)
	h.Write(payload)
	return h.Sum64()
}

// sent remembers a message.
func (e *echo) sent(topic string, payload []byte, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.count == nil {
		e.seed, e.count = maphash.MakeSeed(), map[uint64]int{}
	}
	e.forget(now, echoes-1)
	s := e.sum(topic, payload)
	e.ring = append(e.ring, sent{s, now})
	e.count[s]++
}

// forget drops entries that are too old, and the oldest ones beyond max.
func (e *echo) forget(now time.Time, max int) {
	n := 0
	for n < len(e.ring) && (len(e.ring)-n > max || now.Sub(e.ring[n].at) > echoAge) {
		e.drop(e.ring[n].sum)
		n++
	}
	e.ring = e.ring[n:]
}

// drop decrements the count of a message.
func (e *echo) drop(s uint64) {
	if e.count[s] > 1 {
		e.count[s]--
	} else {
		delete(e.count, s)
	}
}

// isEcho reports whether a message is one that was sent, and forgets one such entry.
func (e *echo) isEcho(topic string, payload []byte, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ring) == 0 {
		return false
	}
	e.forget(now, echoes)
	s := e.sum(topic, payload)
	if e.count[s] == 0 {
		return false
	}
	for i := range e.ring {
		if e.ring[i].sum == s {
			e.ring = append(e.ring[:i], e.ring[i+1:]...)
			break
		}
	}
	e.drop(s)
	return true
}
