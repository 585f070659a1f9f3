package frame

import (
	"bytes"
	"unicode/utf8"
)

// Strings, topic names and topic filters: MQTT 5 sections 1.5.4, 4.7 and 4.8.2.

const maxText = 65_535 // the longest string MQTT can express, in bytes

var sharePrefix = []byte("$share/")

// ValidUTF8 reports whether b may stand in a UTF-8 encoded string: well-formed, without surrogates
// [MQTT-1.5.4-1] and without U+0000 [MQTT-1.5.4-2]. U+FEFF is an ordinary character [MQTT-1.5.4-3];
// control characters and non-characters, which the text only advises against, are allowed. The length
// is not looked at.
func ValidUTF8(b []byte) bool {
	return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0
}

// ValidTopicName reports whether b is a topic name: 1..65,535 bytes of valid UTF-8 without wildcards
// [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT-4.7.3-1..3].
func ValidTopicName(b []byte) bool {
	return len(b) > 0 && len(b) <= maxText && ValidUTF8(b) && !hasWildcard(b)
}

func hasWildcard(b []byte) bool {
	return bytes.IndexByte(b, '+') >= 0 || bytes.IndexByte(b, '#') >= 0
}

// ValidFilter returns nil if b is a topic filter a client may subscribe to. Code is CodeMalformed for
// what cannot stand in a SUBSCRIBE at all (no bytes, ill-formed UTF-8, U+0000), and
// CodeTopicFilterInvalid, the code for SUBACK, for a misplaced wildcard or a bad share name.
func ValidFilter(b []byte) *Error {
	if len(b) == 0 {
		return malformed("MQTT-4.7.3-1", "topic filter is empty")
	}
	if len(b) > maxText {
		return badFilter("MQTT-4.7.3-3", "topic filter is longer than 65,535 bytes")
	}
	if !ValidUTF8(b) {
		return (&reader{version: V5}).badText(b)
	}
	if bytes.HasPrefix(b, sharePrefix) {
		b = b[len(sharePrefix):]
		slash := bytes.IndexByte(b, '/')
		switch {
		case slash == 0 || len(b) == 0:
			return badFilter("MQTT-4.8.2-1", "share name is empty")
		case slash < 0:
			return badFilter("MQTT-4.8.2-2", "shared subscription has no topic filter after its share name")
		case hasWildcard(b[:slash]):
			return badFilter("MQTT-4.8.2-2", "share name contains a wildcard")
		case slash == len(b)-1:
			return badFilter("MQTT-4.8.2-2", "shared subscription has an empty topic filter")
		}
		b = b[slash+1:]
	}
	for i, c := range b {
		switch c {
		case '#':
			if i != len(b)-1 || (i > 0 && b[i-1] != '/') {
				return badFilter("MQTT-4.7.1-1", "# is not the whole last level")
			}
		case '+':
			if (i > 0 && b[i-1] != '/') || (i < len(b)-1 && b[i+1] != '/') {
				return badFilter("MQTT-4.7.1-2", "+ is not a whole level")
			}
		}
	}
	return nil
}

func badFilter(statement, reason string) *Error {
	return &Error{Code: CodeTopicFilterInvalid, Reason: reason, Statement: statement}
}
