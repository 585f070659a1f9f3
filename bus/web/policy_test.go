package web

import (
	"strings"
	"testing"
)

func TestPagePolicy(t *testing.T) {
	for host, want := range map[string]string{
		"pi.local:8080":       "connect-src 'self' ws://pi.local:8080 wss://pi.local:8080;",
		"[::1]:8080":          "connect-src 'self' ws://[::1]:8080 wss://[::1]:8080;",
		"":                    "connect-src 'self';",
		"*":                   "connect-src 'self';",
		"a; script-src *":     "connect-src 'self';",
		"pi.local ws://other": "connect-src 'self';",
	} {
		if got := pagePolicy(host); !strings.Contains(got, want) || strings.Count(got, "script-src") != 1 {
			t.Errorf("%q: %s", host, got)
		}
	}
}
