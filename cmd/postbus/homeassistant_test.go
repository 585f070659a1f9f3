//go:build unix

package main

// This file checks what the program announces to Home Assistant against a strict reading of Home
// Assistant's documentation, as of November 2026: https://www.home-assistant.io/integrations/mqtt/ and the
// page of each component, as https://www.home-assistant.io/integrations/sensor.mqtt/. Home Assistant
// itself ignores keys that it does not know; here they are errors.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// haSchemas are the allowed keys of each component, and behind ! those that are required.
var haSchemas = map[string]string{
	"sensor":         "state_topic! device_class state_class unit_of_measurement value_template options expire_after suggested_display_precision json_attributes_topic json_attributes_template force_update",
	"binary_sensor":  "state_topic! device_class value_template payload_on payload_off expire_after off_delay",
	"switch":         "command_topic! state_topic device_class value_template payload_on payload_off state_on state_off retain optimistic",
	"light":          "command_topic! state_topic state_value_template payload_on payload_off",
	"button":         "command_topic! command_template device_class payload_press retain",
	"number":         "command_topic! command_template state_topic device_class unit_of_measurement value_template min max step mode",
	"text":           "command_topic! command_template state_topic value_template min max mode pattern",
	"select":         "command_topic! command_template options! state_topic value_template",
	"event":          "state_topic! event_types! device_class value_template",
	"update":         "state_topic latest_version_topic latest_version_template command_topic device_class value_template payload_install title release_url release_summary entity_picture",
	"climate":        "modes min_temp max_temp temp_step temperature_unit mode_state_topic mode_state_template mode_command_topic mode_command_template temperature_state_topic temperature_state_template temperature_command_topic temperature_command_template current_temperature_topic current_temperature_template action_topic action_template",
	"cover":          "command_topic state_topic device_class value_template payload_open payload_close payload_stop",
	"lock":           "command_topic! state_topic value_template payload_lock payload_unlock",
	"fan":            "command_topic! state_topic state_value_template payload_on payload_off",
	"siren":          "command_topic! state_topic state_value_template payload_on payload_off",
	"device_tracker": "state_topic value_template payload_home payload_not_home source_type",
}

// haEverywhere are the keys that each component has.
const haEverywhere = "name unique_id! device! origin! availability_topic! availability_template payload_available payload_not_available icon entity_category enabled_by_default qos encoding"

const (
	haText     = "text"
	haNumber   = "number"
	haTextList = "list of texts"
)

// haTypes are the types of keys that are no text.
var haTypes = map[string]string{"options": haTextList, "event_types": haTextList, "modes": haTextList, "min": haNumber, "max": haNumber, "step": haNumber, "min_temp": haNumber, "max_temp": haNumber,
	"temp_step": haNumber, "expire_after": haNumber, "suggested_display_precision": haNumber}

var haWords = map[string]string{"state_class": "measurement measurement_angle total total_increasing", "entity_category": "config diagnostic"}

// haProblems is what is wrong with a description. topic is where it was published.
func haProblems(topic, payload string) (out []string) {
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	m := regexp.MustCompile(`^homeassistant/([a-z_]+)/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config$`).FindStringSubmatch(topic)
	if m == nil {
		return []string{"the topic has not the form of a discovery topic"}
	}
	var c map[string]any
	if err := json.Unmarshal([]byte(payload), &c); err != nil {
		return []string{err.Error()}
	}
	keys, ok := haSchemas[m[1]]
	if !ok {
		return []string{"there is no component " + m[1]}
	}
	known := map[string]bool{}
	for _, key := range strings.Fields(keys + " " + haEverywhere) {
		name, need := strings.CutSuffix(key, "!")
		known[name] = true
		if _, there := c[name]; need && !there {
			bad("%s is missing", name)
		}
	}
	for key, v := range c {
		if !known[key] {
			bad("%s is unknown", key)
			continue
		}
		if key == "device" || key == "origin" {
			continue
		}
		got := haText
		switch x := v.(type) {
		case float64:
			got = haNumber
		case []any:
			got = haTextList
			for _, e := range x {
				if _, ok := e.(string); !ok {
					got = "list of others"
				}
			}
		case string:
			switch {
			case strings.HasSuffix(key, "_topic") && (x == "" || strings.ContainsAny(x, "+#\x00")):
				bad("%s: %q is no topic", key, x)
			case strings.HasSuffix(key, "_template") && (strings.Count(x, "{{") != strings.Count(x, "}}") || !strings.Contains(x, "{")):
				bad("%s: %q is no template", key, x)
			case haWords[key] != "" && !slices.Contains(strings.Fields(haWords[key]), x):
				bad("%s: %q", key, x)
			case key == "icon" && !strings.Contains(x, ":"):
				bad("icon: %q", x)
			}
		default:
			got = fmt.Sprintf("%T", v)
		}
		want := haText
		if w := haTypes[key]; w != "" {
			want = w
		}
		if got != want {
			bad("%s is a %s, not a %s", key, got, want)
		}
	}
	device, _ := c["device"].(map[string]any)
	ids, _ := device["identifiers"].([]any)
	if len(ids) == 0 {
		bad("the device has no identifier")
	}
	for key := range device {
		if !slices.Contains(strings.Fields("identifiers connections manufacturer model model_id name hw_version serial_number sw_version via_device suggested_area configuration_url"), key) {
			bad("device: %s is unknown", key)
		}
	}
	if low, ok := c["min"].(float64); ok {
		if high, ok := c["max"].(float64); ok && low >= high {
			bad("min and max")
		}
	}
	if c["device_class"] == "enum" != (c["options"] != nil) && m[1] == "sensor" {
		bad("options without the class enum, or the reverse")
	}
	return out
}

