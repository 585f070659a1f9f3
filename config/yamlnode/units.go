// This file parses durations with days and sizes with units.

package yamlnode

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// ParseDuration parses Go's duration syntax with whole days in front: "90s", "24h", "7d", "1d12h".
// A bare 0 is allowed; any other number needs its unit.
func ParseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	tail, sign := s, time.Duration(1)
	if strings.HasPrefix(tail, "-") {
		tail, sign = tail[1:], -1
	}
	var total time.Duration
	if n, after, ok := strings.Cut(tail, "d"); ok && n != "" && strings.Trim(n, "0123456789") == "" {
		days, err := strconv.ParseInt(n, 10, 64)
		if err != nil || days > int64(math.MaxInt64/day) {
			return 0, fmt.Errorf("the duration %s is too long", quote(s))
		}
		total, tail = time.Duration(days)*day, after
	}
	if tail == "" && total != 0 || tail == "" && strings.HasSuffix(s, "d") {
		return sign * total, nil
	}
	d, err := time.ParseDuration(tail)
	if err != nil || d < 0 || strings.HasPrefix(tail, "+") {
		if _, err := strconv.ParseFloat(s, 64); err == nil {
			return 0, fmt.Errorf("the duration %s has no unit", quote(s))
		}
		return 0, fmt.Errorf("%s is not a duration", quote(s))
	}
	if total+d < total {
		return 0, fmt.Errorf("the duration %s is too long", quote(s))
	}
	return sign * (total + d), nil
}

// FormatDuration is the shortest form of d that ParseDuration reads: "7d", "24h", "1m30s". One day
// remains "24h", the usual form.
func FormatDuration(d time.Duration) string {
	if d > day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// ParseSize parses a number of bytes: "1GiB" (1024³), "500MB" (1000²), "1.5MiB", "4096". It refuses
// short forms such as "64M", because programs disagree about their meaning.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := s[len(digits):]
	digits = strings.TrimRight(digits, " ")
	mult := int64(1)
	if unit != "" {
		mult = 0
		for _, u := range sizeUnits {
			if u.name == unit {
				mult = u.bytes
			}
		}
	}
	whole, frac, dot := strings.Cut(digits, ".")
	if whole == "" || dot && (frac == "" || len(frac) > 3) || strings.Trim(whole+frac, "0123456789") != "" {
		return 0, fmt.Errorf("%s is not a size", quote(s))
	}
	if mult == 0 {
		return 0, fmt.Errorf("%s is not a unit of size", quote(unit))
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if errors.Is(err, strconv.ErrRange) || n > math.MaxInt64/mult-1 {
		return 0, fmt.Errorf("the size %s is too large", quote(s))
	}
	bytes := n * mult
	if dot {
		f, _ := strconv.ParseInt(frac, 10, 64)
		scale := int64(math.Pow10(len(frac)))
		if mult < 1000 {
			return 0, fmt.Errorf("%s is not a whole number of bytes", quote(s))
		}
		bytes += mult / scale * f
		bytes += mult % scale * f / scale
	}
	return bytes, nil
}

// FormatSize is the shortest exact form of n bytes that ParseSize reads: "1GiB", "500MB", "1500".
func FormatSize(n int64) string {
	for _, u := range sizeUnits {
		if n > 0 && n%u.bytes == 0 && u.bytes > 1 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
