package frame

import "github.com/postbus/postbus/bus/topic"

// This file knows the MQTT 5 properties: which exist, and which a packet may contain. One walk over
// them checks all and separates those that are forwarded with a message. Section 2.2.2.

const (
	propPayloadFormat   = 0x01
	propMessageExpiry   = 0x02
	propContentType     = 0x03
	propResponseTopic   = 0x08
	propCorrelation     = 0x09
	propSubscriptionID  = 0x0B
	propSessionExpiry   = 0x11
	propAuthMethod      = 0x15
	propAuthData        = 0x16
	propRequestProblem  = 0x17
	propWillDelay       = 0x18
	propRequestResponse = 0x19
	propServerReference = 0x1C
	propReasonString    = 0x1F
	propReceiveMaximum  = 0x21
	propAliasMaximum    = 0x22
	propTopicAlias      = 0x23
	propUser            = 0x26
	propMaximumPacket   = 0x27
)

// Sets of properties, one bit per identifier. They contain only properties that a client may send:
// others are treated as unknown identifiers, which are malformed (2.2.2.2).
const (
	forwarded uint64 = 1<<propPayloadFormat | 1<<propContentType | 1<<propResponseTopic |
		1<<propCorrelation | 1<<propUser

	inConnect uint64 = 1<<propSessionExpiry | 1<<propAuthMethod | 1<<propAuthData | 1<<propRequestProblem |
		1<<propRequestResponse | 1<<propReceiveMaximum | 1<<propAliasMaximum | 1<<propUser |
		1<<propMaximumPacket
	inWill uint64 = forwarded | 1<<propMessageExpiry | 1<<propWillDelay
	// inPublish has the subscription identifier so that ParsePublish can report the true reason.
	inPublish     uint64 = forwarded | 1<<propMessageExpiry | 1<<propTopicAlias | 1<<propSubscriptionID
	inAck         uint64 = 1<<propReasonString | 1<<propUser
	inSubscribe   uint64 = 1<<propSubscriptionID | 1<<propUser
	inUnsubscribe uint64 = 1 << propUser
	inDisconnect  uint64 = 1<<propSessionExpiry | 1<<propServerReference | 1<<propReasonString | 1<<propUser
	inAuth        uint64 = 1<<propAuthMethod | 1<<propAuthData | 1<<propReasonString | 1<<propUser
)

// properties is the result of one walk. A value is meaningful if its bit is set in seen.
type properties struct {
	seen            uint64
	messageExpiry   uint32 // seconds
	sessionExpiry   uint32 // seconds
	willDelay       uint32 // seconds
	maximumPacket   uint32 // bytes
	receiveMaximum  uint16
	aliasMaximum    uint16
	alias           uint16
	payloadFormat   byte
	requestProblem  byte
	requestResponse byte
	authMethod      []byte
	forward         []byte // the forwarded properties, encoded, in their order; set if compacted
}

func (ps *properties) has(id uint) bool { return ps.seen&(1<<id) != 0 }

// properties reads a property length and the properties, which must all be in allowed. With compact
// it moves the forwarded ones to the front of the property area, over those that end here, and sets
// ps.forward to them. The area then no longer has the bytes that the client sent.
func (r *reader) properties(allowed uint64, compact bool, ps *properties) *Error {
	n, err := r.varint()
	if err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	if uint64(n) > uint64(r.left()) {
		return malformed("2.2.2.1", "properties run past the end of the packet")
	}
	area := reader{b: r.b[:r.i+int(n)], i: r.i, version: r.version}
	first, put := r.i, r.i
	r.i += int(n)
	for area.left() > 0 {
		start := area.i
		id := uint(area.b[start])
		area.i++
		// Identifiers are variable byte integers, but all that exist fit in one byte.
		if id >= 64 || allowed&(1<<id) == 0 {
			return malformed("2.2.2.2", "property is unknown or not allowed in this packet")
		}
		if id != propUser && ps.seen&(1<<id) != 0 {
			// The value is read first: a property that cannot be parsed is malformed before it is a
			// duplicate.
			var again properties
			if err := area.property(id, &again); err != nil {
				return err
			}
			return violation("2.2.2.2", "property occurs twice")
		}
		ps.seen |= 1 << id
		if err := area.property(id, ps); err != nil {
			return err
		}
		if compact && forwarded&(1<<id) != 0 {
			if put != start {
				copy(area.b[put:], area.b[start:area.i])
			}
			put += area.i - start
		}
	}
	if compact && put > first {
		ps.forward = r.b[first:put:put]
	}
	if ps.has(propAuthData) && !ps.has(propAuthMethod) {
		return violation("3.1.2.11.10", "authentication data without an authentication method")
	}
	return nil
}

