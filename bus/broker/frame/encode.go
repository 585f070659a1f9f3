package frame

import (
	"encoding/binary"
	"slices"
)

// This file encodes the packets of the hot path. Every Append function appends one packet to dst
// and returns the extended slice. None allocates when dst has enough capacity.

// UserProp is one user property.
type UserProp struct{ Key, Value string }

// Out is a PUBLISH packet to be sent. Topic, and each Key and Value, must not be longer than 65,535
// bytes, and the packet not longer than MaxRemaining.
type Out struct {
	Topic     []byte // empty if Alias is already known to the client
	Props     []byte // as Publish.Props; ignored before MQTT 5
	Payload   []byte
	SubIDs    []uint32   // subscription identifiers, each 1..268,435,455
	User      []UserProp // further user properties, after those in Props
	Expiry    uint32     // remaining seconds, if HasExpiry
	PacketID  uint16     // used with QoS 1 and 2
	Alias     uint16     // 0 for none
	QoS       byte
	Dup       bool
	Retain    bool
	HasExpiry bool
}

// PublishSize returns the exact number of bytes that AppendPublish appends.
func PublishSize(version byte, o *Out) int {
	n := o.remaining(version, o.propsSize(version))
	return 1 + varintSize(n) + n
}

// AppendPublish encodes o for a client of that version.
func AppendPublish(dst []byte, version byte, o *Out) []byte {
	props := o.propsSize(version)
	n := o.remaining(version, props)
	dst = slices.Grow(dst, 5+n)

	first := TypePublish<<4 | o.QoS<<1
	if o.Dup {
		first |= 8
	}
	if o.Retain {
		first |= 1
	}
	dst = appendVarint(append(dst, first), n)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(o.Topic)))
	dst = append(dst, o.Topic...)
	if o.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, o.PacketID)
	}
	if version >= V5 {
		dst = appendVarint(dst, props)
		if props > 0 {
			dst = o.appendProps(dst)
		}
	}
	return append(dst, o.Payload...)
}

func (o *Out) remaining(version byte, props int) int {
	n := 2 + len(o.Topic) + len(o.Payload)
	if o.QoS > 0 {
		n += 2
	}
	if version >= V5 {
		n += varintSize(props) + props
	}
	return n
}

func (o *Out) propsSize(version byte) int {
	if version < V5 {
		return 0
	}
	n := len(o.Props)
	if o.HasExpiry {
		n += 5
	}
	if o.Alias != 0 {
		n += 3
	}
	for _, id := range o.SubIDs {
		n += 1 + varintSize(int(id))
	}
	for i := range o.User {
		n += 5 + len(o.User[i].Key) + len(o.User[i].Value)
	}
	return n
}

func (o *Out) appendProps(dst []byte) []byte {
	if o.HasExpiry {
		dst = binary.BigEndian.AppendUint32(append(dst, propMessageExpiry), o.Expiry)
	}
	if o.Alias != 0 {
		dst = binary.BigEndian.AppendUint16(append(dst, propTopicAlias), o.Alias)
	}
	for _, id := range o.SubIDs {
		dst = appendVarint(append(dst, propSubscriptionID), int(id))
	}
	dst = append(dst, o.Props...)
	for i := range o.User {
		dst = appendText(append(dst, propUser), o.User[i].Key)
		dst = appendText(dst, o.User[i].Value)
	}
	return dst
}

// AppendAck encodes an acknowledgement of type typ in its shortest form. Before MQTT 5 there is no
// reason code, and reason is ignored.
func AppendAck(dst []byte, version, typ byte, id uint16, reason byte) []byte {
	first := typ << 4
	if typ == TypePubrel {
		first |= 2 // [MQTT-3.6.1-1]
	}
	if version < V5 || reason == CodeSuccess {
		return append(dst, first, 2, byte(id>>8), byte(id))
	}
	return append(dst, first, 3, byte(id>>8), byte(id), reason)
}

// AppendDisconnect encodes the broker's DISCONNECT with a reason and, if text is not empty, a
// reason string. It omits text that MQTT cannot carry. Before MQTT 5 a server has no DISCONNECT:
// nothing is appended.
func AppendDisconnect(dst []byte, version, reason byte, text string) []byte {
	if version < V5 {
		return dst
	}
	if len(text) > maxText || !ValidUTF8([]byte(text)) {
		text = ""
	}
	switch {
	case text != "":
		return appendReason(append(dst, TypeDisconnect<<4), []byte{reason}, text)
	case reason != CodeSuccess:
		return append(dst, TypeDisconnect<<4, 1, reason)
	}
	return append(dst, TypeDisconnect<<4, 0)
}

// AppendRefusal encodes the CONNACK that refuses a CONNECT. version is the result of CheckConnect;
// for 0 the form of MQTT 3.1.1 is used, which every later client reads as "unacceptable protocol
// version". If MQTT 3 has no return code for the reason, nothing is appended: then the connection
// is closed without an answer [MQTT-3.2.2-6]. text is the reason string of MQTT 5; it may be empty.
func AppendRefusal(dst []byte, version, reason byte, text string) []byte {
	if version >= V5 {
		return appendReason(append(dst, TypeConnack<<4), []byte{0, reason}, text)
	}
	var code byte
	switch reason {
	case CodeUnsupportedVersion:
		code = 1
	case CodeClientIDInvalid:
		code = 2
	case CodeServerUnavailable, CodeServerBusy, CodeQuotaExceeded:
		code = 3
	case CodeBadUserOrPassword:
		code = 4
	case CodeNotAuthorized, CodeBanned:
		code = 5
	default:
		return dst
	}
	return append(dst, TypeConnack<<4, 2, 0, code)
}

// AppendAckText is AppendAck with a reason string, which only MQTT 5 has. It must not be used for a
// client that asked for no problem information [MQTT-3.1.2-29].
func AppendAckText(dst []byte, version, typ byte, id uint16, reason byte, text string) []byte {
	if version < V5 || text == "" {
		return AppendAck(dst, version, typ, id, reason)
	}
	return appendReason(append(dst, typ<<4), []byte{byte(id >> 8), byte(id), reason}, text)
}

// appendReason encodes the part after a packet's first byte: its remaining length, head, and the
// reason string as the only property. It omits text that MQTT cannot carry.
func appendReason(dst, head []byte, text string) []byte {
	if len(text) > maxText || !ValidUTF8([]byte(text)) {
		text = ""
	}
	if text == "" {
		return append(append(append(dst, byte(len(head)+1)), head...), 0)
	}
	props := 3 + len(text)
	dst = append(appendVarint(dst, len(head)+varintSize(props)+props), head...)
	return appendText(append(appendVarint(dst, props), propReasonString), text)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendVarint(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func varintSize(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}
