package bench

// This file is the part of MQTT 5 that a subscriber needs to see the user property gap.

import (
	"encoding/binary"
	"fmt"
)

// sessionExpiry keeps a session long enough for a run, in seconds.
const sessionExpiry = 3600

// appendConnect5 is appendConnect with level 5, and a session expiry unless the session is to be
// clean.
func appendConnect5(b []byte, id string, clean bool, user, password string) []byte {
	var properties []byte
	if !clean {
		properties = binary.BigEndian.AppendUint32([]byte{0x11}, sessionExpiry)
	}
	old := appendConnect(nil, id, clean, user, password)
	p, _, _, _ := split(old)
	const header = 10 // name, level, flags, keep alive
	b = appendLength(append(b, typeConnect), len(p.body)+1+len(properties))
	at := len(b)
	b = append(b, p.body[:header]...)
	b[at+6] = 5
	b = append(append(b, byte(len(properties))), properties...)
	return append(b, p.body[header:]...)
}

// readProperties splits the bytes after the packet identifier of a PUBLISH into properties and
// payload, and reports whether the user property gap is among them.
func readProperties(b []byte) (gap bool, payload []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || n > 4 || size > uint64(len(b)-n) {
		return false, nil, fmt.Errorf("%w: PUBLISH shorter than its properties", errMalformed)
	}
	payload = b[n+int(size):]
	for b = b[n : n+int(size)]; len(b) > 0; {
		size := propertySize(b)
		if size == 0 || size > len(b) {
			return false, nil, fmt.Errorf("%w: property %#x of a PUBLISH", errMalformed, b[0])
		}
		const gapKey = "\x26\x00\x03gap"
		gap = gap || len(b) > len(gapKey) && string(b[:len(gapKey)]) == gapKey
		b = b[size:]
	}
	return gap, payload, nil
}

// propertySize returns the length of the first property of a PUBLISH (2.2.2.2) in bytes, 0 when it
// is not valid.
func propertySize(b []byte) int {
	text := func(at int) int { // the end of the string or binary data at
		if len(b) < at+2 {
			return len(b) + 1
		}
		return at + 2 + int(binary.BigEndian.Uint16(b[at:]))
	}
	switch b[0] {
	case 0x01: // payload format
		return 2
	case 0x23: // topic alias
		return 3
	case 0x02: // message expiry
		return 5
	case 0x03, 0x08, 0x09: // content type, response topic, correlation data
		return text(1)
	case 0x26: // user property
		return text(text(1))
	case 0x0B: // subscription identifier
		if _, n := binary.Uvarint(b[1:]); n > 0 {
			return 1 + n
		}
	}
	return 0
}
