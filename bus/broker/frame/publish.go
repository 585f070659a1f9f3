package frame

import (
	"unicode/utf8"

	"github.com/postbus/postbus/bus/topic"
)

// PUBLISH from a client: MQTT 5 section 3.3.

// Publish is a PUBLISH packet. Its slices are parts of the packet that it was parsed from.
type Publish struct {
	Topic     []byte // empty only if Alias is set
	Props     []byte // MQTT 5: the forwarded properties, encoded, without a length
	Payload   []byte
	Expiry    uint32 // message expiry interval in seconds, if HasExpiry
	PacketID  uint16 // 0 for QoS 0
	Alias     uint16 // topic alias, 0 for none; the caller checks its maximum
	QoS       byte   // 0, 1 or 2
	Dup       bool
	Retain    bool
	HasExpiry bool
}

// ParsePublish checks p, which must be exactly one PUBLISH packet, and fills in pub. It takes
// ownership of p: pub's slices are parts of p. If a property that ends at the broker precedes one
// that is forwarded, ParsePublish overwrites p's property area so that Props is contiguous. It
// allocates nothing unless it returns an error.
//
// With CodePayloadFormatInvalid pub is complete nevertheless, so that the caller can refuse that
// one message (PUBACK or PUBREC with 0x99) instead of closing the connection.
func ParsePublish(p []byte, version byte, pub *Publish) *Error {
	return parsePublish(p, version, pub, true)
}

func parsePublish(p []byte, version byte, pub *Publish, compact bool) *Error {
	h, err := whole(p, TypePublish)
	if err != nil {
		return err
	}
	*pub = Publish{QoS: h.Flags >> 1 & 3, Dup: h.Flags&8 != 0, Retain: h.Flags&1 != 0}
	r := reader{b: p, i: h.Body, version: version}
	if pub.Topic, err = r.text(); err != nil {
		return err
	}
	if topic.HasWildcardBytes(pub.Topic) {
		return &Error{Code: CodeTopicNameInvalid, Reason: "topic name contains a wildcard", Statement: "MQTT-3.3.2-2"}
	}
	if pub.QoS > 0 {
		if pub.PacketID, err = r.packetID(); err != nil {
			return err
		}
	}
	utf8Payload := false
	if version >= V5 && r.left() > 0 && p[r.i] == 0 {
		r.i++ // no properties, as in most packets: skip the walk
	} else if version >= V5 {
		var ps properties
		if err = r.properties(inPublish, compact, &ps); err != nil {
			return err
		}
		if ps.has(propSubscriptionID) {
			return violation("MQTT-3.3.4-6", "PUBLISH from a client with a subscription identifier")
		}
		pub.Alias = ps.alias
		pub.Expiry, pub.HasExpiry = ps.messageExpiry, ps.has(propMessageExpiry)
		pub.Props = ps.forward
		utf8Payload = ps.payloadFormat == 1
	}
	if len(pub.Topic) == 0 && pub.Alias == 0 {
		return violation(r.statement("3.3.2.1", "MQTT-4.7.3-1"), "topic name is empty")
	}
	pub.Payload = p[r.i:]
	// Any character data is allowed: unlike a string it may contain U+0000 (3.3.2.3.2).
	if utf8Payload && !utf8.Valid(pub.Payload) {
		return &Error{Code: CodePayloadFormatInvalid, Reason: "payload is not the UTF-8 its format indicator says", Statement: "3.3.2.3.2"}
	}
	return nil
}
