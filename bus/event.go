package bus

// This file is the Event and its MQTT 5 properties.

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/postbus/postbus/bus/journal"
)

// Event is one published message.
type Event struct {
	Seq        uint64        // position in the journal; 0 before Publish and for QoS 0
	Time       time.Time     // when the bus accepted it
	Topic      string        // a topic name, 1 to 65535 bytes without wildcards
	Payload    []byte        // up to Limits.MaxPayload bytes
	QoS        byte          // 0, 1 or 2; at 1 and 2 the event is durable
	Retain     bool          // the topic's last value; an empty payload clears it
	Source     string        // client or plugin that published it
	Expiry     time.Duration // it is not delivered later than this; 0: never expires; whole seconds
	Properties Properties    // MQTT 5 properties that travel with the message
	Hops       byte          // through so many plugins it came, one after the other, 0 to MaxHops; 0: from a client or a device

	// Set by a subscription: see Subscription.Ack.
	ID          uint16 // of the delivery; 0 at QoS 0
	Redelivered bool   // it may have been handed out before
	Stored      bool   // it is the topic's retained value, which a new subscription is given
	Missed      uint64 // events lost before this one, see the contract
}

// Properties are MQTT 5 properties in wire encoding, without the length prefix: payload format,
// content type, response topic, correlation data and user properties.
type Properties []byte

// UserProperty is a name and a value that travel with an event.
type UserProperty struct{ Key, Value string }

const userProperty = 0x26

// WithUser returns p with a user property added. Key and value are at most 65535 bytes.
func (p Properties) WithUser(key, value string) Properties {
	b := append(p[:len(p):len(p)], userProperty)
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	b = append(b, key...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

// User lists the user properties in their order.
func (p Properties) User() []UserProperty {
	var out []UserProperty
	text := func(b []byte) (string, []byte, bool) {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return "", nil, false
		}
		n := int(binary.BigEndian.Uint16(b))
		return string(b[2 : 2+n]), b[2+n:], true
	}
	for b := []byte(p); len(b) > 0; {
		id := b[0]
		b = b[1:]
		var ok bool
		switch id {
		case 0x01: // payload format indicator
			if len(b) < 1 {
				return out
			}
			b = b[1:]
		case userProperty:
			var u UserProperty
			if u.Key, b, ok = text(b); !ok {
				return out
			}
			if u.Value, b, ok = text(b); !ok {
				return out
			}
			out = append(out, u)
		default: // content type, response topic, correlation data
			if _, b, ok = text(b); !ok {
				return out
			}
		}
	}
	return out
}

// MaxHops is the most that Event.Hops can say; more is told as that.
const MaxHops = 31

// Flags of an event's record.
const (
	flagQoS    = 0x03
	flagRetain = 0x04
	shiftHops  = 3 // the five bits above
)

// Record is the event as the journal holds it.
func (e *Event) Record() *journal.Record { return e.record(&journal.Record{}) }

// record makes r the event; the room that its source and topic have is used again.
func (e *Event) record(r *journal.Record) *journal.Record {
	*r = journal.Record{Kind: journal.KindEvent, Flags: e.QoS&flagQoS | min(e.Hops, MaxHops)<<shiftHops, Expiry: journal.NoExpiry,
		Source: append(r.Source[:0], e.Source...), Topic: append(r.Topic[:0], e.Topic...), Props: e.Properties, Payload: e.Payload}
	if e.Retain {
		r.Flags |= flagRetain
	}
	if e.Expiry > 0 {
		r.Expiry = uint32(min(int64(e.Expiry/time.Second), int64(journal.NoExpiry)-1))
	}
	return r
}

// eventOf copies a record into an Event.
func eventOf(r *journal.Record) Event {
	e := Event{Seq: r.Seq, Time: time.Unix(0, r.Time), Topic: string(r.Topic), QoS: r.Flags & flagQoS,
		Retain: r.Flags&flagRetain != 0, Source: string(r.Source), Hops: r.Flags >> shiftHops, Payload: append([]byte(nil), r.Payload...)}
	if len(r.Props) > 0 {
		e.Properties = append(Properties(nil), r.Props...)
	}
	if r.Expiry != journal.NoExpiry {
		e.Expiry = time.Duration(r.Expiry) * time.Second
	}
	return e
}

func (e *Event) check(maxPayload int) error {
	switch {
	case e.QoS > 2:
		return fmt.Errorf("QoS %d: must be 0, 1 or 2", e.QoS)
	case len(e.Payload) > maxPayload:
		return fmt.Errorf("payload of %d bytes: at most %d are accepted", len(e.Payload), maxPayload)
	}
	return CheckTopic(e.Topic)
}
