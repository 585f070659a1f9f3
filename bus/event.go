package bus

// This file is the Event and its MQTT 5 properties.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
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
	Expiry     time.Duration // it is not delivered later than this, rounded up to seconds; 0: never expires; not negative
	Properties Properties    // MQTT 5 properties that travel with the message
	Hops       byte          // number of plugins and bridges that the event came through, 0 to MaxHops
	Cause      uint64        // sequence of the event that caused this one; 0: none, or not known
	Kept       Kept          // a value that becomes durable together with the event; the zero Kept is none
	Origin     Origin        // of an event that another bus accepted; the zero Origin is this bus. Publish ignores it

	// Set by a subscription: see Subscription.Ack.
	ID          uint16 // of the delivery; 0 at QoS 0
	Redelivered bool   // it may have been delivered before
	Stored      bool   // it is the topic's retained message, sent for a new subscription
	Missed      uint64 // events lost before this one, see the contract
}

// Origin is another bus, which accepted an event first.
type Origin struct {
	Bus  string    // its name
	Time time.Time // when it accepted the event, by this bus's clock; zero: not known
}

// Properties are MQTT 5 properties in wire encoding, without the length prefix: payload format,
// content type, response topic, correlation data and user properties.
type Properties []byte

// UserProperty is a name and a value that travel with an event.
type UserProperty struct{ Key, Value string }

// Identifiers of the properties that travel with a message [MQTT-3.3.2-4], [MQTT-3.3.2-15] and
// others.
const (
	propPayloadFormat = 0x01
	propContentType   = 0x03
	propResponseTopic = 0x08
	propCorrelation   = 0x09
	userProperty      = 0x26
)

