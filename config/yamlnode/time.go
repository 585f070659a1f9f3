package yamlnode

import (
	"fmt"
	"time"
)

// Time returns a point in time (see ParseTime).
func (n Node) Time() (time.Time, bool) {
	s, ok := n.word("a time such as 2027-01-01T00:00:00Z")
	if !ok {
		return time.Time{}, false
	}
	t, err := ParseTime(s)
	if err != nil {
		n.Fail("write it as 2027-01-01T00:00:00Z, or 2027-01-01 for the beginning of that day in UTC", "%v", err)
	}
	return t, err == nil
}

// ParseTime parses a time of RFC 3339, or a date, whose time is the beginning of that day in UTC. The
// result is in UTC.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1970 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is not a time with a date", quote(s))
}
