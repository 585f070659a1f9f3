// This file: topics and filters, and the rules that make one topic of another.

package bridge

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

func checkText(s string) error {
	switch {
	case s == "":
		return errors.New("it is empty")
	case len(s) > 65535:
		return fmt.Errorf("it has %d bytes, more than 65535", len(s))
	case strings.ContainsRune(s, 0) || !utf8.ValidString(s):
		return fmt.Errorf("%q holds a NUL character or is not UTF-8", s)
	}
	return nil
}

// checkTopic reports why s is no topic name ([MQTT-3.3.2-2], [MQTT-4.7.3-1 to 3]).
func checkTopic(s string) error {
	if err := checkText(s); err != nil {
		return err
	}
	if strings.ContainsAny(s, "+#") {
		return fmt.Errorf("%q holds a wildcard", s)
	}
	return nil
}

// checkFilter reports why f is no topic filter ([MQTT-4.7.1-1], [MQTT-4.7.1-2]).
func checkFilter(f string) error {
	if err := checkText(f); err != nil {
		return err
	}
	if f == "$share" || strings.HasPrefix(f, "$share/") {
		return fmt.Errorf("%q: a bridge can't share a subscription", f)
	}
	levels := strings.Split(f, "/")
	for i, l := range levels {
		if l == "#" && i < len(levels)-1 {
			return fmt.Errorf("%q: # must be the last level", f)
		}
		if len(l) > 1 && strings.ContainsAny(l, "+#") {
			return fmt.Errorf("%q: + and # must be levels of their own", f)
		}
	}
	return nil
}

// match reports whether the filter matches the topic; a wildcard at the first level doesn't reach $ topics [MQTT-4.7.2-1].
func match(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	for {
		if filter == "#" {
			return true
		}
		f, frest, fmore := strings.Cut(filter, "/")
		t, trest, tmore := strings.Cut(topic, "/")
		switch {
		case f != "+" && f != t:
			return false
		case !tmore:
			return !fmore || frest == "#"
		case !fmore:
			return false
		}
		filter, topic = frest, trest
	}
}

// overlap reports whether some topic matches both filters.
func overlap(a, b string) bool {
	if wild := func(f string) bool { return f[0] == '+' || f[0] == '#' }; wild(a) && b[0] == '$' || wild(b) && a[0] == '$' {
		return false
	}
	for {
		if a == "#" || b == "#" {
			return true
		}
		al, arest, amore := strings.Cut(a, "/")
		bl, brest, bmore := strings.Cut(b, "/")
		switch {
		case al != bl && al != "+" && bl != "+":
			return false
		case !amore && !bmore:
			return true
		case !amore:
			return brest == "#"
		case !bmore:
			return arest == "#"
		}
		a, b = arest, brest
	}
}

// rename takes strip off a topic and puts prefix before it. The error says why what comes out is no topic.
func rename(topic, strip, prefix string) (string, error) {
	topic = prefix + strings.TrimPrefix(topic, strip)
	return topic, checkTopic(topic)
}
