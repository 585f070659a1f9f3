// Package payload decodes bytes from outside: bytes as text, and text as JSON. Every source, secret
// and web hook decodes by these rules, so that a value means the same wherever it came from.
//
// Text: a byte order mark declares the encoding and is not part of the text. UTF-16 with its mark
// is decoded. Everything else is UTF-8, and invalid bytes become U+FFFD. In a stream the mark
// appears once, at the beginning, and the caller keeps its Units for the rest of the stream.
//
// JSON: integers are exact. They are int64, or a json.Number with the digits as they were sent when
// they don't fit. Other numbers are float64, or a json.Number when they are larger than any
// float64.
//
// It uses only the standard library, and knows nothing of events.
package payload

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	markUTF8  = "\xef\xbb\xbf"
	markLow   = "\xff\xfe" // UTF-16, the low byte first
	markHigh  = "\xfe\xff"
	mark      = 0xfeff
	undecoded = "\uFFFD"
)

// Text decodes b as text.
func Text(b []byte) string {
	if len(b) == 0 || b[0] < utf8.RuneSelf && utf8.Valid(b) {
		return string(b)
	}
	b = Decode(b)
	if utf8.Valid(b) {
		return string(b)
	}
	return string(bytes.ToValidUTF8(b, []byte(undecoded)))
}

// Decode returns b without its byte order mark, as UTF-8 where the mark declares UTF-16. Without a
// mark it returns b itself, UTF-8 or not.
func Decode(b []byte) []byte {
	if u := UnitsOf(b); u != Bytes {
		return u.Decode(b)
	}
	return bytes.TrimPrefix(b, []byte(markUTF8))
}

// Units is the size and byte order of a text's code units.
type Units byte

// The units: single bytes, and UTF-16's pairs with the low or the high byte first.
const (
	Bytes Units = iota
	LowFirst
	HighFirst
)

// UnitsOf returns the units that the byte order mark at the beginning of a text or stream declares.
// Two bytes are enough.
func UnitsOf(b []byte) Units {
	switch {
	case bytes.HasPrefix(b, []byte(markLow)):
		return LowFirst
	case bytes.HasPrefix(b, []byte(markHigh)):
		return HighFirst
	}
	return Bytes
}

// Unit encodes a character below 256, such as a line end, in u.
func (u Units) Unit(c byte) []byte {
	switch u {
	case LowFirst:
		return []byte{c, 0}
	case HighFirst:
		return []byte{0, c}
	}
	return []byte{c}
}

// Decode decodes b, a piece of a text in u, to UTF-8 without a byte order mark. Half a character,
// or a surrogate without its pair, becomes U+FFFD.
func (u Units) Decode(b []byte) []byte {
	if u == Bytes {
		return b
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		if u == LowFirst {
			units[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
		} else {
			units[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
		}
	}
	if len(units) > 0 && units[0] == mark {
		units = units[1:]
	}
	out := make([]byte, 0, len(b))
	for _, c := range utf16.Decode(units) {
		out = utf8.AppendRune(out, c)
	}
	if len(b)%2 == 1 {
		out = append(out, undecoded...)
	}
	return out
}
