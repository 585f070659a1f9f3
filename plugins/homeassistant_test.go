package plugins

import (
	"encoding/json"
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
