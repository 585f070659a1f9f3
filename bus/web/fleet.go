package web

// This file is the fleet: /api/v1/fleet, and its metrics, whose number is bounded.

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// FleetFigures are the figures of an entry of the fleet. Counters begin at zero when the entry starts.
type FleetFigures struct {
	Fleet         string
	Hub           int    // which of the fleet's hubs, from 0
	State         string // connecting, online, offline or conflict
	Online        bool
	Groups, Bytes uint64 // sent
	Received      uint64 // messages
	Waiting       uint64 // records of the journal that are not on the hub yet
	Behind        uint64 // messages on the hub that were not read yet
	Peers         []PeerFigures
}

// PeerFigures are the figures of another bus.
type PeerFigures struct {
	Bus                                     string
	Events, Repeats, Lost, Expired, Refused uint64
	Last                                    float64 // when its newest event was accepted there, in seconds since 1970; 0: never
}

// maxFleetSeries is the maximum number of series of all entries and peers together.
const maxFleetSeries = 10_000

// How many series an entry has, and each of its peers.
const (
	seriesOfEntry = 7
	seriesOfPeer  = 6
)

var fleetMetricHelp = []struct{ name, help, labels string }{
	{"postbus_fleets", "Entries of the fleet, one for each hub.", ""},
	{"postbus_fleets_without_series", "Entries and other buses of the fleet that have no series of their own, because all together may have ten thousand.", ""},
	{"postbus_fleet_connected", "1 while events are exchanged with the hub.", "fleet,hub"},
	{"postbus_fleet_state", "1 for the current state.", "fleet,hub,state"},
	{"postbus_fleet_sent_groups_total", "Groups of events that the hub has stored.", "fleet,hub"},
	{"postbus_fleet_sent_bytes_total", "Bytes of these groups.", "fleet,hub"},
	{"postbus_fleet_waiting_records", "Records of the journal that are not on the hub yet.", "fleet,hub"},
	{"postbus_fleet_behind_messages", "Messages on the hub that were not read yet.", "fleet,hub"},
	{"postbus_fleet_received_messages_total", "Messages read from the hub.", "fleet,hub"},
	{"postbus_fleet_events_total", "Events of another bus that this bus has stored.", "fleet,hub,peer"},
	{"postbus_fleet_repeats_total", "Events of another bus that were here already.", "fleet,hub,peer"},
	{"postbus_fleet_lost_total", "Events of another bus that neither it nor the hub kept long enough, at most.", "fleet,hub,peer"},
	{"postbus_fleet_expired_total", "Events of another bus that expired on the way.", "fleet,hub,peer"},
	{"postbus_fleet_refused_total", "Events of another bus that this bus could not store; the log says why.", "fleet,hub,peer"},
	{"postbus_fleet_last_event_seconds", "When the newest event of another bus was accepted there, in seconds since 1970; 0: never.", "fleet,hub,peer"},
}

func (s *Server) fleet(w http.ResponseWriter, r *http.Request) {
	if s.seesBus(w, r, "the fleet") {
		answer(w, http.StatusOK, s.o.Fleet())
	}
}

// fleets writes the series of as many entries and peers as there is room for: entries first, and then the
// peers of each in their order.
func (c *collector) fleets(out chan<- prometheus.Metric) {
	if c.s.o.FleetFigures == nil {
		return
	}
	put := func(name string, kind prometheus.ValueType, v float64, labels ...string) {
		for i, l := range labels {
			labels[i] = strings.ToValidUTF8(l, "\uFFFD")
		}
		out <- prometheus.MustNewConstMetric(c.d[name], kind, v, labels...)
	}
	list, room, without := c.s.o.FleetFigures(), maxFleetSeries, 0
	shown := min(len(list), room/seriesOfEntry)
	room -= shown * seriesOfEntry
	for i := range list {
		f := &list[i]
		if i >= shown {
			without += 1 + len(f.Peers)
			continue
		}
		f.write(put)
		n := min(len(f.Peers), room/seriesOfPeer)
		room -= n * seriesOfPeer
		without += len(f.Peers) - n
		for j := range n {
			f.Peers[j].write(put, f.Fleet, strconv.Itoa(f.Hub))
		}
	}
	put("postbus_fleets", prometheus.GaugeValue, float64(len(list)))
	put("postbus_fleets_without_series", prometheus.GaugeValue, float64(without))
}

// write puts the series of an entry without its peers.
func (f *FleetFigures) write(put func(name string, kind prometheus.ValueType, v float64, labels ...string)) {
	hub, connected := strconv.Itoa(f.Hub), 0.0
	if f.Online {
		connected = 1
	}
	put("postbus_fleet_connected", prometheus.GaugeValue, connected, f.Fleet, hub)
	put("postbus_fleet_state", prometheus.GaugeValue, 1, f.Fleet, hub, f.State)
	put("postbus_fleet_sent_groups_total", prometheus.CounterValue, float64(f.Groups), f.Fleet, hub)
	put("postbus_fleet_sent_bytes_total", prometheus.CounterValue, float64(f.Bytes), f.Fleet, hub)
	put("postbus_fleet_waiting_records", prometheus.GaugeValue, float64(f.Waiting), f.Fleet, hub)
	put("postbus_fleet_behind_messages", prometheus.GaugeValue, float64(f.Behind), f.Fleet, hub)
	put("postbus_fleet_received_messages_total", prometheus.CounterValue, float64(f.Received), f.Fleet, hub)
}

// write puts the series of a peer.
func (p *PeerFigures) write(put func(name string, kind prometheus.ValueType, v float64, labels ...string), fleet, hub string) {
	put("postbus_fleet_events_total", prometheus.CounterValue, float64(p.Events), fleet, hub, p.Bus)
	put("postbus_fleet_repeats_total", prometheus.CounterValue, float64(p.Repeats), fleet, hub, p.Bus)
	put("postbus_fleet_lost_total", prometheus.CounterValue, float64(p.Lost), fleet, hub, p.Bus)
	put("postbus_fleet_expired_total", prometheus.CounterValue, float64(p.Expired), fleet, hub, p.Bus)
	put("postbus_fleet_refused_total", prometheus.CounterValue, float64(p.Refused), fleet, hub, p.Bus)
	put("postbus_fleet_last_event_seconds", prometheus.GaugeValue, p.Last, fleet, hub, p.Bus)
}