// WithUser returns p with a user property added. Key and value are at most 65535 bytes.
func (p Properties) WithUser(key, value string) Properties {
	b := append(p[:len(p):len(p)], userProperty)
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	b = append(b, key...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

// User lists the user properties in their order. If p is malformed, it lists those before the
// error.
func (p Properties) User() []UserProperty {
	var out []UserProperty
	_ = p.each(func(id byte, key, value []byte) error { // User has no error: Publish checks
		if id == userProperty {
			out = append(out, UserProperty{string(key), string(value)})
		}
		return nil
	})
	return out
}

var errProperties = errors.New("properties are malformed: they are MQTT 5 properties in wire encoding, without the length prefix")

// each calls f for every property. The value is in key, except for a user property, which has both.
func (p Properties) each(f func(id byte, key, value []byte) error) error {
	text := func(b []byte) (value, tail []byte, err error) {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return nil, nil, errProperties
		}
		n := 2 + int(binary.BigEndian.Uint16(b))
		return b[2:n], b[n:], nil
	}
	for b := []byte(p); len(b) > 0; {
		id := b[0]
		b = b[1:]
		var key, value []byte
		var err error
		switch id {
		case propPayloadFormat:
			if len(b) == 0 {
				return errProperties
			}
			key, b = b[:1], b[1:]
		case propContentType, propResponseTopic, propCorrelation:
			key, b, err = text(b)
		case userProperty:
			if key, b, err = text(b); err == nil {
				value, b, err = text(b)
			}
		default:
			return fmt.Errorf("property 0x%02x does not travel with a message: %w", id, errProperties)
		}
		if err != nil {
			return err
		}
		if err := f(id, key, value); err != nil {
			return err
		}
	}
	return nil
}

// check refuses properties that a client would refuse: it would drop its connection at each
// redelivery.
func (p Properties) check() error {
	seen := map[byte]bool{}
	return p.each(func(id byte, key, value []byte) error {
		if id != userProperty && seen[id] {
			return fmt.Errorf("property 0x%02x appears twice", id)
		}
		seen[id] = true
		switch id {
		case propPayloadFormat:
			if key[0] > 1 {
				return fmt.Errorf("payload format indicator %d: must be 0 or 1", key[0])
			}
		case propResponseTopic:
			if err := topic.CheckName(string(key)); err != nil {
				return fmt.Errorf("response topic: %w", err)
			}
		case propContentType, userProperty:
			for _, text := range [][]byte{key, value} {
				if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 { // [MQTT-1.5.4-1] [MQTT-1.5.4-2]
					return fmt.Errorf("property 0x%02x: %q is not UTF-8 without NUL", id, text)
				}
			}
		}
		return nil
	})
}

// MaxHops is the maximum of Event.Hops; higher numbers are stored as MaxHops.
const MaxHops = 31

// Flags of an event's record.
const (
	flagQoS    = 0x03
	flagRetain = 0x04
	shiftHops  = 3 // the five bits above
)

// Record is the event as the journal holds it.
func (e *Event) Record() *journal.Record { return e.record(&journal.Record{}) }

// record fills r with the event. It reuses the memory of its source and topic.
func (e *Event) record(r *journal.Record) *journal.Record {
	*r = journal.Record{Kind: journal.KindEvent, Flags: e.QoS&flagQoS | min(e.Hops, MaxHops)<<shiftHops, Expiry: journal.NoExpiry, Cause: e.Cause,
		Source: append(r.Source[:0], e.Source...), Topic: append(r.Topic[:0], e.Topic...), Props: e.Properties, Payload: e.Payload,
		KeptTopic: append(r.KeptTopic[:0], e.Kept.Topic...), Kept: e.Kept.Value}
	if e.Retain {
		r.Flags |= flagRetain
	}
	if e.Expiry > 0 { // rounded up: rounded down, less than a second would mean immediate expiry
		r.Expiry = uint32(min(int64((e.Expiry-1)/time.Second)+1, int64(journal.NoExpiry)-1))
	}
	return r
}

// eventOf copies a record into an Event, without a kept value.
func eventOf(r *journal.Record) (e Event) {
	e.fill(r)
	return e
}

// OriginOf returns the bus that accepted an event first; the zero Origin for one of this bus.
func OriginOf(r *journal.Record) (o Origin) {
	if o.Bus = busOf(r.Source); o.Bus != "" && r.At != 0 {
		o.Time = time.Unix(0, r.At)
	}
	return o
}

// fill is eventOf for an Event that has a place already.
func (e *Event) fill(r *journal.Record) {
	*e = Event{Seq: r.Seq, Time: time.Unix(0, r.Time), Topic: string(r.Topic), QoS: r.Flags & flagQoS,
		Retain: r.Flags&flagRetain != 0, Source: string(r.Source), Hops: r.Flags >> shiftHops, Payload: append([]byte(nil), r.Payload...)}
	if r.Kind == journal.KindEvent { // that of a conditional event is its condition, see acceptWill
		e.Cause = r.Cause
	}
	e.Origin = OriginOf(r)
	if len(r.Props) > 0 {
		e.Properties = append(Properties(nil), r.Props...)
	}
	if r.Expiry != journal.NoExpiry {
		e.Expiry = time.Duration(r.Expiry) * time.Second
	}
}

func (e *Event) check(maxPayload int) error {
	switch {
	case e.QoS > 2:
		return fmt.Errorf("QoS %d: must be 0, 1 or 2", e.QoS)
	case len(e.Payload) > maxPayload:
		return fmt.Errorf("payload of %d bytes: at most %d are accepted", len(e.Payload), maxPayload)
	case len(e.Properties) > maxPayload:
		return fmt.Errorf("properties of %d bytes: at most %d are accepted", len(e.Properties), maxPayload)
	case e.Expiry < 0:
		return fmt.Errorf("expiry %s: must not be negative; 0 means that the event never expires", e.Expiry)
	}
	if len(e.Properties) > 0 {
		if err := e.Properties.check(); err != nil {
			return err
		}
	}
	return topic.CheckName(e.Topic)
}