// FilterUser removes the user properties that keep refuses from props, which are the Props of a
// Publish or a Will. It works in place and returns the rest.
func FilterUser(props []byte, keep func(key, value []byte) bool) []byte {
	r := reader{b: props, version: V5}
	put := 0
	for r.left() > 0 {
		start := r.i
		id := uint(r.b[start])
		r.i++
		if id != propUser {
			var ps properties
			if r.property(id, &ps) != nil {
				return props[:put]
			}
		} else {
			key, err := r.text()
			if err != nil {
				return props[:put]
			}
			value, err := r.text()
			if err != nil {
				return props[:put]
			}
			if !keep(key, value) {
				continue
			}
		}
		put += copy(props[put:], props[start:r.i])
	}
	return props[:put]
}

// property reads the value of one property and checks it.
func (r *reader) property(id uint, ps *properties) (err *Error) {
	switch id {
	case propPayloadFormat:
		ps.payloadFormat, err = r.flag()
	case propRequestProblem:
		ps.requestProblem, err = r.flag()
	case propRequestResponse:
		ps.requestResponse, err = r.flag()
	case propMessageExpiry:
		ps.messageExpiry, err = r.u32()
	case propSessionExpiry:
		ps.sessionExpiry, err = r.u32()
	case propWillDelay:
		ps.willDelay, err = r.u32()
	case propMaximumPacket:
		ps.maximumPacket, err = r.u32()
		if err == nil && ps.maximumPacket == 0 {
			err = violation("3.1.2.11.4", "Maximum Packet Size is 0")
		}
	case propReceiveMaximum:
		ps.receiveMaximum, err = r.u16()
		if err == nil && ps.receiveMaximum == 0 {
			err = violation("3.1.2.11.3", "Receive Maximum is 0")
		}
	case propAliasMaximum:
		ps.aliasMaximum, err = r.u16()
	case propTopicAlias:
		ps.alias, err = r.u16()
		if err == nil && ps.alias == 0 {
			err = &Error{Code: CodeTopicAliasInvalid, Reason: "topic alias is 0", Statement: "MQTT-3.3.2-8"}
		}
	case propSubscriptionID:
		var v uint32
		v, err = r.varint()
		if err == nil && v == 0 {
			err = violation("3.8.2.1.2", "subscription identifier is 0")
		}
	case propResponseTopic:
		var name []byte
		name, err = r.text()
		if err == nil && topic.HasWildcardBytes(name) {
			err = violation("MQTT-3.3.2-14", "response topic contains a wildcard")
		}
		if err == nil && len(name) == 0 {
			err = violation("MQTT-4.7.3-1", "response topic is empty")
		}
	case propAuthMethod:
		ps.authMethod, err = r.text()
	case propCorrelation, propAuthData:
		_, err = r.binary()
	case propUser:
		if _, err = r.text(); err == nil {
			_, err = r.text()
		}
	default: // the remaining ones are strings
		_, err = r.text()
	}
	return err
}

// flag reads a byte that must be 0 or 1.
func (r *reader) flag() (byte, *Error) {
	v, err := r.u8()
	if err == nil && v > 1 {
		err = violation("2.2.2.2", "property of two values is neither 0 nor 1")
	}
	return v, err
}
