package remote

import (
	"errors"
	"net/url"
	"testing"
)

func TestSite(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:1883": "192.0.2.1", "192.0.2.1": "192.0.2.1", "[2001:db8::1]:1": "2001:db8::/64", "[2001:db8:0:0:ffff::1]:2": "2001:db8::/64",
		"[::ffff:192.0.2.1]:1": "192.0.2.1", "[fe80::1%eth0]:1": "fe80::1%eth0", "@": "@", "": "", "/run/x.sock": "/run/x.sock",
	} {
		if got := Site(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}

func TestWithoutSecrets(t *testing.T) {
	for location, want := range map[string]string{"https://h/p?key=x?y": "https://h/p", "https://h/p": "https://h/p", "": ""} {
		if got := WithoutQuery(location); got != want {
			t.Errorf("%q: %q, want %q", location, got, want)
		}
	}
	cause := errors.New("refused")
	for _, err := range []error{cause, &url.Error{Op: "Get", URL: "https://h/p?key=x", Err: cause}} {
		if got := WithoutURL(err); got != cause {
			t.Errorf("%v: %v", err, got)
		}
	}
}
