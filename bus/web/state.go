package web

// This file is /api/v1/bus and /metrics: the state of the bus, for people and for Prometheus, from
// the same counters.

import (
	"encoding/hex"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/postbus/postbus/bus/journal"
)

// Broker is the view of the connections.
type Broker interface {
	// Connections counts the open connections, by listener.
	Connections() map[string]int
	// Delayed counts the events that waited for a rate.
	Delayed() uint64
}

// busState is the answer of /api/v1/bus. Counters begin at zero when the program starts.
type busState struct {
	Version       string            `json:"version"`
	Host          string            `json:"host"`
	Epoch         string            `json:"epoch"`
	Started       time.Time         `json:"started"`
	Ready         bool              `json:"ready"`
	Reason        string            `json:"reason,omitempty"` // why it is not ready
	Published     uint64            `json:"published"`
	Dropped       uint64            `json:"dropped"` // deliveries of QoS 0 whose buffer was full
	Lost          map[string]uint64 `json:"lost"`    // by reason
	Refused       map[string]uint64 `json:"refused"` // by the limit's key
	LostLately    uint64            `json:"lost_last_hour"`
	Sessions      int               `json:"sessions"`
	Online        int               `json:"online"`
	Subscriptions int               `json:"subscriptions"`
	Retained      int               `json:"retained"`
	RetainedBytes int               `json:"retained_bytes"`
	Journal       journalState      `json:"journal"`
	Memory        memoryState       `json:"memory"`
	Connections   map[string]int    `json:"connections"`
	PluginsDir    string            `json:"plugins_dir,omitempty"`
	Warnings      any               `json:"warnings"`
}

type journalState struct {
	First       uint64    `json:"first"`
	Last        uint64    `json:"last"`
	Segments    int       `json:"segments"`
	DiskBytes   int64     `json:"disk_bytes"`
	FreeBytes   int64     `json:"free_bytes"`
	Written     uint64    `json:"written_bytes"`
	Events      uint64    `json:"records"`
	Syncs       uint64    `json:"syncs"`
	Groups      uint64    `json:"groups"`
	Damaged     uint64    `json:"damaged"`
	Missing     uint64    `json:"missing"`               // records that were durable and that no file holds any more, at most
	Holes       []hole    `json:"holes,omitempty"`       // where they are missing; the first of many
	SyncSeconds quantiles `json:"sync_seconds"`          // write and sync of a group
	AckSeconds  quantiles `json:"commit_seconds"`        // from the first event of a group until it is durable
	KeptSeconds float64   `json:"retention_age_seconds"` // how long events are kept after all sessions have them
	KeptBytes   int64     `json:"retention_bytes"`       // and up to which size
}

// hole is a range of sequences that are missing in the journal.
type hole = journal.Hole

// maxHoles is how many holes an answer lists.
const maxHoles = 100

func (s *Server) holes() []hole {
	list := s.bus.Holes()
	return list[:min(len(list), maxHoles)]
}

type quantiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
}

type memoryState struct {
	Heap       uint64 `json:"heap_bytes"`
	System     uint64 `json:"system_bytes"`
	Goroutines int    `json:"goroutines"`
}

func quantilesOf(t *journal.Times) quantiles {
	return quantiles{t.Quantile(0.5).Seconds(), t.Quantile(0.9).Seconds(), t.Quantile(0.99).Seconds()}
}

