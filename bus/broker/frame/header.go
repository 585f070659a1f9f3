package frame

// The fixed header: packet type, flags and remaining length.

// MaxRemaining is the largest remaining length that MQTT can express, in bytes.
const MaxRemaining = 268_435_455

// Header is a packet's fixed header.
type Header struct {
	Type  byte // 1..15
	Flags byte // the lower four bits of the first byte
	Len   int  // the whole packet's length in bytes, header included
	Body  int  // offset of the first byte after the fixed header, 2..5
}

// ReadHeader reads the fixed header at the start of b. ok is false while bytes of the header are
// missing. It is true once the header is complete, even if the body is not, so that the caller can
// refuse a packet by its length before the packet arrives. A wrong type or wrong flags are refused
// at the first byte.
func ReadHeader(b []byte) (h Header, ok bool, err *Error) {
	if len(b) == 0 {
		return h, false, nil
	}
	h.Type, h.Flags = b[0]>>4, b[0]&0x0F
	if !flagsValid(h.Type, h.Flags) {
		return h, false, flagsError(h.Type, h.Flags)
	}
	n := 0
	for i := 1; i < len(b); i++ {
		c := b[i]
		n |= int(c&0x7F) << (7 * (i - 1))
		if c < 0x80 {
			if c == 0 && i > 1 {
				return h, false, malformed("MQTT-1.5.5-1", "remaining length is not in its shortest form")
			}
			h.Body = 1 + i
			h.Len = h.Body + n
			return h, true, nil
		}
		if i == 4 {
			return h, false, malformed("1.5.5", "remaining length has more than four bytes")
		}
	}
	return h, false, nil
}

func flagsValid(typ, flags byte) bool {
	switch typ {
	case 0:
		return false
	case TypePublish:
		return flags&0x06 != 0x06 && flags&0x0E != 0x08
	case TypePubrel, TypeSubscribe, TypeUnsubscribe:
		return flags == 0x02
	default:
		return flags == 0
	}
}

func flagsError(typ, flags byte) *Error {
	switch typ {
	case 0:
		return malformed("2.1.2", "packet type 0 is forbidden")
	case TypePublish:
		if flags&0x06 == 0x06 {
			return malformed("MQTT-3.3.1-4", "PUBLISH with QoS 3")
		}
		return malformed("MQTT-3.3.1-2", "PUBLISH with DUP and QoS 0")
	case TypePubrel:
		return malformed("MQTT-3.6.1-1", "PUBREL header flags are not 0010")
	case TypeSubscribe:
		return malformed("MQTT-3.8.1-1", "SUBSCRIBE header flags are not 0010")
	case TypeUnsubscribe:
		return malformed("MQTT-3.10.1-1", "UNSUBSCRIBE header flags are not 0010")
	case TypeDisconnect:
		return malformed("MQTT-3.14.1-1", "DISCONNECT header flags are not 0000")
	case TypeAuth:
		return malformed("MQTT-3.15.1-1", "AUTH header flags are not 0000")
	}
	return malformed("MQTT-2.1.3-1", "reserved header flags are not 0000")
}

// whole reads the header of p, which must be exactly one packet of type typ.
func whole(p []byte, typ byte) (Header, *Error) {
	h, ok, err := ReadHeader(p)
	if err != nil {
		return h, err
	}
	if !ok || h.Len != len(p) {
		return h, malformed("2.1.4", "packet is not as long as its remaining length says")
	}
	if h.Type != typ {
		return h, violation("2.1.2", "packet type is not the expected one")
	}
	return h, nil
}
