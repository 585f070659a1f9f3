package web_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus/web"
)

// TestFleetIsForObservers: the state of the fleet is for those who may see the bus.
func TestFleetIsForObservers(t *testing.T) {
	fleet := func() any { return []string{"home"} }
	_, base := start(t, web.Options{Local: true, Authenticate: policy(t, nil), Fleet: fleet})
	for user, want := range map[string]int{"pi:secret": 200, "chief:secret": 200, "eve:secret": 403, "": 401} {
		status, _, body := request{method: "GET", path: "/api/v1/fleet", user: user}.do(t, base)
		if status != want || (status == 200) != strings.Contains(body, `["home"]`) {
			t.Errorf("%q: %d %s, want %d", user, status, body, want)
		}
	}
}

func TestMetricsOfFleets(t *testing.T) {
	list := []web.FleetFigures{
		{Fleet: "home", State: "online", Online: true, Groups: 1, Bytes: 2, Received: 3, Waiting: 4, Behind: 5, Peers: []web.PeerFigures{
			{Bus: "attic", Events: 6, Repeats: 7, Lost: 8, Expired: 9, Refused: 10, Last: 1700000000.5}, {Bus: "a\xff"}}},
		{Fleet: "home", Hub: 1, State: "conflict"},
	}
	_, base := start(t, web.Options{Local: true, FleetFigures: func() []web.FleetFigures { return list }})
	const want = `postbus_fleet_behind_messages{fleet="home",hub="0"} 5
postbus_fleet_behind_messages{fleet="home",hub="1"} 0
postbus_fleet_connected{fleet="home",hub="0"} 1
postbus_fleet_connected{fleet="home",hub="1"} 0
postbus_fleet_events_total{fleet="home",hub="0",peer="attic"} 6
postbus_fleet_events_total{fleet="home",hub="0",peer="a�"} 0
postbus_fleet_expired_total{fleet="home",hub="0",peer="attic"} 9
postbus_fleet_expired_total{fleet="home",hub="0",peer="a�"} 0
postbus_fleet_last_event_seconds{fleet="home",hub="0",peer="attic"} 1.7000000005e+09
postbus_fleet_last_event_seconds{fleet="home",hub="0",peer="a�"} 0
postbus_fleet_lost_total{fleet="home",hub="0",peer="attic"} 8
postbus_fleet_lost_total{fleet="home",hub="0",peer="a�"} 0
postbus_fleet_received_messages_total{fleet="home",hub="0"} 3
postbus_fleet_received_messages_total{fleet="home",hub="1"} 0
postbus_fleet_refused_total{fleet="home",hub="0",peer="attic"} 10
postbus_fleet_refused_total{fleet="home",hub="0",peer="a�"} 0
postbus_fleet_repeats_total{fleet="home",hub="0",peer="attic"} 7
postbus_fleet_repeats_total{fleet="home",hub="0",peer="a�"} 0
postbus_fleet_sent_bytes_total{fleet="home",hub="0"} 2
postbus_fleet_sent_bytes_total{fleet="home",hub="1"} 0
postbus_fleet_sent_groups_total{fleet="home",hub="0"} 1
postbus_fleet_sent_groups_total{fleet="home",hub="1"} 0
postbus_fleet_state{fleet="home",hub="0",state="online"} 1
postbus_fleet_state{fleet="home",hub="1",state="conflict"} 1
postbus_fleet_waiting_records{fleet="home",hub="0"} 4
postbus_fleet_waiting_records{fleet="home",hub="1"} 0
postbus_fleets 2
postbus_fleets_without_series 0`
	if got := strings.Join(metricLines(t, base, "postbus_fleet"), "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestMetricsOfFleetsAreBounded: every entry has series while there is room, then peers, and the others are
// counted.
func TestMetricsOfFleetsAreBounded(t *testing.T) {
	fleetOf := func(name string, peers int) (f web.FleetFigures) {
		f = web.FleetFigures{Fleet: name, State: "online"}
		for i := range peers {
			f.Peers = append(f.Peers, web.PeerFigures{Bus: fmt.Sprintf("b%05d", i)})
		}
		return f
	}
	var many []web.FleetFigures
	for i := range 2000 {
		many = append(many, fleetOf(fmt.Sprint("f", i), 1))
	}
	for name, c := range map[string]struct {
		list    []web.FleetFigures
		without int
	}{
		"peers":   {[]web.FleetFigures{fleetOf("a", 2000), fleetOf("b", 1)}, 2001 - (10_000-14)/6},
		"entries": {many, (2000-1428)*2 + 1428},
	} {
		_, base := start(t, web.Options{Local: true, FleetFigures: func() []web.FleetFigures { return c.list }})
		lines := metricLines(t, base, "postbus_fleet_")
		if n := len(lines); n > 10_000 || n < 9_900 {
			t.Errorf("%s: %d series", name, n)
		}
		want := fmt.Sprintf("[postbus_fleets %d postbus_fleets_without_series %d]", len(c.list), c.without)
		if got := fmt.Sprint(metricLines(t, base, "postbus_fleets")); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestDescriptionRefersToWhatItHas: the schemas that the description refers to exist.
func TestDescriptionRefersToWhatItHas(t *testing.T) {
	_, base := start(t, web.Options{Local: true})
	_, _, body := request{method: "GET", path: "/api/v1/openapi.json"}.do(t, base)
	var doc struct {
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	n := 0
	for part := range strings.SplitSeq(body, `"#/components/schemas/`) {
		name, _, _ := strings.Cut(part, `"`)
		if n++; n > 1 && doc.Components.Schemas[name] == nil {
			t.Errorf("there is no schema %s", name)
		}
	}
}