func (s *Server) busState(w http.ResponseWriter, r *http.Request) {
	if !s.seesBus(w, r, "the state of the bus") {
		return
	}
	st, epoch, limits := s.bus.Stats(), s.bus.Epoch(), s.bus.Limits()
	j := &st.Journal
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	host, _ := os.Hostname()
	out := busState{Version: s.o.Version, Host: host, Epoch: hex.EncodeToString(epoch[:]), Started: s.started, Ready: true,
		Published: st.Published, Dropped: st.Dropped, Lost: st.Lost, Refused: st.Refused, LostLately: s.lost.grown(time.Now(), sum(st.Lost)), Sessions: st.Sessions, Online: st.Online, Subscriptions: st.Subscriptions,
		Retained: st.Retained, RetainedBytes: st.RetainedBytes,
		Journal: journalState{First: j.First, Last: j.Last, Segments: j.Segments, DiskBytes: j.DiskBytes, FreeBytes: j.Free, Written: j.Bytes,
			Events: j.Appended, Syncs: j.Syncs, Groups: j.Groups, Damaged: j.Damaged, Missing: j.Missing, Holes: s.holes(), SyncSeconds: quantilesOf(&j.SyncTimes), AckSeconds: quantilesOf(&j.CommitTimes),
			KeptSeconds: limits.RetentionAge.Seconds(), KeptBytes: limits.RetentionSize},
		PluginsDir: s.o.PluginsDir,
		Memory:     memoryState{Heap: m.HeapAlloc, System: m.Sys, Goroutines: runtime.NumGoroutine()}, Connections: map[string]int{}, Warnings: []string{}}
	if err := s.bus.Ready(); err != nil {
		out.Ready, out.Reason = false, err.Error()
	}
	if s.o.Broker != nil {
		out.Connections = s.o.Broker.Connections()
	}
	if s.o.Warnings != nil {
		out.Warnings = s.o.Warnings()
	}
	answer(w, http.StatusOK, out)
}

// collector gives Prometheus the counters at the time of the request.
type collector struct {
	s *Server
	d map[string]*prometheus.Desc
}

// maxLagSeries is how many sessions have a series of their lag: to count a backlog reads the journal.
const maxLagSeries = 100

// metricHelp lists the metrics of the bus. The labels are separated by commas.
var metricHelp = []struct{ name, help, labels string }{
	{"postbus_ready", "1 when the bus accepts events.", ""},
	{"postbus_published_events_total", "Events accepted.", ""},
	{"postbus_dropped_deliveries_total", "QoS 0 deliveries dropped because the client's output buffer was full.", ""},
	{"postbus_lost_events_total", "Events lost, by reason: by sessions, by sources, and forbidden publishes of clients before MQTT 5.", "reason"},
	{"postbus_sessions", "Sessions, online or offline.", "state"},
	{"postbus_subscriptions", "Active subscriptions.", ""},
	{"postbus_refused_total", "Events, subscriptions and sessions that a limit refused.", "limit"},
	{"postbus_retained_events", "Topics with a retained message.", ""},
	{"postbus_retained_bytes", "Bytes of retained payloads.", ""},
	{"postbus_session_lag_events", "Events that a session has not acknowledged; only of the hundred sessions that are the farthest behind.", "session"},
	{"postbus_kept_values", "Values that plugins keep for their entries and timers.", ""},
	{"postbus_kept_bytes", "Bytes of these values.", ""},
	{"postbus_connections", "Open connections.", "listener"},
	{"postbus_delayed_events_total", "Events that waited because their client or its user was above a rate.", ""},
	{"postbus_journal_written_bytes_total", "Bytes written to the journal, a measure of disk wear.", ""},
	{"postbus_journal_records_total", "Records written to the journal.", ""},
	{"postbus_journal_syncs_total", "Journal syncs (fdatasync).", ""},
	{"postbus_journal_damaged_total", "Damaged journal records that were skipped.", ""},
	{"postbus_journal_missing_records", "Records that were durable and that no file of the journal holds any more, at most.", ""},
	{"postbus_journal_holes", "Stretches of the journal in which records are missing.", ""},
	{"postbus_journal_disk_bytes", "Size of the journal on disk.", ""},
	{"postbus_journal_free_bytes", "Free bytes on the journal's disk.", ""},
	{"postbus_journal_last_sequence", "Sequence of the newest record.", ""},
	{"postbus_journal_sync_seconds", "Time to write and sync a group of records.", ""},
	{"postbus_journal_commit_seconds", "Time from the first record of a group until the group is durable, which publishers wait for.", ""},
}

