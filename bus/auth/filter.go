// This file: what MQTT topic filters match, and how two of them relate. All functions want valid
// filters (CheckFilter); for others they return something, but don't panic.

package auth

import (
	"errors"
	"fmt"
	"strings"
)

// CheckFilter reports why f is no valid topic filter for a rule: empty, longer than 65535 bytes,
// a NUL, a wildcard that is not a level of its own, "#" not last ([MQTT-4.7.1-1], [MQTT-4.7.1-2],
// [MQTT-4.7.3-1 to 3]), or a shared subscription, which is judged by its filter alone.
func CheckFilter(f string) error {
	switch {
	case f == "":
		return errors.New("a topic filter can't be empty")
	case len(f) > 65535:
		return fmt.Errorf("the filter has %d bytes, more than 65535", len(f))
	case strings.IndexByte(f, 0) >= 0:
		return fmt.Errorf("the filter %q holds a NUL character", f)
	case strings.HasPrefix(f, "$share/"):
		return fmt.Errorf("a rule can't name a shared subscription: %q", f)
	}
	rest, more := f, true
	for more {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && more:
			return fmt.Errorf(`"#" must be the last level: %q`, f)
		case len(level) > 1 && strings.ContainsAny(level, "+#"):
			return fmt.Errorf("a wildcard must be a level of its own: %q", f)
		}
	}
	return nil
}

// Match reports whether the filter matches the topic name. A wildcard at the first level never
// matches a topic that begins with "$" [MQTT-4.7.2-1]; "a/#" matches "a" as well. It does not
// allocate.
func Match(filter, topic string) bool {
	if topic == "" || topic[0] == '$' && wildFirst(filter) {
		return false
	}
	for {
		if filter == "#" {
			return true
		}
		f, frest, fmore := strings.Cut(filter, "/")
		t, trest, tmore := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		switch {
		case !tmore:
			return !fmore || frest == "#"
		case !fmore:
			return false
		}
		filter, topic = frest, trest
	}
}

// wildFirst reports whether the first level is a wildcard.
func wildFirst(filter string) bool {
	return filter != "" && (filter[0] == '+' || filter[0] == '#')
}

// rooted writes "/#" so that it doesn't seem to match its parent: that would be the empty topic,
// which doesn't exist.
func rooted(filter string) string {
	if filter == "/#" {
		return "/+/#"
	}
	return filter
}

// Overlaps reports whether some topic matches both filters.
func Overlaps(a, b string) bool {
	if a == "" || b == "" || wildFirst(a) && b[0] == '$' || wildFirst(b) && a[0] == '$' {
		return false
	}
	a, b = rooted(a), rooted(b)
	for {
		if a == "#" || b == "#" {
			return true
		}
		al, arest, amore := strings.Cut(a, "/")
		bl, brest, bmore := strings.Cut(b, "/")
		if al != bl && al != "+" && bl != "+" {
			return false
		}
		switch {
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

// Covers reports whether every topic that b matches is matched by a.
func Covers(a, b string) bool {
	if a == "" || b == "" || wildFirst(a) && b[0] == '$' {
		return false
	}
	if b == "#" {
		return a == "#" || a == "+/#" // every topic has a first level
	}
	a, b = rooted(a), rooted(b)
	for {
		if a == "#" {
			return true
		}
		if b == "#" {
			return false // below here b matches everything, its parent too
		}
		al, arest, amore := strings.Cut(a, "/")
		bl, brest, bmore := strings.Cut(b, "/")
		if al != "+" && al != bl {
			return false
		}
		switch {
		case !bmore:
			return !amore || arest == "#"
		case !amore:
			return false
		}
		a, b = arest, brest
	}
}

// Inner is the filter that decides what a subscription delivers: $share/GROUP/ and
// $replay/AGE/ say how it is delivered, and are cut off. ok is false if nothing is left.
func Inner(filter string) (inner string, ok bool) {
	for _, root := range []string{"$share/", "$replay/"} {
		if rest, found := strings.CutPrefix(filter, root); found {
			if _, filter, found = strings.Cut(rest, "/"); !found {
				return "", false
			}
		}
	}
	return filter, filter != ""
}

// Reserved reports whether only the bus itself may publish to the topic: everything in and below
// $SYS and $bus, and the roots $share and $replay, which name ways to subscribe.
func Reserved(topic string) bool {
	if topic == "" || topic[0] != '$' {
		return false
	}
	root, _, _ := strings.Cut(topic, "/")
	return root == "$SYS" || root == "$bus" || root == "$share" || root == "$replay"
}
