package main

// This file runs the shipped plugins that talk to services: each real file with the real kinds, and a server that takes only
// what the service's documentation demands.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/config/examples"
	"github.com/postbus/postbus/plugins"
)

// served is a server, and an event that makes a plugin talk to it.
type served struct {
	file    string
	origin  string // of the service in the file
	topic   string // of the event; "": the plugin asks by itself
	payload string
	check   func(r *http.Request, body []byte) error
	status  int
	answer  string
	publish []string // what the plugin publishes then: topic and payload
}

func (s served) secrets() map[string]string {
	return map[string]string{"influx": "s3cr3t-influx", "ntfy-topic": "s3cr3t-topic", "telegram": "123456:AAH-s3cr3t", "telegram-chat": "4711", "slack": "T0/B0/s3cr3tXX",
		"discord": "99/s3cr3t-discord", "pushover-token": "s3cr3tt0ken", "pushover-user": "s3cr3tuser1", "home-assistant": "s3cr3t.ha.token"}
}

// all returns the first error.
func all(errs ...error) error { return errors.Join(errs...) }

func want(what string, got, want any) error {
	if fmt.Sprint(got) == fmt.Sprint(want) {
		return nil
	}
	return fmt.Errorf("%s is %v, want %v", what, got, want)
}

// object decodes a body that must be JSON with these keys and no others; those that end with ? may be absent.
func object(r *http.Request, body []byte, keys ...string) (map[string]any, error) {
	if err := want("Content-Type", r.Header.Get("Content-Type"), "application/json"); err != nil {
		return nil, err
	}
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, k := range keys {
		name, optional := strings.CutSuffix(k, "?")
		known[name] = true
		if m[name] == nil && !optional {
			return nil, fmt.Errorf("%s is missing", name)
		}
	}
	for k := range m {
		if !known[k] {
			return nil, fmt.Errorf("unknown key %s", k)
		}
	}
	return m, nil
}

