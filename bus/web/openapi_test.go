package web_test

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus/web"
)

// TestDescription compares the OpenAPI description with the program: every route is described,
// every described route answers, and members have the described names.
func TestDescription(t *testing.T) {
	_, base := start(t, web.Options{Local: true, Plugins: noPlugins{}, Fleet: func() any { return []string{} }, Clients: &fewClients{}, Accounts: &noAccounts{}, MQTT: func(c net.Conn, _ bool) { c.Close() }})
	status, _, body := request{method: "GET", path: "/api/v1/openapi.json"}.do(t, base)
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || status != 200 {
		t.Fatal(status, err)
	}
	source, err := os.ReadFile("server.go")
	if err != nil {
		t.Fatal(err)
	}
	routes := regexp.MustCompile(`mux\.Handle(?:Func)?\("(GET|POST|PUT|DELETE) (/[^"]*)"`).FindAllStringSubmatch(string(source), -1)
	if len(routes) < 10 {
		t.Fatalf("only %d routes found", len(routes))
	}
	for _, r := range routes {
		if r[2] == "/api" {
			continue
		}
		if doc.Paths[r[2]][strings.ToLower(r[1])] == nil {
			t.Errorf("%s %s is not described", r[1], r[2])
		}
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			status, _, body := request{method: strings.ToUpper(method), path: regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(path, "x")}.do(t, base)
			if status == http.StatusMethodNotAllowed || status == 404 && !strings.Contains(body, `"x`) && !strings.Contains(body, `\"x`) {
				t.Errorf("%s %s: %d %s", method, path, status, body)
			}
		}
	}
	publish := request{method: "POST", path: "/api/v1/publish", body: `{"topic": "a", "payload": "1", "retain": true}`}
	if status, _, body := publish.do(t, base); status != 200 {
		t.Fatal(body)
	}
	_, _, body = request{method: "GET", path: "/api/v1/topics"}.do(t, base)
	var events []map[string]any
	if err := json.Unmarshal([]byte(body), &events); err != nil || len(events) != 1 {
		t.Fatal(body, err)
	}
	for name := range events[0] {
		if doc.Components.Schemas["Event"].Properties[name] == nil {
			t.Errorf("an event has %s, which is not described", name)
		}
	}
}

type noPlugins struct{}

func (noPlugins) List() any                       { return []string{} }
func (noPlugins) Get(string) (any, bool)          { return nil, false }
func (noPlugins) GetWithLines(string) (any, bool) { return nil, false }
func (noPlugins) Timers(string, int) (any, bool) {
	return map[string]any{"total": 0, "timers": []string{}}, true
}
func (noPlugins) Maker(string, string) (any, bool) { return nil, false }
func (noPlugins) Explain(string) any               { return map[string]any{"by": []string{}} }
func (noPlugins) Figures() []web.PluginFigures     { return nil }
