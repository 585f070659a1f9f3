package frame

import (
	"bytes"
	"unicode/utf8"
)

// UTF-8 encoded strings: MQTT 5 section 1.5.4.

const maxText = 65_535 // the longest string MQTT can express, in bytes

// ValidUTF8 reports whether b may be a UTF-8 encoded string: well-formed, without surrogates
// [MQTT-1.5.4-1] and without U+0000 [MQTT-1.5.4-2]. U+FEFF is an ordinary character [MQTT-1.5.4-3].
// Control characters and non-characters are allowed; the specification only advises against them.
// The length is not checked.
func ValidUTF8(b []byte) bool {
	return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0
}
