// This file is a board with a sensor on its I²C bus.

package vm

import (
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/vmtest"
)

func TestSensorChangeIsPublished(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	vmtest.Ask(t, "20000")
	p := postbus(t, "/tmp/sensor", map[string]string{"cellar": `
source: {i2c: {bus: 0, sensor: tmp102, every: 50ms}}
publish:
  - when: abs(event.temperature - (last.temperature ?? -100)) >= 0.5
    topic: home/cellar/temperature
    payload: {celsius: "${event.temperature}"}
    retain: true
`})
	c := connect(t, p, "reader", false, nil)
	c.subscribe(t, 1, "home/cellar/temperature")
	for i, want := range []struct{ milli, payload string }{{"20000", `{"celsius":20}`}, {"42500", `{"celsius":42.5}`}, {"42750", ""}, {"-12250", `{"celsius":-12.25}`}} {
		began := time.Now()
		vmtest.Ask(t, want.milli)
		if want.payload == "" {
			time.Sleep(300 * time.Millisecond) // some readings, which don't differ
			continue
		}
		m := c.next(t)
		if string(m.Payload()) != want.payload || m.Retained() != (i == 0) {
			t.Errorf("%s: %s, retained %v", want.milli, m.Payload(), m.Retained())
		}
		vmtest.Figure("%s came %s after it was set", m.Payload(), time.Since(began).Round(time.Millisecond))
	}
}
