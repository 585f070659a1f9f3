package web_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/web"
)

// figuredPlugins are plugins of which only the figures are known.
type figuredPlugins struct {
	noPlugins
	list atomic.Pointer[[]web.PluginFigures]
}

func (p *figuredPlugins) Figures() []web.PluginFigures { return *p.list.Load() }

// metricLines are the lines of /metrics that begin so.
func metricLines(t *testing.T, base, prefix string) (lines []string) {
	t.Helper()
	status, _, body := request{method: "GET", path: "/metrics"}.do(t, base)
	if status != 200 {
		t.Fatal(status, body)
	}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestMetricsOfPlugins(t *testing.T) {
	p := &figuredPlugins{}
	p.list.Store(&[]web.PluginFigures{{ID: "door", State: "degraded", Events: 1, Filtered: 2, Published: 3, Errors: 4, Dropped: 5, Missed: 6,
		Done: 7, Sent: 8, Expired: 9, Failed: 10, Fired: 11, Evicted: 12, Keys: 13, Timers: 14, StateBytes: 15,
		Queues: []web.QueueFigures{{Action: "http", Jobs: 16, Oldest: 17.5, Dead: 18}, {Action: "a\xff", Jobs: 19}}}})
	_, base := start(t, web.Options{Local: true, Plugins: p})
	const want = `postbus_plugin_dead_letters_total{action="a�",plugin="door"} 0
postbus_plugin_dead_letters_total{action="http",plugin="door"} 18
postbus_plugin_dropped_total{plugin="door"} 5
postbus_plugin_errors_total{plugin="door"} 4
postbus_plugin_events_total{plugin="door"} 1
postbus_plugin_evicted_keys_total{plugin="door"} 12
postbus_plugin_failed_attempts_total{plugin="door"} 10
postbus_plugin_filtered_total{plugin="door"} 2
postbus_plugin_fired_timers_total{plugin="door"} 11
postbus_plugin_jobs_total{plugin="door",result="done"} 7
postbus_plugin_jobs_total{plugin="door",result="expired"} 9
postbus_plugin_jobs_total{plugin="door",result="sent"} 8
postbus_plugin_keys{plugin="door"} 13
postbus_plugin_missed_total{plugin="door"} 6
postbus_plugin_published_total{plugin="door"} 3
postbus_plugin_queue_age_seconds{action="a�",plugin="door"} 0
postbus_plugin_queue_age_seconds{action="http",plugin="door"} 17.5
postbus_plugin_queue_length{action="a�",plugin="door"} 19
postbus_plugin_queue_length{action="http",plugin="door"} 16
postbus_plugin_state{plugin="door",state="degraded"} 1
postbus_plugin_state_bytes{plugin="door"} 15
postbus_plugin_timers{plugin="door"} 14`
	if got := strings.Join(metricLines(t, base, "postbus_plugin_"), "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	for _, want := range []string{"postbus_kept_values 0", "postbus_kept_bytes 0"} {
		if got := metricLines(t, base, want); len(got) != 1 {
			t.Errorf("no %s", want)
		}
	}
	p.list.Store(new([]web.PluginFigures)) // the plugin was removed
	if got := metricLines(t, base, "postbus_plugin_"); len(got) > 0 {
		t.Errorf("%s", got)
	}
}

// TestMetricsOfPluginsAreBounded: the first plugins have series, and the others are counted.
func TestMetricsOfPluginsAreBounded(t *testing.T) {
	var list []web.PluginFigures
	for i := range 1000 {
		list = append(list, web.PluginFigures{ID: fmt.Sprintf("p%03d", i), State: "running", Queues: make([]web.QueueFigures, 1)})
	}
	p := &figuredPlugins{}
	p.list.Store(&list)
	_, base := start(t, web.Options{Local: true, Plugins: p})
	lines := metricLines(t, base, "postbus_plugin_")
	if n := len(lines); n > 10_000 || n < 9_900 || n%19 != 0 {
		t.Errorf("%d series", n)
	}
	if got, want := metricLines(t, base, "postbus_plugins"), []string{"postbus_plugins 1000", "postbus_plugins_without_series 474"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestMetricsOfLosses: these series begin with the first loss or refusal.
func TestMetricsOfLosses(t *testing.T) {
	b, base := start(t, web.Options{Local: true})
	b.SetLimits(bus.Limits{Retained: 1})
	for i := range 2 {
		_, err := b.Publish(context.Background(), bus.Event{Topic: fmt.Sprintf("home/%d", i), Payload: []byte("x"), QoS: 1, Retain: true})
		if (err != nil) != (i == 1) {
			t.Fatal(i, err)
		}
		for b.Last() < 1 { // a value counts once its event is folded, which may be after Publish returned
			runtime.Gosched()
		}
	}
	b.ReportLoss("phone", "expired", 3)
	for _, want := range []string{`postbus_lost_events_total{reason="expired"} 3`, `postbus_refused_total{limit="limits.retained"} 1`} {
		name, _, _ := strings.Cut(want, "{")
		if got := metricLines(t, base, name); len(got) != 1 || got[0] != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
