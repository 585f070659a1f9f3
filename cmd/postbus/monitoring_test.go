//go:build unix

package main

// This file checks the files of docs/monitoring against the program and Prometheus' own tool.

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const monitoring = "../../docs/monitoring/"

// metricName is the name of a metric of postbus.
var metricName = regexp.MustCompile(`\bpostbus_[a-z_]+`)

// monitoringExpressions are the queries of the alerts and of the dashboard.
func monitoringExpressions(t *testing.T) (alerts, panels []string) {
	t.Helper()
	var rules struct {
		Groups []struct {
			Rules []struct{ Expr string }
		}
	}
	text, err := os.ReadFile(monitoring + "postbus.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			alerts = append(alerts, r.Expr)
		}
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Definition string } }
	}
	if text, err = os.ReadFile(monitoring + "grafana-dashboard.json"); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			panels = append(panels, target.Expr)
		}
	}
	for _, v := range dashboard.Templating.List {
		if query, ok := strings.CutPrefix(v.Definition, "label_values("); ok {
			panels = append(panels, query[:strings.LastIndex(query, ",")])
		}
	}
	return alerts, panels
}

// TestMonitoringNamesMetricsThatExist: each metric of the alerts and of the dashboard is one that the
// program prints, and each metric of plugins and of the fleet is on the dashboard.
func TestMonitoringNamesMetricsThatExist(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "plugins.d")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	const file = "source: {mqtt: {topics: [home/door]}}\npublish: [{topic: home/open, payload: x}]\nactions: [{file: {folder: " + "FOLDER" + ", path: log, text: x}}]\n"
	if err := os.WriteFile(filepath.Join(folder, "door.yaml"), []byte(strings.ReplaceAll(file, "FOLDER", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, addresses := bare(t, []string{"HOME=" + dir}, "--data-dir", filepath.Join(dir, "data"), "--plugins-dir", folder, "--http", "127.0.0.1:0", "--config",
		writeConfig(t, dir, "fleet: [{name: home, hub: [\"nats://127.0.0.1:1\"], share: [{filter: home/#}]}]\n"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	base := ""
	for _, a := range addresses() {
		if strings.HasPrefix(a, "http://") {
			base = a
		}
	}
	var text string
	for end := time.Now().Add(20 * time.Second); !strings.Contains(text, `postbus_plugin_queue_length{action="file",plugin="door"} 0`); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the plugin has no metrics:\n%s", text)
		}
		answer, err := http.Get(base + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		text = string(body)
	}
	stopOrderly(t, cmd)
	printed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(postbus_[a-z_]+)[{ ]`).FindAllStringSubmatch(text, -1) {
		printed[m[1]] = true
	}
	for _, name := range []string{"postbus_lost_events_total", "postbus_refused_total"} {
		printed[name] = true // from the first loss or refusal on: TestMetricsOfLosses
	}
	for _, name := range []string{"events_total", "repeats_total", "lost_total", "expired_total", "refused_total", "last_event_seconds"} {
		printed["postbus_fleet_"+name] = true // from the first event of another bus on: TestMetricsOfFleets
	}
	alerts, panels := monitoringExpressions(t)
	used := map[string]bool{}
	for _, expr := range append(alerts, panels...) {
		names := metricName.FindAllString(expr, -1)
		if len(names) == 0 && !strings.HasPrefix(expr, "up{") {
			t.Errorf("%s: no metric of postbus", expr)
		}
		for _, name := range names {
			used[name] = true
			if !printed[name] {
				t.Errorf("%s: the program prints no %s", expr, name)
			}
		}
	}
	for name := range printed {
		if (strings.HasPrefix(name, "postbus_plugin_") || strings.HasPrefix(name, "postbus_fleet")) && name != "postbus_plugin_state_bytes" && !used[name] {
			t.Errorf("%s is neither in an alert nor on the dashboard", name)
		}
	}
}

// writeConfig makes a configuration with this text.
func writeConfig(t *testing.T, dir, text string) string {
	t.Helper()
	name := filepath.Join(dir, "postbus.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestAlerts: Prometheus accepts the alerts and the queries of the dashboard, and each alert fires when
// it should, and not otherwise.
func TestAlerts(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: apt-get install prometheus")
	}
	// The queries of the dashboard as rules, with what Grafana puts in for its variables.
	_, panels := monitoringExpressions(t)
	var rules struct {
		Groups []map[string]any `yaml:"groups"`
	}
	var list []map[string]any
	for _, expr := range panels {
		expr = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$plugin", ".*").Replace(expr)
		list = append(list, map[string]any{"record": "panel", "expr": expr, "labels": map[string]any{"n": string(rune('a'+len(list)/26)) + string(rune('a'+len(list)%26))}})
	}
	rules.Groups = []map[string]any{{"name": "dashboard", "rules": list}}
	text, err := yaml.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	queries := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(queries, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "rules", monitoring + "postbus.rules.yml", queries}, {"test", "rules", monitoring + "postbus.rules.test.yml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestEveryAlertIsTested: once when it fires, once when it does not, and documented.
func TestEveryAlertIsTested(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var tests struct {
		Tests []struct {
			Alerts []struct {
				Name string `yaml:"alertname"`
				Want []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(monitoring+"postbus.rules.test.yml")), &tests); err != nil {
		t.Fatal(err)
	}
	var fires, quiet []string
	for _, test := range tests.Tests {
		for _, a := range test.Alerts {
			if len(a.Want) > 0 {
				fires = append(fires, a.Name)
			} else {
				quiet = append(quiet, a.Name)
			}
		}
	}
	page := read("../../docs/monitoring.md")
	names := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(read(monitoring+"postbus.rules.yml"), -1)
	if len(names) < 10 {
		t.Errorf("%d alerts", len(names))
	}
	for _, m := range names {
		if !slices.Contains(fires, m[1]) || !slices.Contains(quiet, m[1]) || !strings.Contains(page, m[1]) {
			t.Errorf("%s is not tested both ways and documented", m[1])
		}
	}
}