// TestHomeAssistantSchemaIsStrict shows that the check finds something.
func TestHomeAssistantSchemaIsStrict(t *testing.T) {
	const good = `{"name": "a", "unique_id": "a", "device": {"identifiers": ["a"]}, "origin": {"name": "x"}, "availability_topic": "a", "state_topic": "a"}`
	if p := haProblems("homeassistant/sensor/a/b/config", good); len(p) > 0 {
		t.Error(p)
	}
	for _, edit := range [][2]string{{`"state_topic": "a"`, `"state_topc": "a"`}, {`"state_topic": "a"`, `"state_topic": "a/#"`}, {`["a"]`, `[]`}, {`"name": "a"`, `"name": 5`}, {`"name": "a"`, `"options": ["a"]`},
		{`"name": "a"`, `"state_class": "sum"`}, {`"name": "a"`, `"value_template": "value"`}, {`"identifiers"`, `"x": 1, "identifiers"`}} {
		if p := haProblems("homeassistant/sensor/a/b/config", strings.Replace(good, edit[0], edit[1], 1)); len(p) == 0 {
			t.Errorf("%s for %s is accepted", edit[1], edit[0])
		}
	}
}

// TestWhatHomeAssistantGets runs the program with an entity of each component, and with the file for a
// desktop, and checks each description that it publishes.
func TestWhatHomeAssistantGets(t *testing.T) {
	path, err := exec.LookPath("postbus")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	folder, config := filepath.Join(dir, "plugins.d"), writeConfig(t, dir, "")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	rooms, err := os.ReadFile("testdata/homeassistant/rooms.yaml")
	if err != nil {
		t.Fatal(err)
	}
	desktop, err := exec.Command(path, "plugin", "new", "desktop", "--home-assistant").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"rooms.yaml": rooms, "desktop.yaml": desktop} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dirs := []string{"--data-dir", filepath.Join(dir, "data"), "--plugins-dir", folder, "--config", config}
	cmd, addresses := bare(t, []string{"HOME=" + dir}, append([]string{"--http", "127.0.0.1:0"}, dirs...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	base := ""
	for _, a := range addresses() {
		if strings.HasPrefix(a, "http://") {
			base = a
		}
	}
	approve := exec.Command(path, append([]string{"plugin", "approve", "desktop", "--yes"}, dirs...)...)
	if out, err := approve.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	retained := func() map[string]string {
		answer, err := http.Get(base + "/api/v1/topics?limit=1000&filter=homeassistant/%23")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var list []struct {
			Topic   string
			Payload json.RawMessage
		}
		if err := json.NewDecoder(answer.Body).Decode(&list); err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, e := range list {
			text := string(e.Payload)
			if json.Unmarshal(e.Payload, &text) != nil {
				text = string(e.Payload)
			}
			out[e.Topic] = text
		}
		return out
	}
	eventually := func(what string, ok func(map[string]string) bool) map[string]string {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if got := retained(); ok(got) {
				return got
			} else if time.Now().After(end) {
				t.Fatalf("%s: never: %q", what, got)
			}
		}
	}
	eventually("both are available", func(got map[string]string) bool {
		return got["homeassistant/postbus_rooms/availability"] == "online" && got["homeassistant/postbus_desktop/availability"] == "online"
	})
	for _, room := range []string{"hall", "attic"} {
		body := fmt.Sprintf(`{"topic": "in/%s/temperature", "payload": "x", "qos": 1}`, room)
		answer, err := http.Post(base+"/api/v1/publish", "application/json", bytes.NewReader([]byte(body)))
		if err != nil || answer.StatusCode != 200 {
			t.Fatal(answer, err)
		}
		_ = answer.Body.Close()
	}
	got := eventually("both rooms are announced", func(got map[string]string) bool {
		return got["homeassistant/sensor/postbus_rooms/rooms_hall_temperature/config"] != "" && got["homeassistant/sensor/postbus_rooms/rooms_attic_temperature/config"] != ""
	})
	components, devices := map[string]int{}, map[string]int{}
	for topic, payload := range got {
		if strings.HasSuffix(topic, "/availability") {
			continue
		}
		for _, p := range haProblems(topic, payload) {
			t.Errorf("%s: %s\n%s", topic, p, payload)
		}
		components[strings.Split(topic, "/")[1]]++
		var c struct {
			Device struct {
				Name        string
				Area        string `json:"suggested_area"`
				Version     string `json:"sw_version"`
				Identifiers []string
			}
			Availability string `json:"availability_topic"`
		}
		if err := json.Unmarshal([]byte(payload), &c); err != nil {
			t.Fatal(err)
		}
		devices[c.Device.Name+" "+c.Device.Area+" "+c.Device.Version]++
		if got[c.Availability] != "online" {
			t.Errorf("%s: %s is %q", topic, c.Availability, got[c.Availability])
		}
	}
	for component := range haSchemas {
		if components[component] == 0 {
			t.Errorf("no %s is announced", component)
		}
	}
	host, _, _ := strings.Cut(hostName(t), ".")
	if devices["hall hall 1.0"] != 1 || devices["attic attic 1.0"] != 1 || devices["rooms on "+host+"  "] < 15 || devices[host+"  "] != 15 || len(devices) != 4 {
		t.Errorf("%v", devices)
	}

	if err := os.Rename(filepath.Join(folder, "rooms.yaml"), filepath.Join(folder, "rooms.yaml.off")); err != nil {
		t.Fatal(err)
	}
	eventually("it is disabled", func(got map[string]string) bool { return got["homeassistant/postbus_rooms/availability"] == "offline" })
	stopOrderly(t, cmd)
}

func hostName(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}
