package plugins

import (
	"fmt"
	"strings"
	"testing"
)

// TestUsesOfReservedTopics: a plugin that heard its own stored values would store them without end.
func TestUsesOfReservedTopics(t *testing.T) {
	for _, filter := range []string{"$plugin/#", "$plugin/a/uses/+", "$plugin", "$replay/1h/home/mode"} {
		_, errs := checkFile(t, fmt.Sprintf("source: {mqtt: {topics: [in]}}\nuses: {v: %q}\npublish: [{topic: t}]\n", filter))
		if !strings.Contains(errs, filter) {
			t.Errorf("uses of %s: %q", filter, errs)
		}
	}
}

// TestUsesBesideAReplay: a source that reads past events has them also when the file uses other topics.
func TestUsesBesideAReplay(t *testing.T) {
	w := newTimed(t)
	w.publish("in/1", "before")
	w.out = w.subscribe("out/#")
	w.write("a.yaml", `
source: {mqtt: {topics: [$replay/1h/in/+]}}
uses: {v: val/+}
publish: [{topic: out/x, payload: "${event.text}"}]
`)
	w.is("a", StateRunning)
	if e := w.out.next(); string(e.Payload) != "before" {
		t.Errorf("%s", e.Payload)
	}
	w.publish("in/1", "now")
	if e := w.out.next(); string(e.Payload) != "now" {
		t.Errorf("%s", e.Payload)
	}
}
