package main

import (
	"net/url"
	"testing"
)

// TestOneURLForBoth: a password that was to cross the network encrypted doesn't cross it in the clear.
func TestOneURLForBoth(t *testing.T) {
	for _, c := range []struct{ given, port, want string }{
		{"http://pi:8080", "1883", "tcp://pi:1883"},
		{"https://pi:8443", "1883", "tls://pi:8883"},
		{"tcp://[::1]:1883", "8080", "http://[::1]:8080"},
		{"tls://pi", "8080", "https://pi:8443"},
		{"mqtts://pi:8883", "8080", "https://pi:8443"},
	} {
		u, err := url.Parse(c.given)
		if err != nil {
			t.Fatal(err)
		}
		if got := counterpart(u, c.port).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.given, got, c.want)
		}
	}
}