var services = []served{
	{file: "influxdb", origin: "http://influxdb.local:8086", topic: "home/living room/temperature", payload: "21.5", status: 204,
		// https://docs.influxdata.com/influxdb/v2/api/#operation/PostWrite
		check: func(r *http.Request, body []byte) error {
			q := r.URL.Query()
			if !regexp.MustCompile(`^temperature,room=living\\ room celsius=21\.5 1[0-9]{12}\n$`).Match(body) {
				return fmt.Errorf("the line is %q", body)
			}
			return all(want("path", r.Method+r.URL.Path, "POST/api/v2/write"), want("org", q.Get("org"), "home"), want("bucket", q.Get("bucket"), "home"), want("precision", q.Get("precision"), "ms"),
				want("Authorization", r.Header.Get("Authorization"), "Token s3cr3t-influx"), want("Content-Type", r.Header.Get("Content-Type"), "text/plain; charset=utf-8"))
		}},
	{file: "victoriametrics", origin: "http://victoriametrics.local:8428", topic: "home/kitchen/humidity", payload: "48.5", status: 204,
		// https://docs.victoriametrics.com/#json-line-format
		check: func(r *http.Request, body []byte) error {
			if strings.Count(string(body), "\n") != 1 || !strings.HasSuffix(string(body), "\n") {
				return fmt.Errorf("no JSON line: %q", body)
			}
			var line struct {
				Metric     map[string]string
				Values     []float64
				Timestamps []int64
			}
			d := json.NewDecoder(strings.NewReader(string(body)))
			d.DisallowUnknownFields()
			if err := d.Decode(&line); err != nil {
				return err
			}
			if len(line.Values) != len(line.Timestamps) || time.Since(time.UnixMilli(line.Timestamps[0])) > time.Hour {
				return fmt.Errorf("%+v", line)
			}
			return all(want("path", r.URL.Path, "/api/v1/import"), want("metric", line.Metric, map[string]string{"__name__": "home_humidity", "room": "kitchen"}), want("values", line.Values, "[48.5]"))
		}},
	{file: "loki", origin: "http://loki.local:3100", topic: "home/hall/door", payload: "open", status: 204,
		// https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
		check: func(r *http.Request, body []byte) error {
			if _, err := object(r, body, "streams"); err != nil {
				return err
			}
			var push struct {
				Streams []struct {
					Stream map[string]string
					Values [][2]string
				}
			}
			d := json.NewDecoder(strings.NewReader(string(body)))
			d.DisallowUnknownFields()
			if err := d.Decode(&push); err != nil {
				return err
			}
			s := push.Streams[0]
			nanos, err := strconv.ParseInt(s.Values[0][0], 10, 64)
			if err != nil || time.Since(time.Unix(0, nanos)) > time.Hour {
				return fmt.Errorf("the time is %s", s.Values[0][0])
			}
			return all(want("path", r.URL.Path, "/loki/api/v1/push"), want("labels", s.Stream, map[string]string{"room": "hall", "source": "postbus"}), want("line", s.Values[0][1], "home/hall/door open"))
		}},
	{file: "ntfy", origin: "https://ntfy.sh", topic: "home/cellar/water", payload: "leak", status: 200,
		// https://docs.ntfy.sh/publish/#publish-as-json
		check: func(r *http.Request, body []byte) error {
			m, err := object(r, body, "topic", "message", "title?", "tags?", "priority?")
			if err != nil {
				return err
			}
			if p, ok := m["priority"].(float64); !ok || p < 1 || p > 5 {
				return fmt.Errorf("priority is %v", m["priority"])
			}
			return all(want("path", r.URL.Path, "/"), want("topic", m["topic"], "s3cr3t-topic"), want("title", m["title"], "Water in the cellar"), want("tags", m["tags"], "[droplet warning]"))
		}},
	{file: "telegram-send", origin: "https://api.telegram.org", topic: "home/hall/doorbell", payload: "1", status: 200, answer: `{"ok": true, "result": {"message_id": 42}}`,
		// https://core.telegram.org/bots/api#sendmessage
		check: func(r *http.Request, body []byte) error {
			m, err := object(r, body, "chat_id", "text")
			if err != nil {
				return err
			}
			if text := m["text"].(string); len(text) > 4096 || !strings.HasPrefix(text, "Someone is at the door (") {
				return fmt.Errorf("the text is %q", text)
			}
			return all(want("path", r.URL.Path, "/bot123456:AAH-s3cr3t/sendMessage"), want("chat_id", m["chat_id"], "4711"))
		}, publish: []string{"home/hall/doorbell/told 42"}},
	{file: "telegram-receive", origin: "https://api.telegram.org", status: 200,
		answer: `{"ok": true, "result": [{"update_id": 7, "message": {"text": "hi", "chat": {"id": 5}, "from": {"first_name": "Ada"}}}, {"update_id": 8, "message": {"photo": [], "chat": {"id": 5}}}]}`,
		// https://core.telegram.org/bots/api#getupdates
		check: func(r *http.Request, body []byte) error {
			q := r.URL.Query()
			if n, err := strconv.Atoi(q.Get("offset")); err != nil || n != 0 && n != 9 {
				return fmt.Errorf("the offset is %s", q.Get("offset"))
			}
			return all(want("path", r.Method+r.URL.Path, "GET/bot123456:AAH-s3cr3t/getUpdates"), want("allowed_updates", q.Get("allowed_updates"), `["message"]`), want("body", len(body), 0))
		}, publish: []string{`telegram/message {"chat":5,"from":"Ada","text":"hi"}`}},
	{file: "slack", origin: "https://hooks.slack.com", topic: "servers/pi/nginx", payload: `{"state": "failed"}`, status: 200, answer: "ok",
		// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
		check: func(r *http.Request, body []byte) error {
			m, err := object(r, body, "text")
			return all(err, want("path", r.Method+r.URL.Path, "POST/services/T0/B0/s3cr3tXX"), want("text", m["text"], ":rotating_light: `nginx` failed on *pi*"))
		}},
	{file: "discord", origin: "https://discord.com", topic: "printer/done", payload: strings.Repeat("ü", 3000), status: 204,
		// https://discord.com/developers/docs/resources/webhook#execute-webhook
		check: func(r *http.Request, body []byte) error {
			m, err := object(r, body, "content", "username?", "allowed_mentions?")
			if err != nil {
				return err
			}
			return all(want("path", r.Method+r.URL.Path, "POST/api/webhooks/99/s3cr3t-discord"), want("characters", len([]rune(m["content"].(string))), 2000))
		}},
	{file: "pushover", origin: "https://api.pushover.net", topic: "home/freezer/temperature", payload: "-8", status: 200,
		// https://pushover.net/api
		check: func(r *http.Request, body []byte) error {
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			if err := r.ParseForm(); err != nil {
				return err
			}
			f := r.PostForm
			retry, _ := strconv.Atoi(f.Get("retry"))
			expire, _ := strconv.Atoi(f.Get("expire"))
			if f.Get("priority") != "2" || retry < 30 || expire < 1 || expire > 10800 { // what an emergency needs
				return fmt.Errorf("%v", f)
			}
			return all(want("path", r.URL.Path, "/1/messages.json"), want("token", f.Get("token"), "s3cr3tt0ken"), want("user", f.Get("user"), "s3cr3tuser1"), want("message", f.Get("message"), "It has -8 °C."))
		}},
	{file: "home-assistant-light", origin: "http://homeassistant.local:8123", topic: "home/kitchen/button", payload: "press", status: 200, answer: `[{"entity_id": "light.kitchen", "state": "on"}]`,
		// https://developers.home-assistant.io/docs/api/rest/
		check: func(r *http.Request, body []byte) error {
			m, err := object(r, body, "entity_id")
			return all(err, want("path", r.Method+r.URL.Path, "POST/api/services/light/toggle"), want("Authorization", r.Header.Get("Authorization"), "Bearer s3cr3t.ha.token"), want("entity_id", m["entity_id"], "light.kitchen"))
		}, publish: []string{"home/kitchen/light on"}},
}

