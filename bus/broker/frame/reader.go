package frame

import "encoding/binary"

// A reader walks over the body of one packet. Each method reads one of the data types of MQTT 5
// section 1.5 and never reads past the end of b.

type reader struct {
	b       []byte // the packet up to the end of the readable part
	i       int    // offset of the next byte, <= len(b)
	version byte
}

func (r *reader) left() int { return len(r.b) - r.i }

// statement selects a statement's number in the packet's version.
func (r *reader) statement(v5, v3 string) string {
	if r.version >= V5 {
		return v5
	}
	return v3
}

func (r *reader) truncated() *Error {
	return malformed("1.5", "packet ends in the middle of a field")
}

// end refuses bytes after the last field.
func (r *reader) end() *Error {
	if r.i != len(r.b) {
		return malformed("4.13", "bytes after the end of the last field")
	}
	return nil
}

func (r *reader) u8() (byte, *Error) {
	if r.left() < 1 {
		return 0, r.truncated()
	}
	v := r.b[r.i]
	r.i++
	return v, nil
}

func (r *reader) u16() (uint16, *Error) {
	if r.left() < 2 {
		return 0, r.truncated()
	}
	v := binary.BigEndian.Uint16(r.b[r.i:])
	r.i += 2
	return v, nil
}

func (r *reader) u32() (uint32, *Error) {
	if r.left() < 4 {
		return 0, r.truncated()
	}
	v := binary.BigEndian.Uint32(r.b[r.i:])
	r.i += 4
	return v, nil
}

// varint reads a variable byte integer [MQTT-1.5.5-1].
func (r *reader) varint() (uint32, *Error) {
	var v uint32
	for k := range 4 {
		c, err := r.u8()
		if err != nil {
			return 0, err
		}
		v |= uint32(c&0x7F) << (7 * k)
		if c < 0x80 {
			if c == 0 && k > 0 {
				return 0, malformed("MQTT-1.5.5-1", "variable byte integer is not in its shortest form")
			}
			return v, nil
		}
	}
	return 0, malformed("1.5.5", "variable byte integer has more than four bytes")
}

// binary reads binary data: two bytes of length, then that many bytes.
func (r *reader) binary() ([]byte, *Error) {
	if r.left() < 2 {
		return nil, r.truncated()
	}
	n := int(binary.BigEndian.Uint16(r.b[r.i:]))
	if r.left()-2 < n {
		return nil, r.truncated()
	}
	start := r.i + 2
	r.i = start + n
	return r.b[start:r.i:r.i], nil
}

// text reads a UTF-8 encoded string [MQTT-1.5.4-1] [MQTT-1.5.4-2].
func (r *reader) text() ([]byte, *Error) {
	s, err := r.binary()
	if err != nil {
		return nil, err
	}
	if !ValidUTF8(s) {
		return nil, r.badText(s)
	}
	return s, nil
}

func (r *reader) badText(s []byte) *Error {
	for _, c := range s {
		if c == 0 {
			return malformed(r.statement("MQTT-1.5.4-2", "MQTT-1.5.3-2"), "string contains U+0000")
		}
	}
	return malformed(r.statement("MQTT-1.5.4-1", "MQTT-1.5.3-1"), "string is not well-formed UTF-8")
}

// packetID reads a packet identifier, which must not be 0.
func (r *reader) packetID() (uint16, *Error) {
	id, err := r.u16()
	if err != nil {
		return 0, err
	}
	if id == 0 {
		return 0, violation(r.statement("MQTT-2.2.1-3", "MQTT-2.3.1-1"), "packet identifier is 0")
	}
	return id, nil
}
