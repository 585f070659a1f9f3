package plugins

// This file compares values for "changed".

import (
	"time"

	"github.com/postbus/postbus/plugins/expr"
)

// passes reports whether a value differs from the last that passed.
func (c *changedSpec) passes(k *keyState, value any, now time.Time) bool {
	if k.passedAt.IsZero() || c.atLeast > 0 && now.Sub(k.passedAt) >= c.atLeast {
		return true
	}
	if c.by > 0 {
		a, isA := number(k.passed)
		b, isB := number(value)
		if isA && isB {
			d := a - b
			return d >= c.by || -d >= c.by
		}
	}
	return !expr.Equal(k.passed, value)
}

func number(v any) (float64, bool) {
	switch x := plainNumber(v).(type) {
	case int64:
		return float64(x), true
	case int:
		return float64(x), true
	case uint64:
		return float64(x), true
	case float64:
		return x, true
	}
	return 0, false
}

// fingerprint returns a value to compare later: itself, or a digest if it is large.
func fingerprint(v any) any {
	switch x := v.(type) {
	case nil, bool, int, int64, uint64, float64, time.Duration:
		return v
	case string:
		if len(x) <= maxFingerprint {
			return v
		}
	}
	b, err := encodeCBOR.Marshal(plainValue(v))
	if err != nil || len(b) > maxFingerprint {
		return "sha256:" + Hash(b)
	}
	return plainValue(v)
}

const maxFingerprint = 256 // bytes of a value that is kept as it is