func newCollector(s *Server) *collector {
	c := &collector{s: s, d: map[string]*prometheus.Desc{}}
	for _, m := range slices.Concat(metricHelp, pluginMetricHelp, fleetMetricHelp) {
		var labels []string
		if m.labels != "" {
			labels = strings.Split(m.labels, ",")
		}
		c.d[m.name] = prometheus.NewDesc(m.name, m.help, labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.d {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	put := func(name string, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(c.d[name], kind, v, labels...)
	}
	gauge := func(name string, v float64, labels ...string) { put(name, prometheus.GaugeValue, v, labels...) }
	count := func(name string, v uint64, labels ...string) {
		put(name, prometheus.CounterValue, float64(v), labels...)
	}
	st := c.s.bus.Stats()
	j := &st.Journal
	ready := 1.0
	if c.s.bus.Ready() != nil {
		ready = 0
	}
	gauge("postbus_ready", ready)
	count("postbus_published_events_total", st.Published)
	count("postbus_dropped_deliveries_total", st.Dropped)
	for reason, n := range st.Lost {
		count("postbus_lost_events_total", n, reason)
	}
	for key, n := range st.Refused {
		count("postbus_refused_total", n, key)
	}
	gauge("postbus_sessions", float64(st.Online), "online")
	gauge("postbus_sessions", float64(st.Sessions-st.Online), "absent")
	gauge("postbus_subscriptions", float64(st.Subscriptions))
	gauge("postbus_retained_events", float64(st.Retained))
	gauge("postbus_retained_bytes", float64(st.RetainedBytes))
	gauge("postbus_kept_values", float64(st.Kept))
	gauge("postbus_kept_bytes", float64(st.KeptBytes))
	c.lags(gauge)
	c.plugins(out)
	c.fleets(out)
	if c.s.o.Broker != nil {
		count("postbus_delayed_events_total", c.s.o.Broker.Delayed())
		for listener, n := range c.s.o.Broker.Connections() {
			gauge("postbus_connections", float64(n), listener)
		}
	}
	count("postbus_journal_written_bytes_total", j.Bytes)
	count("postbus_journal_records_total", j.Appended)
	count("postbus_journal_syncs_total", j.Syncs)
	count("postbus_journal_damaged_total", j.Damaged)
	gauge("postbus_journal_missing_records", float64(j.Missing))
	gauge("postbus_journal_holes", float64(j.Holes))
	gauge("postbus_journal_disk_bytes", float64(j.DiskBytes))
	gauge("postbus_journal_free_bytes", float64(j.Free))
	gauge("postbus_journal_last_sequence", float64(j.Last))
	out <- histogram(c.d["postbus_journal_sync_seconds"], &j.SyncTimes)
	out <- histogram(c.d["postbus_journal_commit_seconds"], &j.CommitTimes)
}

// lags writes a series for each of the maxLagSeries sessions that are the farthest behind.
func (c *collector) lags(gauge func(string, float64, ...string)) {
	for _, i := range c.s.bus.SessionsBehind(maxLagSeries) {
		gauge("postbus_session_lag_events", float64(i.Lag), strings.ToValidUTF8(i.Name, "\uFFFD"))
	}
}

func histogram(d *prometheus.Desc, t *journal.Times) prometheus.Metric {
	buckets := map[float64]uint64{}
	var all uint64
	for i, bound := range journal.TimeBounds {
		all += t.Counts[i]
		buckets[bound.Seconds()] = all
	}
	all += t.Counts[len(journal.TimeBounds)]
	return prometheus.MustNewConstHistogram(d, all, t.Sum.Seconds(), buckets)
}

// metrics answers Prometheus, for clients that may see the bus.
func (s *Server) metrics() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(newCollector(s), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	h := promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.seesBus(w, r, "metrics") {
			h.ServeHTTP(w, r)
		}
	})
}
