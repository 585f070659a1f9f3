package bench

// This file is the part of MQTT 3.1.1 that a load generator needs: encoding a client's packets,
// decoding a broker's. Section numbers are of the OASIS standard of 29 October 2014.

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Packet types, in the high four bits of the first byte (2.2.1).
const (
	typeConnect    = 0x10
	typeConnack    = 0x20
	typePublish    = 0x30
	typePuback     = 0x40
	typePubrec     = 0x50
	typePubrel     = 0x62 // with its reserved flags
	typePubcomp    = 0x70
	typeSubscribe  = 0x82 // with its reserved flags
	typeSuback     = 0x90
	typePingreq    = 0xC0
	typePingresp   = 0xD0
	typeDisconnect = 0xE0

	flagDup = 0x08
)

// packet is one control packet in the read buffer. body is valid until the next fill.
type packet struct {
	head byte
	body []byte
}

func (p packet) kind() byte { return p.head & 0xF0 }

var errMalformed = errors.New("the broker sent a malformed packet")

// split finds the first packet in b. size includes the header, and is 0 when b doesn't contain all
// of it; need is then how many bytes the packet has (0: unknown yet).
func split(b []byte) (p packet, size, need int, err error) {
	length, shift := 0, 0
	for i := 1; ; i++ {
		if i > 4 {
			return p, 0, 0, fmt.Errorf("%w: remaining length over four bytes", errMalformed)
		}
		if i >= len(b) {
			return p, 0, 0, nil
		}
		length |= int(b[i]&0x7F) << shift
		shift += 7
		if b[i]&0x80 != 0 {
			continue
		}
		size = i + 1 + length
		if size > len(b) {
			return p, 0, size, nil
		}
		return packet{b[0], b[i+1 : size]}, size, size, nil
	}
}

// identifier reads the packet identifier of an acknowledgement.
func (p packet) identifier() (uint16, error) {
	if len(p.body) < 2 {
		return 0, fmt.Errorf("%w: type %#x without a packet identifier", errMalformed, p.head)
	}
	return binary.BigEndian.Uint16(p.body), nil
}

// publish decodes a PUBLISH (3.3); id is 0 at QoS 0.
func (p packet) publish() (qos byte, id uint16, payload []byte, err error) {
	qos = p.head >> 1 & 3
	if qos == 3 || len(p.body) < 2 {
		return 0, 0, nil, fmt.Errorf("%w: PUBLISH %#x of %d bytes", errMalformed, p.head, len(p.body))
	}
	at := 2 + int(binary.BigEndian.Uint16(p.body))
	end := at
	if qos > 0 {
		end += 2
	}
	if end > len(p.body) {
		return 0, 0, nil, fmt.Errorf("%w: PUBLISH shorter than its topic", errMalformed)
	}
	if qos > 0 {
		id = binary.BigEndian.Uint16(p.body[at:])
	}
	return qos, id, p.body[end:], nil
}

func appendLength(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// appendConnect encodes CONNECT (3.1) with keep alive 0, because the generator's own timeouts watch
// the connection.
func appendConnect(b []byte, id string, clean bool, user, password string) []byte {
	flags, length := byte(0), 10+2+len(id)
	if clean {
		flags |= 0x02
	}
	if user != "" {
		flags |= 0x80
		length += 2 + len(user)
		if password != "" {
			flags |= 0x40
			length += 2 + len(password)
		}
	}
	b = appendLength(append(b, typeConnect), length)
	b = appendString(b, "MQTT")
	b = append(b, 4, flags, 0, 0)
	b = appendString(b, id)
	if flags&0x80 != 0 {
		b = appendString(b, user)
	}
	if flags&0x40 != 0 {
		b = appendString(b, password)
	}
	return b
}

// appendSubscribe encodes SUBSCRIBE (3.8), for MQTT 5 with no properties.
func appendSubscribe(b []byte, v5 bool, id uint16, qos byte, filters ...string) []byte {
	length := 2
	if v5 {
		length++
	}
	for _, f := range filters {
		length += 2 + len(f) + 1
	}
	b = appendLength(append(b, typeSubscribe), length)
	b = binary.BigEndian.AppendUint16(b, id)
	if v5 {
		b = append(b, 0)
	}
	for _, f := range filters {
		b = append(appendString(b, f), qos)
	}
	return b
}

// appendAck encodes PUBACK, PUBREC, PUBREL or PUBCOMP.
func appendAck(b []byte, kind byte, id uint16) []byte {
	return append(b, kind, 2, byte(id>>8), byte(id))
}

// appendPublish encodes a PUBLISH with a payload of size zero bytes, and returns the offsets of the
// packet identifier and the payload from its first byte.
func appendPublish(b []byte, topic string, qos byte, size int) (out []byte, idAt, payloadAt int) {
	length := 2 + len(topic) + size
	if qos > 0 {
		length += 2
	}
	start := len(b)
	b = appendString(appendLength(append(b, typePublish|qos<<1), length), topic)
	idAt = len(b) - start
	if qos > 0 {
		b = append(b, 0, 0)
	}
	payloadAt = len(b) - start
	return append(b, make([]byte, size)...), idAt, payloadAt
}

// refusal describes a CONNACK return code (3.2.2.3).
func refusal(code byte) string {
	switch code {
	case 1:
		return "unacceptable protocol version"
	case 2:
		return "client identifier rejected"
	case 3:
		return "server unavailable"
	case 4:
		return "bad user name or password"
	case 5:
		return "not authorized"
	}
	return fmt.Sprintf("return code %d", code)
}
