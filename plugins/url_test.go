package plugins

// This file tests URLs with ${…}: an event chooses neither the host nor another level of the path.

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postbus/postbus/plugins/expr"
)

func checked(t *testing.T, text string) (*Spec, string) {
	t.Helper()
	_, cat := newProbes(t)
	c := &Checker{Catalog: cat, Dir: "/plugins.d", Host: "pi"}
	s, errs := c.Check("a", "a.yaml", []byte(text))
	return s, errs.Render()
}

func TestURLs(t *testing.T) {
	const filled = "the host is filled in"
	for url, want := range map[string]string{
		"https://user:pw@api.example.com:8443/x?y=z": "host:api.example.com:8443",
		"http://x/y":         "host:x:80",
		"https://u:p@[::1]/": "host:[::1]:443",
		"https://x/a/${event.text}?b=${event.value}": "host:x:443",
		"https://u:${secret.p}@x/${secret.q}":        "host:x:443",
		"https://${event.text}:${secret.p}@x/":       "host:x:443",
		"http://user:hunter2\x7f@x/":                 "this is not a URL",
		"http://user:hunter2":                        "this is not a URL",
		"ftp://x":                                    "the URL does not begin with http:// or https://",
		"/x":                                         "the URL does not begin with http:// or https://",
		"/x/${event.text}":                           "the URL does not begin with http:// or https://",
		"http:///x":                                  "the URL has no host",
		"http://x:99999/":                            "the URL's port is not a number from 1 to 65535",
		"http://x:99999/${event.text}":               "the URL's port is not a number from 1 to 65535",
		"http://x/#y":                                "the URL has a fragment (#), which is not sent to the server",
		"${event.text}":                              filled,
		"${secret.hook}":                             filled,
		"${event.text}://x/":                         filled,
		"http://${event.text}/":                      filled,
		"http://x.${event.text}.de/":                 filled,
		"http://x${event.text}":                      filled,
		"http://x:${event.value}/":                   filled,
		"http://${secret.a}/":                        filled,
		"http://u@${event.text}@x/":                  "host:x:80",
	} {
		for _, what := range []string{"actions: [{http: {url: %q}}]", "source"} {
			text := "source: {probe: {name: a}}\n" + fmt.Sprintf(what, url)
			if what == "source" {
				if strings.Contains(url, "event.") {
					continue
				}
				text = fmt.Sprintf("source: {http: {url: %q}}\npublish: [{topic: x}]\n", url)
			}
			s, errs := checked(t, text)
			if strings.HasPrefix(want, "host:") {
				if s == nil || len(s.access) != 1 || s.access[0] != want {
					t.Errorf("%s: %s", text, errs)
				}
				continue
			}
			if s != nil || !strings.Contains(errs, want) || strings.Contains(strings.SplitN(errs, "\n", 2)[0], "hunter2") {
				t.Errorf("%s: %s, want %s", text, errs, want)
			}
		}
	}
}

