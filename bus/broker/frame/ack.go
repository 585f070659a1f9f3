package frame

// PUBACK, PUBREC, PUBREL and PUBCOMP from a client: MQTT 5 sections 3.4 to 3.7.

// Ack is one of the four acknowledgements.
type Ack struct {
	Type     byte // TypePuback, TypePubrec, TypePubrel or TypePubcomp
	PacketID uint16
	Reason   byte // always CodeSuccess before MQTT 5
}

// ParseAck checks p, which must be exactly one acknowledgement packet. It checks the reason string
// and the user properties and drops them. The valid path allocates nothing.
func ParseAck(p []byte, version byte) (Ack, *Error) {
	var a Ack
	if len(p) > 0 {
		a.Type = p[0] >> 4
	}
	if a.Type < TypePuback || a.Type > TypePubcomp {
		return a, violation("2.1.2", "packet is not an acknowledgement")
	}
	h, err := whole(p, a.Type)
	if err != nil {
		return a, err
	}
	r := reader{b: p, i: h.Body, version: version}
	if a.PacketID, err = r.packetID(); err != nil {
		return a, err
	}
	if version >= V5 && r.left() > 0 { // a missing reason code means success (3.4.2.1)
		a.Reason, _ = r.u8()
		if !ackReasonValid(a.Type, a.Reason) {
			return a, violation(ackReasonStatement(a.Type), "reason code is not one of this packet's")
		}
		if r.left() > 0 { // a missing property length means none (3.4.2.2.1)
			var ps properties
			if err = r.properties(inAck, false, &ps); err != nil {
				return a, err
			}
		}
	}
	return a, r.end()
}

// ackReasonValid also accepts CodeNoMatchingSubscribers, which only a server uses: the tables list
// it, and for the delivery it means the same as success.
func ackReasonValid(typ, code byte) bool {
	if typ == TypePubrel || typ == TypePubcomp {
		return code == CodeSuccess || code == CodePacketIDNotFound
	}
	switch code {
	case CodeSuccess, CodeNoMatchingSubscribers, CodeUnspecified, CodeImplementation, CodeNotAuthorized,
		CodeTopicNameInvalid, CodePacketIDInUse, CodeQuotaExceeded, CodePayloadFormatInvalid:
		return true
	}
	return false
}

func ackReasonStatement(typ byte) string {
	switch typ {
	case TypePuback:
		return "MQTT-3.4.2-1"
	case TypePubrec:
		return "MQTT-3.5.2-1"
	case TypePubrel:
		return "MQTT-3.6.2-1"
	}
	return "MQTT-3.7.2-1"
}
