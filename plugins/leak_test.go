package plugins

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestAMistakeShowsNoLineOfTheFile: readers of $bus and of the API get the position and the reason of
// a mistake. The line may hold a secret, also where the file cannot be parsed.
func TestAMistakeShowsNoLineOfTheFile(t *testing.T) {
	const secret = "hunter2"
	for name, text := range map[string]string{
		"not YAML":         "source: {probe: {name: a}}\npublish: [{topic: a, payload: {token: \"" + secret + "\"}\n",
		"a wrong value":    "source: {probe: {name: a, port: \"" + secret + "\"x}}\n",
		"an unknown key":   "source: {probe: {name: a, tokn: " + secret + "}}\npublish: [{topic: a}]\n",
		"a bad expression": "source: {probe: {name: a}}\npublish: [{topic: a, payload: \"${'" + secret + "' + }\"}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			w.write("a.yaml", text)
			st := w.is("a", StateRejected)
			if len(st.Errors) == 0 || st.Errors[0].Line == 0 || st.Errors[0].Text == "" {
				t.Errorf("%+v", st.Errors)
			}
			list, err := json.Marshal(w.s.List())
			if err != nil {
				t.Fatal(err)
			}
			var published string
			until(t, "the status is published", func() bool {
				told, err := w.bus.Retained("$bus/plugins/a/state")
				if err != nil {
					t.Fatal(err)
				}
				if len(told) == 1 {
					published = string(told[0].Payload)
				}
				return strings.Contains(published, "rejected")
			})
			// Who may read the file is shown the line, as by `postbus plugin check`.
			if st, ok := w.s.GetWithLines("a"); !ok || !strings.Contains(st.Errors[0].Text, "^") || strings.Contains(st.Errors[0].Message+st.Reason, secret) {
				t.Errorf("with lines: %+v", st)
			}
			for _, shown := range []string{string(list), published} {
				if strings.Contains(shown, secret) || strings.Contains(shown, "^") {
					t.Errorf("the line is shown: %s", shown)
				}
			}
		})
	}
}
