package bus

// This file is the form of $bus/clients/<id>, on which the bus reports who is connected. Package
// broker writes it: see docs/adr/0018-presence.md.

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postbus/postbus/bus/journal"
)

// ClientsFilter matches the topics of all clients.
const ClientsFilter = clientsRoot + "+"

const clientsRoot = "$bus/clients/"

// maxClientLevel is the maximum size of an escaped client identifier in bytes. Longer ones have no
// topic: retained topics are in memory.
const maxClientLevel = 1 << 10

// Presence is the retained value of a client's topic, as JSON. What describes the connection is
// about the last one when the client is offline.
type Presence struct {
	Online     bool      `json:"online"`
	Since      time.Time `json:"since"` // of the change to online or offline
	Address    string    `json:"address,omitempty"`
	Version    string    `json:"version"`   // of MQTT: 3.1, 3.1.1 or 5
	Transport  string    `json:"transport"` // tcp, tls, unix, ws or wss
	User       string    `json:"user,omitempty"`
	Persistent bool      `json:"persistent"`          // the session outlives the connection
	Transient  bool      `json:"transient,omitempty"` // the identifier is random: its topic is cleared when the connection ends
	Reason     string    `json:"reason,omitempty"`    // why the connection ended
}

// Connection describes a connected client.
type Connection struct {
	Presence
	KeepAlive           time.Duration // 0: none
	EventsIn, EventsOut uint64        // of this connection
	BytesIn, BytesOut   uint64
}

// ClientTopic returns the topic of a client. Of its identifier / + # %, control characters and a $ at
// the beginning are percent-encoded. ok is false for an identifier that is too long to have a topic.
func ClientTopic(id string) (topic string, ok bool) {
	const hex = "0123456789ABCDEF"
	level := make([]byte, 0, len(id))
	for i := 0; i < len(id); {
		r, n := utf8.DecodeRuneInString(id[i:])
		if strings.ContainsRune("/+#%", r) || r == '$' && i == 0 || unicode.IsControl(r) || r == utf8.RuneError && n == 1 {
			for _, b := range []byte(id[i : i+n]) {
				level = append(level, '%', hex[b>>4], hex[b&15])
			}
		} else {
			level = append(level, id[i:i+n]...)
		}
		i += n
	}
	return clientsRoot + string(level), len(level) > 0 && len(level) <= maxClientLevel
}

// ClientOf returns the client identifier of a topic that ClientTopic returned; ok is false for any
// other topic.
func ClientOf(topic string) (id string, ok bool) {
	level, ok := strings.CutPrefix(topic, clientsRoot)
	if !ok {
		return "", false
	}
	out := make([]byte, 0, len(level))
	for i := 0; i < len(level); i++ {
		if level[i] != '%' {
			out = append(out, level[i])
			continue
		}
		if i+2 >= len(level) {
			return "", false
		}
		out = append(out, unhex(level[i+1])<<4|unhex(level[i+2]))
		i += 2
	}
	id = string(out)
	again, ok := ClientTopic(id)
	return id, ok && again == topic
}

// unhex is the value of a digit that ClientTopic wrote. For any other byte ClientOf notices that the
// topic is not one of ClientTopic's.
func unhex(b byte) byte {
	if b >= 'A' {
		return b - 'A' + 10
	}
	return b - '0'
}

// ownSource is the source of the bus's own events. No client identifier is equal to it.
const ownSource = "bus"

// Report sets a retained value of the bus itself that is in the journal, so that sessions that are
// offline get it later; an empty payload clears it. Unlike a client's it is not bounded by the limits
// on retained values and does not count towards them: the caller bounds it.
func (b *Bus) Report(topic string, payload []byte) (Pending, error) {
	if b.stopping() {
		return Pending{}, ErrClosed
	}
	e := Event{Topic: topic, Payload: payload, QoS: 1, Retain: true, Source: ownSource}
	return b.journal.Append(e.Record())
}

// RetainedSeq returns the sequence of a topic's retained value, without reading it; 0 if the topic has
// none.
func (b *Bus) RetainedSeq(topic string) uint64 {
	v, snapshot, _ := b.retained.value(topic)
	if snapshot != nil {
		snapshot.Close()
	}
	return v.seq
}

// HasSession reports whether a session of the name exists.
func (b *Bus) HasSession(name string) bool { return b.session(name) != nil }

// OnSessionEnd has f called with the name of each session that ended. f must not block.
func (b *Bus) OnSessionEnd(f func(name string)) { b.sessionEnded.Store(&f) }

// Before is the time of the last record that an earlier run wrote: the last sign of life of that run.
// Zero: there is none.
func (b *Bus) Before() time.Time { return b.before }

// timeOfLast is the time of the newest record in the journal.
func (b *Bus) timeOfLast() time.Time {
	last := b.journal.Next() - 1
	r := b.journal.Reader(last)
	defer r.Release()
	var rec journal.Record
	if ok, err := r.NextUntil(last, &rec); !ok || err != nil {
		return time.Time{}
	}
	return time.Unix(0, rec.Time)
}
