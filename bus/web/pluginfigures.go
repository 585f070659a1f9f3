package web

// This file is the metrics of plugins. Their number is bounded, and a plugin that was removed has none.

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// PluginFigures are a plugin's figures. Counters begin at zero when the plugin is loaded.
type PluginFigures struct {
	ID, State                   string
	Events, Filtered, Published uint64
	Errors, Dropped, Missed     uint64
	Done, Sent, Expired, Failed uint64 // jobs of actions by result, and attempts that failed
	Fired, Evicted              uint64 // timers that were due; keys forgotten because of a limit
	Keys, Timers, StateBytes    int
	Queues                      []QueueFigures
}

// QueueFigures are an action's figures.
type QueueFigures struct {
	Action string
	Jobs   uint64  // not done yet
	Oldest float64 // age of the oldest in seconds
	Dead   uint64  // given up
}

// maxPluginSeries is the maximum number of series of all plugins together.
const maxPluginSeries = 10_000

// How many series a plugin has, and each of its actions.
const (
	seriesOfPlugin = 16
	seriesOfAction = 3
)

var pluginMetricHelp = []struct{ name, help, labels string }{
	{"postbus_plugins", "Plugins.", ""},
	{"postbus_plugins_without_series", "Plugins that have no series of their own, because all plugins together may have ten thousand.", ""},
	{"postbus_plugin_state", "1 for the plugin's current state.", "plugin,state"},
	{"postbus_plugin_events_total", "Events of the plugin's sources.", "plugin"},
	{"postbus_plugin_filtered_total", "Events that no entry wanted.", "plugin"},
	{"postbus_plugin_published_total", "Events that the plugin published.", "plugin"},
	{"postbus_plugin_errors_total", "Entries that failed for an event.", "plugin"},
	{"postbus_plugin_dropped_total", "Events above a rate, or lost by a source.", "plugin"},
	{"postbus_plugin_missed_total", "Events of the bus that expired before the plugin could read them.", "plugin"},
	{"postbus_plugin_jobs_total", "Jobs of the plugin's actions that ended: done, sent to a program that reports no result, or expired.", "plugin,result"},
	{"postbus_plugin_failed_attempts_total", "Attempts of actions that failed.", "plugin"},
	{"postbus_plugin_fired_timers_total", "Timers that were due.", "plugin"},
	{"postbus_plugin_evicted_keys_total", "Keys that were forgotten because of per_limit or state_limit.", "plugin"},
	{"postbus_plugin_keys", "Keys for which the entries keep something.", "plugin"},
	{"postbus_plugin_timers", "Timers that are pending.", "plugin"},
	{"postbus_plugin_state_bytes", "Bytes that the entries keep.", "plugin"},
	{"postbus_plugin_queue_length", "Jobs of an action that are not done.", "plugin,action"},
	{"postbus_plugin_queue_age_seconds", "Age of the oldest job of an action that is not done; 0 without such a job.", "plugin,action"},
	{"postbus_plugin_dead_letters_total", "Jobs of an action that were given up.", "plugin,action"},
}

// plugins writes the series of as many plugins as there is room for, in the order of their ids.
func (c *collector) plugins(out chan<- prometheus.Metric) {
	if c.s.o.Plugins == nil {
		return
	}
	put := func(name string, kind prometheus.ValueType, v float64, labels ...string) {
		for i, l := range labels {
			labels[i] = strings.ToValidUTF8(l, "\uFFFD")
		}
		out <- prometheus.MustNewConstMetric(c.d[name], kind, v, labels...)
	}
	list, room, without := c.s.o.Plugins.Figures(), maxPluginSeries, 0
	for i := range list {
		n := seriesOfPlugin + seriesOfAction*len(list[i].Queues)
		if n > room {
			without++
			continue
		}
		room -= n
		list[i].write(put)
	}
	put("postbus_plugins", prometheus.GaugeValue, float64(len(list)))
	put("postbus_plugins_without_series", prometheus.GaugeValue, float64(without))
}

// write puts the series of a plugin.
func (p *PluginFigures) write(put func(name string, kind prometheus.ValueType, v float64, labels ...string)) {
	put("postbus_plugin_state", prometheus.GaugeValue, 1, p.ID, p.State)
	for _, m := range []struct {
		name string
		n    uint64
	}{
		{"postbus_plugin_events_total", p.Events},
		{"postbus_plugin_filtered_total", p.Filtered},
		{"postbus_plugin_published_total", p.Published},
		{"postbus_plugin_errors_total", p.Errors},
		{"postbus_plugin_dropped_total", p.Dropped},
		{"postbus_plugin_missed_total", p.Missed},
		{"postbus_plugin_failed_attempts_total", p.Failed},
		{"postbus_plugin_fired_timers_total", p.Fired},
		{"postbus_plugin_evicted_keys_total", p.Evicted},
	} {
		put(m.name, prometheus.CounterValue, float64(m.n), p.ID)
	}
	put("postbus_plugin_jobs_total", prometheus.CounterValue, float64(p.Done), p.ID, "done")
	put("postbus_plugin_jobs_total", prometheus.CounterValue, float64(p.Sent), p.ID, "sent")
	put("postbus_plugin_jobs_total", prometheus.CounterValue, float64(p.Expired), p.ID, "expired")
	put("postbus_plugin_keys", prometheus.GaugeValue, float64(p.Keys), p.ID)
	put("postbus_plugin_timers", prometheus.GaugeValue, float64(p.Timers), p.ID)
	put("postbus_plugin_state_bytes", prometheus.GaugeValue, float64(p.StateBytes), p.ID)
	for _, q := range p.Queues {
		put("postbus_plugin_queue_length", prometheus.GaugeValue, float64(q.Jobs), p.ID, q.Action)
		put("postbus_plugin_queue_age_seconds", prometheus.GaugeValue, q.Oldest, p.ID, q.Action)
		put("postbus_plugin_dead_letters_total", prometheus.CounterValue, float64(q.Dead), p.ID, q.Action)
	}
}
