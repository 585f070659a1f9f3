package plugins

import (
	"context"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
)

// TestAvailability: the entities of a plugin are available while a source of it works.
func TestAvailability(t *testing.T) {
	w := newWorld(t, Options{Grace: 500 * time.Millisecond})
	const entity = "publish: [{topic: x, home_assistant: {}}]\n"
	said := func(want string) {
		t.Helper()
		until(t, "the availability is "+want, func() bool {
			e, ok := w.bus.RetainedValue(availabilityTopic("a"))
			return ok && string(e.Payload) == want || !ok && want == "cleared"
		})
	}
	w.write("a.yaml", "source: {probe: {name: a}}\n"+entity)
	said("online")
	w.write("a.yaml", "source: {probe: {name: b, mode: end}}\n"+entity)
	w.is("a", StateBackoff)
	said("offline")
	w.write("a.yaml", "sources: [{probe: {name: b, mode: end}}, {probe: {name: c}}]\n"+entity)
	w.is("a", StateDegraded)
	said("online") // one source works
	w.write("a.yaml", "source: {probe: {name: c}}\npublish: [{topic: x, home_assistant: {clas: y}}]\n")
	w.is("a", StateStale)
	said("online") // the version before runs

	w.stop() // the program ends
	said("offline")
	if _, err := w.bus.Publish(context.Background(), bus.Event{Topic: availabilityTopic("a"), Payload: []byte("online"), QoS: 1, Retain: true, Source: sourceName("a")}); err != nil {
		t.Fatal(err) // as after a crash
	}
	said("online")
	w.start()
	w.is("a", StateRejected) // there is no version before any more
	said("offline")
	w.write("a.yaml", "source: {probe: {name: c}}\n"+entity)
	said("online")
	w.write("a.yaml", "source: {probe: {name: c}}\npublish: [{topic: x}]\n")
	said("cleared")
	w.write("a.yaml", "source: {probe: {name: c}}\n"+entity)
	said("online")
	w.remove("a.yaml")
	said("offline")
	said("cleared")
}
