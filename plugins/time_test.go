package plugins

import (
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/internal/clock"
)

// testClock is a machine's clocks under a test's control.
type testClock struct {
	mu  sync.Mutex
	now clock.Instant
}

func newTestClock() *testClock {
	return &testClock{now: clock.Instant{Wall: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC), Up: 5 * time.Hour}}
}

func (c *testClock) read() clock.Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// pass lets time pass.
func (c *testClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// jump sets the wall clock.
func (c *testClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Wall = c.now.Wall.Add(d)
}

// checkFile checks a plugin file with the source `probe`, whose events are those of probeEvent.
func checkFile(t *testing.T, text string) (*Spec, string) {
	t.Helper()
	_, catalog := newProbes(t)
	c := &Checker{Catalog: catalog, Host: "pi"}
	s, errs := c.Check("a", "a.yaml", []byte(text))
	return s, errs.Render()
}

// TestTimeKeys is each key in virtual time, as tests in files.
func TestTimeKeys(t *testing.T) {
	for name, text := range map[string]string{
		"changed": `
publish: [{per: "${event.text}", changed: event.value, topic: "t/${key}", payload: "${event.value}"}]
tests:
  - steps:
      - {at: 0s, event: {text: a, value: 1}}
      - {at: 1s, event: {text: b, value: 1}}
      - {at: 2s, event: {text: a, value: 1}}
      - {at: 3s, event: {text: b, value: 2}, expect: [{topic: t/a, payload: 1}, {topic: t/b, payload: 1}, {topic: t/b, payload: 2}]}`,
		"changed by, at least": `
publish: [{changed: event.value, by: 0.5, at_least: 10m, topic: t, payload: "${event.value}"}]
tests:
  - steps:
      - {at: 0s, event: {value: 20.0}, expect: [{topic: t, payload: 20}]}
      - {at: 1s, event: {value: 20.4}, expect: []}
      - {at: 2s, event: {value: 20.5}, expect: [{topic: t, payload: 20.5}]}
      - {at: 3s, event: {value: 20.1}, expect: []}
      - {at: 10m1s, event: {value: 20.1}, expect: []}
      - {at: 10m2s, event: {value: 20.1}, expect: [{topic: t, payload: 20.1}]}`,
		"window": `
publish: [{when: event.value > 0, per: "${event.text}", window: {of: event.value, every: 5m}, topic: "w/${key}",
  payload: {n: "${window.count}", sum: "${window.sum}", mean: "${window.mean}", min: "${window.min}", max: "${window.max}", a: "${window.first}", z: "${window.last}",
    med: "${window.median}", dev: "${round(window.stddev, 3)}", rate: "${window.rate}", from: "${window.start}", to: "${window.end}", text: "${event.text}"}}]
tests:
  - now: 2026-01-05T12:01:00Z
    steps:
      - {at: 0s, event: {value: 1, text: a}}
      - {at: 1m, event: {value: 3, text: a}}
      - {at: 1m, event: {value: 7, text: b}}
      - {at: 1m, event: {value: -7, text: b}}
      - {at: 2m, event: {value: 8, text: a}}
      - {at: 3m59s, expect: []}
      - {at: 4m, expect: [
          {topic: w/a, payload: {n: 3, sum: 12, mean: 4, min: 1, max: 8, a: 1, z: 8, med: 3, dev: 3.606, rate: "${7.0/120}", from: "2026-01-05T12:00:00Z", to: "2026-01-05T12:05:00Z", text: a}},
          {topic: w/b, payload: {n: 1, sum: 7, mean: 7, min: 7, max: 7, a: 7, z: 7, med: 7, dev: 0, rate: 0, from: "2026-01-05T12:00:00Z", to: "2026-01-05T12:05:00Z", text: b}}]}
      - {at: 4m, event: {value: 2, text: a}}
      - {at: 14m, expect: [{topic: w/a}]}
      - {at: 24h, expect: []}`,
		"window, sliding": `
publish: [{window: {of: event.value, last: 5m}, having: window.mean > 2, changed: window.max, topic: w, payload: "${window.mean} ${window.count} ${window.end - window.start}"}]
tests:
  - steps:
      - {at: 0s, event: {value: 1}, expect: []}
      - {at: 1m, event: {value: 5}, expect: [{topic: w, payload: "3 2 5m"}]}
      - {at: 2m, event: {value: 3}, expect: []}
      - {at: 5m, event: {value: 7}, expect: [{topic: w, payload: "5 3 5m"}]}
      - {at: 10m1s, event: {value: 3}, expect: [{topic: w, payload: "3 1 5m"}]}`,
		"window, hopping": `
publish: [{window: {of: 1, every: 1m, last: 3m}, topic: w, payload: "${window.count} ${late ?? 0}"}]
tests:
  - now: 2026-01-05T12:00:30Z
    steps:
      - {at: 0s, event: {value: 1}}
      - {at: 20s, event: {value: 1}}
      - {at: 31s, event: {value: 1}, expect: [{topic: w, payload: "2 0"}]}
      - {at: 10m, expect: [{topic: w, payload: "3 0"}, {topic: w, payload: "3 0"}, {topic: w, payload: "1 0"}]}`,
		"window, session": `
publish: [{window: {of: event.value, quiet: 30s}, topic: w, payload: "${window.sum} ${window.end - window.start}"}]
tests:
  - steps:
      - {at: 0s, event: {value: 1}}
      - {at: 29s, event: {value: 2}}
      - {at: 58s, event: {value: 3}, expect: []}
      - {at: 88s, expect: [{topic: w, payload: "6 58s"}]}
      - {at: 90s, event: {value: 4}}
      - {at: 1h, expect: [{topic: w, payload: "4 0s"}]}`,
		"window of each, by day": `
publish: [{each: event.json, per: "${item}", window: {of: index + 1, every: 1d}, topic: "w/${item}", payload: "${window.sum}"}]
tests:
  - steps:
      - {at: 0s, event: {json: [a, b, a]}}
      - {at: 1m, event: {json: [b]}}
      - {at: 36h, expect: [{topic: w/a, payload: 4}, {topic: w/b, payload: 3}]}`,
		"for": `
publish: [{when: event.value > 0, for: 10m, topic: open, payload: {min: "${held}", v: "${event.value}", at: "${since}"}}]
tests:
  - now: 2026-01-05T12:00:00Z
    steps:
      - {at: 0s, event: {value: 1}}
      - {at: 5m, event: {value: 2}}
      - {at: 9m59s, expect: []}
      - {at: 10m, expect: [{topic: open, payload: {min: 10m, v: 2, at: "2026-01-05T12:00:00Z"}}]}
      - {at: 15m, event: {value: 3}}
      - {at: 40m, expect: []}
      - {at: 41m, event: {value: 0}}
      - {at: 42m, event: {value: 1}}
      - {at: 43m, event: {value: 0}}
      - {at: 44m, event: {value: 1}}
      - {at: 53m, expect: []}
      - {at: 54m, expect: [{topic: open}]}`,
		"after": `
publish: [{when: event.text == "motion", after: 5m, cancel: event.text == "off", topic: light, payload: "off"}]
tests:
  - steps:
      - {at: 0s, event: {text: motion}}
      - {at: 4m, event: {text: motion}}
      - {at: 8m59s, expect: []}
      - {at: 9m, expect: [{topic: light, payload: "off"}]}
      - {at: 20m, event: {text: motion}}
      - {at: 21m, event: {text: "off"}}
      - {at: 40m, expect: []}`,
		"settle": `
publish: [{per: "${event.text}", settle: 2s, topic: "t/${event.text}", payload: "${event.value}"}]
tests:
  - steps:
      - {at: 0s, event: {text: a, value: 1}}
      - {at: 1s, event: {text: a, value: 2}}
      - {at: 1s, event: {text: b, value: 9}}
      - {at: 2s, event: {text: a, value: 3}}
      - {at: 3s, expect: [{topic: t/b, payload: 9}]}
      - {at: 4s, expect: [{topic: t/a, payload: 3}]}
      - {at: 1h, expect: []}`,
		"silent": `
publish: [{per: "${event.text}", silent: 10m, recover: true, topic: "silent/${key}", payload: {back: "${recovered}", since: "${held}"}}]
tests:
  - steps:
      - {at: 0s, event: {text: pump}}
      - {at: 9m, event: {text: pump}}
      - {at: 18m, expect: []}
      - {at: 19m, expect: [{topic: silent/pump, payload: {back: false, since: 10m}}]}
      - {at: 1h, expect: []}
      - {at: 1h9m, event: {text: pump}, expect: [{topic: silent/pump, payload: {back: true, since: 1h}}]}
      - {at: 1h10m, event: {text: pump}, expect: []}
      - {at: 1h20m, expect: [{topic: silent/pump}]}`,
		"silent from the start": `
publish: [{silent: 10m, topic: silent, payload: "${event.value ?? 0}"}]
tests:
  - steps:
      - {at: 10m, expect: [{topic: silent, payload: 0}]}
      - {at: 2h, expect: []}`,
		"rate": `
publish: [{rate: 1/10s, keep: last, topic: t, payload: "${event.value}"}]
tests:
  - steps:
      - {at: 0s, event: {value: 1}, expect: [{payload: 1}]}
      - {at: 1s, event: {value: 2}}
      - {at: 5s, event: {value: 3}}
      - {at: 9s, expect: []}
      - {at: 10s, expect: [{payload: 3}]}
      - {at: 30s, event: {value: 4}, expect: [{payload: 4}]}`,
		"rate, first": `
publish: [{rate: 1/10s, keep: first, topic: t, payload: "${event.value}"}]
tests:
  - steps:
      - {at: 0s, event: {value: 1}}
      - {at: 1s, event: {value: 2}}
      - {at: 10s, event: {value: 3}, expect: [{payload: 1}, {payload: 3}]}
      - {at: 1h, expect: []}`,
		"each": `
publish:
  - {each: event.json.sensors, when: item.c > 0, per: "${item.id}", changed: item.c, topic: "room/${item.id}", payload: {c: "${item.c}", i: "${index}", n: "${event.text}"}}
tests:
  - steps:
      - {at: 0s, event: {text: x, json: {sensors: [{id: a, c: 1}, {id: b, c: 0}, {id: c, c: 3}]}}, expect: [{topic: room/a, payload: {c: 1, i: 0, n: x}}, {topic: room/c, payload: {c: 3, i: 2, n: x}}]}
      - {at: 1s, event: {text: y, json: {sensors: [{id: a, c: 1}, {id: c, c: 4}]}}, expect: [{topic: room/c, payload: {c: 4, i: 1, n: "y"}}]}
      - {at: 2s, event: {text: y, json: {sensors: []}}, expect: []}
      - {at: 3s, event: {text: y, json: {}}, expect: []}`,
		"each, later": `
publish: [{each: event.json, per: "${item.id}", settle: 1s, topic: "t/${item.id}", payload: "${index}"}]
tests:
  - steps:
      - {at: 0s, event: {json: [{id: a}, {id: b}]}}
      - {at: 1s, expect: [{topic: t/a, payload: 0}, {topic: t/b, payload: 1}]}`,
		"own": `
publish: [{per: "${event.text}", set_own: {n: "${(own.n ?? 0) + event.value}"}, set: {all: "${(state.all ?? 0) + 1}"}, topic: "t/${key}", payload: ["${own.n ?? 0}", "${state.all ?? 0}"]}]
tests:
  - steps:
      - {at: 0s, event: {text: a, value: 1}}
      - {at: 0s, event: {text: b, value: 10}}
      - {at: 0s, event: {text: a, value: 5}, expect: [{payload: [0, 0]}, {payload: [0, 1]}, {payload: [1, 2]}]}
  - {own: {n: 7}, event: {text: a, value: 1}, expect: [{topic: t/a, payload: [7, 0]}]}`,
		"last per key": `
publish: [{per: "${event.text}", when: event.value != last.value, topic: "t/${key}"}]
tests:
  - steps:
      - {at: 0s, event: {text: a, value: 1}}
      - {at: 0s, event: {text: b, value: 1}}
      - {at: 0s, event: {text: a, value: 1}}
      - {at: 0s, event: {text: a, value: 2}, expect: [{topic: t/a}, {topic: t/b}, {topic: t/a}]}`,
		"an action": `
actions: [{when: event.value > 0, for: 1m, note: {title: "open for ${held}"}}]
tests:
  - steps: [{at: 0s, event: {value: 1}}, {at: 1m, expect: [{note: {title: open for 1m}}]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, errs := checkFile(t, "source: {probe: {name: a}}"+text); errs != "" {
				t.Error(errs)
			}
		})
	}
}
