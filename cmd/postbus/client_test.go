package main

import (
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAURLIsNeverAnotherBus checks that each command reaches the bus that a URL names, or says why
// it can't.
func TestAURLIsNeverAnotherBus(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(conf, []byte("listen: {mqtt: [\"tcp://127.0.0.1:2883\", \"unix:///run/x.sock\"], http: \"127.0.0.1:9080\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		url, env, config string
		mqtt, http       string // or part of the error
	}{
		{"http://pi:8081", "", "", "http://pi:8081", "http://pi:8081"},
		{"https://pi/bus", "", "", "https://pi/bus", "https://pi/bus"},
		{"ws://pi:8081/mqtt", "", "", "ws://pi:8081/mqtt", "http://pi:8081"},
		{"wss://pi/bus/mqtt", "", "", "wss://pi/bus/mqtt", "https://pi/bus"},
		{"tcp://pi:1883", "", "", "tcp://pi:1883", "error: --url tcp://pi:1883: this command needs the HTTP address of the bus"},
		{"", "tcp://pi:1883", "", "tcp://pi:1883", "error: POSTBUS_URL tcp://pi:1883: this command needs the HTTP address of the bus"},
		{"", "tls://pi:8883", "", "tls://pi:8883", "error: POSTBUS_URL tls://pi:8883: this command needs"},
		{"", "http://pi:8081", "", "http://pi:8081", "http://pi:8081"},
		{"", "unix:///nowhere.sock", "", "unix:///nowhere.sock", "error: POSTBUS_URL unix:///nowhere.sock: this command needs"},
		{"", "", conf, "tcp://127.0.0.1:2883", "http://127.0.0.1:9080"},
		{"", "tcp://pi:1883", conf, "tcp://127.0.0.1:2883", "http://127.0.0.1:9080"},
		{"http://pi:8081", "tcp://pi:1883", conf, "http://pi:8081", "http://pi:8081"},
		{"tcp://localhost:2883", "", conf, "tcp://localhost:2883", "http://127.0.0.1:9080"},
		{"unix:///run/x.sock", "", conf, "unix:///run/x.sock", "http://127.0.0.1:9080"},
		{"tcp://localhost:2884", "", conf, "tcp://localhost:2884", "error: --url tcp://localhost:2884"},
		{"tls://127.0.0.1:2883", "", conf, "tls://127.0.0.1:2883", "error: --url tls://127.0.0.1:2883"},
		{"ftp://pi", "", "", `error: --url ftp://pi: "ftp" is not a supported scheme`, `error: --url ftp://pi: "ftp" is not a supported scheme`},
		{"", "", filepath.Join(dir, "none.yaml"), "error: read config: ", "error: read config: "},
	} {
		for what, get := range map[string]func(*Main, *remote) (*url.URL, error){"mqtt": (*Main).mqttURL, "http": (*Main).httpURL} {
			want := map[string]string{"mqtt": c.mqtt, "http": c.http}[what]
			m := &Main{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Env: []string{"HOME=" + dir, "POSTBUS_URL=" + c.env}}
			u, err := get(m, &remote{url: c.url, config: c.config})
			got := ""
			if err != nil {
				got = "error: " + err.Error()
			} else {
				got = u.String()
			}
			if got != want && !(strings.HasPrefix(want, "error: ") && strings.HasPrefix(got, want)) {
				t.Errorf("--url %q, POSTBUS_URL %q, --config %q, %s: %s; want %s", c.url, c.env, filepath.Base(c.config), what, got, want)
			}
		}
	}
	for given, want := range map[string]string{"http://pi": "ws://pi/mqtt", "https://pi/bus/": "wss://pi/bus/mqtt", "http://pi/mqtt": "ws://pi/mqtt", "ws://pi": "ws://pi/mqtt", "ws://pi/x": "ws://pi/x"} {
		u, err := url.Parse(given)
		if err != nil {
			t.Fatal(err)
		}
		if got := webSocketURL(u).String(); got != want {
			t.Errorf("%s: %s, want %s", given, got, want)
		}
	}
}
