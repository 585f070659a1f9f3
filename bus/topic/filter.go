package topic

// This file is filters and subscriptions: their validity, and the parts of a subscription.

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// CheckFilter reports why f is not a topic filter [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1]: an
// *Error. It treats $share and $replay as ordinary levels.
func CheckFilter(f string) error {
	if err := checkText(f); err != nil {
		return err
	}
	for i, rest, more := 0, f, true; more; i++ {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && more:
			return &Error{Fault: HashNotLast, Text: f, Level: i}
		case len(level) > 1 && HasWildcard(level):
			return &Error{Fault: NotLevel, Text: f, Level: i}
		}
	}
	return nil
}

func checkText(f string) error {
	switch {
	case f == "":
		return &Error{Fault: Empty}
	case len(f) > MaxLen:
		return &Error{Fault: TooLong, Text: f}
	case !isText(f):
		return &Error{Fault: NotText, Text: f}
	}
	return nil
}

// CheckSubscription reports why a client cannot subscribe to f: a filter, or one behind
// $share/GROUP/ [MQTT-4.8.2-1] [MQTT-4.8.2-2] or $replay/AGE/. The error is an *Error.
func CheckSubscription(f string) error {
	if err := checkText(f); err != nil {
		return err
	}
	if age, inner, ok := SplitReplay(f); ok {
		if _, err := ParseAge(age); err != nil {
			return &Error{Fault: BadAge, Text: f, Age: age}
		}
		if inner == "" || strings.HasPrefix(inner, ReplayPrefix) || Shared(inner) {
			return &Error{Fault: NoReplayed, Text: f}
		}
		return CheckFilter(inner)
	}
	if !Shared(f) {
		return CheckFilter(f)
	}
	group, inner := SplitShare(f)
	switch {
	case group == "" || HasWildcard(group):
		return &Error{Fault: NoGroup, Text: f}
	case inner == "":
		return &Error{Fault: NoShared, Text: f}
	case strings.HasPrefix(inner, ReplayPrefix):
		return &Error{Fault: SharedPast, Text: f}
	}
	return CheckFilter(inner)
}

// Shared reports whether f is a shared subscription, or would be one if it named a group.
func Shared(f string) bool { return f == "$share" || strings.HasPrefix(f, SharePrefix) }

// SplitShare splits $share/GROUP/FILTER; for other filters group is empty and inner is f.
func SplitShare(f string) (group, inner string) {
	if f == "$share" {
		return "", ""
	}
	if rest, ok := strings.CutPrefix(f, SharePrefix); ok {
		group, inner, _ = strings.Cut(rest, "/")
		return group, inner
	}
	return "", f
}

// SplitReplay splits $replay/AGE/FILTER; for other filters ok is false and inner is f.
func SplitReplay(f string) (age, inner string, ok bool) {
	rest, ok := strings.CutPrefix(f, ReplayPrefix)
	if !ok {
		return "", f, false
	}
	age, inner, _ = strings.Cut(rest, "/")
	return age, inner, true
}

// Inner is the filter of a subscription, which decides the events that it delivers: f without
// $share/GROUP/ or $replay/AGE/. It is empty if they name no filter.
func Inner(f string) string {
	if _, inner, ok := SplitReplay(f); ok {
		return inner
	}
	_, inner := SplitShare(f)
	return inner
}

const maxAge = 100 * 365 * 24 * time.Hour

var errAge = errors.New("not an age")

// ParseAge parses an age of at most 100 years: a duration of package time, or days such as 7d.
func ParseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > uint64(maxAge/(24*time.Hour)) {
			return 0, errAge
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > maxAge {
		return 0, errAge
	}
	return d, nil
}