func TestServices(t *testing.T) {
	for _, s := range services {
		t.Run(s.file, func(t *testing.T) { s.run(t) })
	}
}

func (s served) run(t *testing.T) {
	text, err := examples.Plugins.ReadFile("plugins/" + s.file + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	requests := make(chan error, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = s.check(r, body)
		}
		select {
		case requests <- err:
		default: // of a plugin that asks again and again
		}
		if w.WriteHeader(s.status); s.answer != "" {
			_, _ = io.WriteString(w, s.answer)
		}
	}))
	defer server.Close()
	if !strings.Contains(string(text), s.origin) {
		t.Fatalf("the file does not name %s", s.origin)
	}
	// It waits for no minutes here.
	file := strings.NewReplacer(s.origin, server.URL, "for: 15m", "for: 1ms", "every: 10s", "every: 1s").Replace(string(text))
	file, _, _ = strings.Cut(file, "\ntests:")
	b := runPlugin(t, s.file, file, s.secrets())
	published, err := b.Subscribe(t.Context(), "test", "#")
	if err != nil {
		t.Fatal(err)
	}
	defer published.Close()
	if s.topic != "" {
		if _, err := b.Publish(t.Context(), bus.Event{Topic: s.topic, Payload: []byte(s.payload), QoS: 1, Source: "device"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-requests; err != nil {
		t.Error(err)
	}
	for _, want := range s.publish {
		for { // other events are those of the test
			e, err := published.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if e.Source == "plugin:"+s.file {
				if got := e.Topic + " " + string(e.Payload); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				break
			}
		}
	}
}

// runPlugin runs a plugin on a bus until the test ends.
func runPlugin(t testing.TB, id, text string, secrets map[string]string) *bus.Bus {
	t.Helper()
	dir, folder := t.TempDir(), t.TempDir()
	for name, secret := range secrets {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, id+".yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := bus.Open(context.Background(), bus.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	supervisor := plugins.New(dir, b, catalog(), plugins.Options{Logger: slog.New(slog.DiscardHandler), SecretDirs: []string{folder}, Quiet: time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- supervisor.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if st, ok := supervisor.Get(id); ok && st.State == plugins.StateRunning {
			return b
		} else if time.Now().After(end) {
			t.Fatalf("it does not run: %+v", st)
		}
	}
}
