package frame

import (
	"strings"
	"testing"
)

func TestValidFilter(t *testing.T) {
	for _, c := range []struct {
		filter    string
		statement string // empty: valid
	}{
		{"a", ""}, {"/", ""}, {"//", ""}, {"#", ""}, {"+", ""}, {"a/#", ""}, {"/#", ""}, {"a//#", ""},
		{"+/+", ""}, {"/+", ""}, {"+/", ""}, {"a/+/b", ""}, {"+/a/#", ""}, {"+/#", ""}, {"a b", ""}, {"é/+", ""},
		{"$SYS/#", ""}, {"$share", ""}, {"$share/g/a", ""}, {"$share/g/#", ""}, {"$share/g/+/a", ""}, {"$share/g//", ""},
		{"$share/$g/a", ""}, {"$shared/+/a", ""}, {"a/$share//", ""}, {"\uFEFF", ""},
		{strings.Repeat("a", 65535), ""},

		{"", "MQTT-4.7.3-1"},
		{strings.Repeat("a", 65536), "MQTT-4.7.3-3"},
		{"a\x00", "MQTT-1.5.4-2"}, {"\xff", "MQTT-1.5.4-1"}, {"\xED\xA0\x80", "MQTT-1.5.4-1"},
		{"a#", "MQTT-4.7.1-1"}, {"#/a", "MQTT-4.7.1-1"}, {"a/#/b", "MQTT-4.7.1-1"}, {"##", "MQTT-4.7.1-1"},
		{"a/b#", "MQTT-4.7.1-1"}, {"#a", "MQTT-4.7.1-1"}, {"a/#b", "MQTT-4.7.1-1"}, {"#/", "MQTT-4.7.1-1"},
		{"a+", "MQTT-4.7.1-2"}, {"a+/b", "MQTT-4.7.1-2"}, {"+a", "MQTT-4.7.1-2"}, {"a/+b", "MQTT-4.7.1-2"},
		{"++", "MQTT-4.7.1-2"}, {"+#", "MQTT-4.7.1-2"}, {"é+", "MQTT-4.7.1-2"},
		{"$share/", "MQTT-4.8.2-1"}, {"$share//a", "MQTT-4.8.2-1"}, {"$share//", "MQTT-4.8.2-1"},
		{"$share/g", "MQTT-4.8.2-2"}, {"$share/g/", "MQTT-4.8.2-2"}, {"$share/+/a", "MQTT-4.8.2-2"},
		{"$share/g#/a", "MQTT-4.8.2-2"}, {"$share/g/a#", "MQTT-4.7.1-1"}, {"$share/g/a+", "MQTT-4.7.1-2"},
	} {
		name := c.filter[:min(len(c.filter), 20)]
		err := ValidFilter([]byte(c.filter))
		switch {
		case err == nil && c.statement != "":
			t.Errorf("%q: accepted, want %s", name, c.statement)
		case err != nil && err.Statement != c.statement:
			t.Errorf("%q: %v, want %q", name, err, c.statement)
		}
	}
}

func TestValidTopicName(t *testing.T) {
	for _, s := range []string{"a", "/", "$SYS/a", "a b", "\x01", "\uFFFF", "\uFEFF", strings.Repeat("a", 65535)} {
		if !ValidTopicName([]byte(s)) {
			t.Errorf("%.20q: refused", s)
		}
	}
	for _, s := range []string{"", "+", "a/#", "a+b", "\x00", "a\xff", "\xED\xBF\xBF", strings.Repeat("a", 65536)} {
		if ValidTopicName([]byte(s)) {
			t.Errorf("%.20q: accepted", s)
		}
	}
}
