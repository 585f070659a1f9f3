// Package topic is the grammar of topic names and topic filters, [MQTT-4.7], with two forms of a
// subscription that also state how it is delivered: $share/GROUP/FILTER and $replay/AGE/FILTER.
//
// It promises one answer to all callers: whether a name or a filter is valid and why not
// (CheckName, CheckFilter, CheckSubscription), whether it matches (Match, Pattern), and how two
// filters relate (Covers, Overlaps). Matching does not allocate. For invalid filters the functions
// that match and relate return an undefined result, but do not panic.
//
// A wildcard at the first level does not match names that begin with $ [MQTT-4.7.2-1], and a/#
// matches a itself [MQTT-4.7.1-2]. The package imports the standard library only, and keeps no
// state.
package topic

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// MaxLen is the maximum length of a name or a filter in bytes [MQTT-4.7.3-3].
const MaxLen = 65535

// The prefixes of subscriptions that are more than a filter.
const (
	SharePrefix  = "$share/"
	ReplayPrefix = "$replay/"
)

// CheckName reports why a client cannot publish to name [MQTT-3.3.2-2] [MQTT-4.7.3-1]: an *Error.
func CheckName(name string) error {
	switch {
	case name == "":
		return &Error{Fault: Empty, Name: true}
	case len(name) > MaxLen:
		return &Error{Fault: TooLong, Text: name, Name: true}
	case HasWildcard(name):
		return &Error{Fault: Wildcard, Text: name, Name: true}
	case !isText(name):
		return &Error{Fault: NotText, Text: name, Name: true}
	}
	return nil
}

// Levels is how many levels a name or a filter has.
func Levels(s string) int { return strings.Count(s, "/") + 1 }

// HasWildcard reports whether s contains + or #, which a name must not.
func HasWildcard(s string) bool {
	return strings.IndexByte(s, '+') >= 0 || strings.IndexByte(s, '#') >= 0
}

// HasWildcardBytes is HasWildcard for a name in a packet.
func HasWildcardBytes(b []byte) bool {
	return bytes.IndexByte(b, '+') >= 0 || bytes.IndexByte(b, '#') >= 0
}

// isText reports whether s is UTF-8 without U+0000 [MQTT-4.7.3-2].
func isText(s string) bool { return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) }

// Reserved reports whether only the bus itself may publish to the name: every topic in and below
// $SYS and $bus, and the roots $share and $replay, which name forms of subscription.
func Reserved(name string) bool {
	if name == "" || name[0] != '$' {
		return false
	}
	root, _, _ := strings.Cut(name, "/")
	return root == "$SYS" || root == "$bus" || root == "$share" || root == "$replay"
}