func TestFilledInURLs(t *testing.T) {
	for _, c := range []struct{ url, permissions, value, want string }{
		{"https://x/a/${event.text}/b?c=${event.text}", "", "p/q &?#%", "https://x/a/p%2Fq%20&%3F%23%25/b?c=p%2Fq%20%26%3F%23%25"},
		{"https://x/a/${event.text}", "", "..", `a level of the URL's path is ".."`},
		{"https://x/a/b${event.text}", "", "..", "https://x/a/b.."},
		{"https://x/a/${event.text}/b", "", "", "a filled-in level of the URL's path is empty"},
		{"https://x/${event.text}", "", "/evil.example/", "https://x/%2Fevil.example%2F"},
		{"https://x/?q=${event.text}", "", "", "https://x/?q="},
		{"https://u:${event.text}@x/", "", "a@evil.example/", "https://u:a%40evil.example%2F@x/"},
		{"https://${event.text}@x/", "", "evil.example/", "https://evil.example%2F@x/"},
		{"${event.text}", "permissions: {host: ['*.example:443']}", "https://a.example/x", "https://a.example/x"},
		{"${event.text}", "permissions: {host: ['*.example:443']}", "https://a.evil/x", `the host "a.evil:443" is not listed in permissions.host`},
		{"${event.text}", "permissions: {host: ['*.example:443']}", "http://a.example/x", `the host "a.example:80" is not listed`},
		{"${event.text}", "permissions: {host: ['*.example:443']}", "https://a.example@a.evil/x", `the host "a.evil:443" is not listed`},
		{"${event.text}", "permissions: {host: ['*']}", "ftp://a.example/x", "the URL does not begin with http:// or https://"},
		{"http://${event.text}.local/x", "permissions: {host: ['*.local:80']}", "pi", "http://pi.local/x"},
		{"http://${event.text}.local/x", "permissions: {host: ['*.local:80']}", "evil.example/", "the filled-in URL is not a URL"},
		{"http://${event.text}/x", "permissions: {host: ['a:80']}", "b", `the host "b:80" is not listed`},
		{"http://${event.text}/x", "permissions: {host: []}", "b", `the host "b:80" is not listed`},
	} {
		s, errs := checked(t, fmt.Sprintf("source: {probe: {name: a}}\nactions: [{http: {url: %q}}]\n%s\n", c.url, c.permissions))
		if s == nil {
			t.Errorf("%s: %s", c.url, errs)
			continue
		}
		o, refused := s.rules[0].outcome(s, &expr.Vars{Event: map[string]any{"text": c.value}}, origin{}, stepsBegin)
		if refused != nil {
			if !strings.Contains(refused.Error(), c.want) {
				t.Errorf("%s with %q: %v", c.url, c.value, refused)
			}
			continue
		}
		if o.args["url"] != c.want {
			t.Errorf("%s with %q: %v", c.url, c.value, o.args["url"])
		}
	}
}

// A secret is filled in when the job is done, so that its URL is checked then.
func TestSecretsInURLs(t *testing.T) {
	for _, c := range []struct{ url, permissions, secret, want string }{
		{"https://x/${event.text}/${secret.a}?k=${secret.a}", "", "T0/B1:x&", "https://x/e/T0/B1:x&?k=T0%2FB1%3Ax%26"},
		{"https://u:${secret.a}@x/${event.text}", "", "p@ss/", "https://u:p%40ss%2F@x/e"},
		{"https://x/${event.text}/${secret.a}", "", "../y", `a level of the URL's path is ".."`},
		{"${secret.a}/${event.text}", "permissions: {host: ['hooks.example:443']}", "https://hooks.example/s/1", "https://hooks.example/s/1/e"},
		{"${secret.a}/${event.text}", "permissions: {host: ['hooks.example:443']}", "https://evil.example/s/1", `the host "evil.example:443" is not listed`},
	} {
		s, errs := checked(t, fmt.Sprintf("source: {probe: {name: a}}\nactions: [{http: {url: %q}}]\n%s\n", c.url, c.permissions))
		if s == nil {
			t.Errorf("%s: %s", c.url, errs)
			continue
		}
		o, refused := s.rules[0].outcome(s, &expr.Vars{Event: map[string]any{"text": "e"}}, origin{}, stepsBegin)
		if refused != nil {
			t.Errorf("%s: %v", c.url, refused)
			continue
		}
		if strings.Contains(string(o.payload), c.secret) {
			t.Errorf("the secret is in the queued job %s", o.payload)
		}
		_, args, err := decodeJob(o.payload, s.rules[0].action, func(string) (string, error) { return c.secret, nil })
		switch {
		case err != nil && !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v", c.url, err)
		case err == nil && args.FieldByName("URL").String() != c.want:
			t.Errorf("%s: %s", c.url, args.FieldByName("URL"))
		}
		_, _, err = decodeJob(o.payload, s.rules[0].action, func(string) (string, error) { return "", errors.New("locked") })
		if absent := (*secretError)(nil); !errors.As(err, &absent) {
			t.Errorf("%s without the secret: %v", c.url, err)
		}
	}
}
