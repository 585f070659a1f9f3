package plugins

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestValueInHomeAssistant(t *testing.T) {
	for _, c := range []struct{ component, value, key, want string }{
		{"sensor", "celsius", "value_template", "{{ value_json.celsius }}"},
		{"sensor", "a.list[0].b", "value_template", "{{ value_json.a.list[0].b }}"},
		{"sensor", "{{ value | int }}", "value_template", "{{ value | int }}"},
		{"sensor", "{% if value %}1{% endif %}", "value_template", "{% if value %}1{% endif %}"},
		{"sensor", "pm2-5", "value_template", "{{ value_json['pm2-5'] }}"}, // not pm2 minus 5
		{"sensor", "1h", "value_template", "{{ value_json['1h'] }}"},
		{"sensor", "a.items", "value_template", "{{ value_json.a['items'] }}"}, // not the method of every mapping
		{"sensor", "it's", "value_template", `{{ value_json['it\'s'] }}`},
		{"light", "state", "state_value_template", "{{ value_json.state }}"}, // these components do not know value_template
		{"fan", "state", "state_value_template", "{{ value_json.state }}"},
		{"siren", "state", "state_value_template", "{{ value_json.state }}"},
		{"switch", "state", "value_template", "{{ value_json.state }}"},
	} {
		h := homeAssistant{Component: c.component, Value: c.value}
		_, payload := h.discovery("id", "host", "a/b", "a/b", nil)
		var got map[string]any
		if err := json.Unmarshal(payload, &got); err != nil {
			t.Fatal(err)
		}
		if got[c.key] != c.want {
			t.Errorf("%s, value: %s: %s", c.component, c.value, payload)
		}
	}
}

// TestEveryTopicIsAnEntityOfItsOwn: no two topics, plugins or hosts share a name, an identifier or
// a discovery topic.
func TestEveryTopicIsAnEntityOfItsOwn(t *testing.T) {
	long := strings.Repeat("x/", 200)
	topics := []string{"кухня/свет", "кухня/окно", "küche/t", "köche/t", "kitchen/t", "P.Klary", "P Klary", "P_Klary", "P/Klary", "a/b", "a_b", "a b", "a-b", "a/b/", "/a/b", "a//b", "a__b",
		"a", "A", "_a", "a_", "%41", "😀", "客厅", "厨房", `"a b"`, "94:83:c4:bd:61:0c", "94/83/c4/bd/61/0c", long + "a", long + "b", "é", "e\u0301", "a\tb", slug("a_b"), slug("кухня"), "кухня", "id/x", "x"}
	seen := map[string]string{}
	once := func(what, of string) {
		t.Helper()
		if seen[what] != "" {
			t.Errorf("%s is of %s and of %s", what, seen[what], of)
		}
		seen[what] = of
	}
	for _, plugin := range [][2]string{{"host", "id"}, {"host", "id_x"}, {"host", "x"}, {"host_id", "x"}, {"ho/st", "id"}, {"ho", "st-id"}} {
		device := ""
		for _, topic := range topics {
			h := homeAssistant{Component: "sensor"}
			at, data := h.discovery(plugin[1], plugin[0], topic, topic, nil)
			var got struct {
				ID     string `json:"unique_id"`
				Name   string
				State  string `json:"state_topic"`
				Device struct{ Identifiers []string }
			}
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			if !regexp.MustCompile(`^homeassistant/sensor/postbus_[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]{1,130}/config$`).MatchString(at) || got.State != topic {
				t.Errorf("%s: %s, %s", topic, at, data)
			}
			of := fmt.Sprintf("%q of %s on %s", topic, plugin[1], plugin[0])
			once(plugin[0]+" "+at, of) // each host has its own bus
			once(got.ID, of)
			once(plugin[0]+plugin[1]+" "+got.Name, of)
			if device == "" {
				device = got.Device.Identifiers[0]
				once(device, of)
			}
			if r := (&rule{topic: &topicSpec{constant: topic}}); !h.owns(plugin[1], r, at) {
				t.Errorf("%s is not removed with its file", at)
			}
			if again, _ := h.discovery(plugin[1], plugin[0], topic, topic, nil); again != at {
				t.Errorf("%s is %s and then %s", topic, at, again)
			}
		}
	}
	for topic, want := range map[string]string{"home/hall/temp": "home_hall_temp", "living-room": "living-room", "living_room/t": "living_room_t__" + slug("living_room/t")[len("living_room_t__"):]} {
		if got := slug(topic); got != want {
			t.Errorf("%s is %s, want %s", topic, got, want)
		}
	}
}

// TestClassesOfHomeAssistant: the tables are sound, and each class accepts the units that the table has.
func TestClassesOfHomeAssistant(t *testing.T) {
	for name, class := range sensorClasses {
		for _, s := range strings.Fields(class.states) {
			if !strings.Contains("measurement measurement_angle total total_increasing", s) {
				t.Errorf("%s: %s", name, s)
			}
		}
		for u := range strings.SplitSeq(class.units, "|") {
			if u != "*" && !class.fits(u) {
				t.Errorf("%s does not fit %q", name, u)
			}
		}
		if class.fits("apples") && class.units != "*" || class.word && (class.units != "" || class.states != "") {
			t.Errorf("%s: %+v", name, class)
		}
	}
	for _, u := range []string{"µg/m³", "\u03bcg/m³"} { // both letters, of which Home Assistant has changed the preferred one
		if !sensorClasses["pm25"].fits(u) {
			t.Errorf("%q", u)
		}
	}
	if !binaryClasses["door"] || binaryClasses["battery"] || binaryClasses["moisture"] {
		t.Errorf("%v", binaryClasses)
	}
	for name, c := range haComponents {
		for key := range strings.FieldsSeq(c.keys) {
			if !slices.ContainsFunc(fieldsOf(reflect.TypeFor[homeAssistant]()), func(f field) bool { return f.key == key }) {
				t.Errorf("%s has a key %s, which cannot be written", name, key)
			}
		}
	}
}
