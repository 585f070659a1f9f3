package plugins

import (
	"encoding/json"
	"regexp"
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
		{"sensor", "a.items", "value_template", "{{ value_json.a['items'] }}"}, // not the method of each mapping
		{"sensor", "it's", "value_template", `{{ value_json['it\'s'] }}`},
		{"light", "state", "state_value_template", "{{ value_json.state }}"}, // value_template is unknown to these
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

func TestEntitiesOfTopicsWithoutLatinLetters(t *testing.T) {
	h := homeAssistant{Component: "sensor"}
	seen := map[string]bool{}
	for _, topic := range []string{"кухня/свет", "кухня/окно", "küche/t", "köche/t", "kitchen/t"} {
		at, payload := h.discovery("id", "host", topic, topic, nil)
		var got struct {
			ID string `json:"unique_id"`
		}
		if err := json.Unmarshal(payload, &got); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^homeassistant/sensor/postbus_id/[a-zA-Z0-9_-]+/config$`).MatchString(at) || seen[at] || seen[got.ID] {
			t.Errorf("%s: %s, %s", topic, at, got.ID)
		}
		seen[at], seen[got.ID] = true, true
		if r := (&rule{topic: &topicSpec{constant: topic}}); !h.owns("id", r, at) {
			t.Errorf("%s is not removed with its file", at)
		}
	}
}
