package web

// This file is for monitoring: whether the process runs, and whether the bus accepts events.

import (
	"fmt"
	"net/http"
)

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, `postbus %s: an MQTT event bus that never loses an acknowledged event

GET    /api/v1/openapi.json   this API as OpenAPI, for programs
GET    /healthz               the process runs
GET    /readyz                the bus accepts events; 503 says why not
GET    /metrics               metrics for Prometheus
GET    /mqtt                  MQTT over WebSocket, subprotocol mqtt
GET    /api/v1/bus            state and counters of the bus
GET    /api/v1/fleet          the exchange with other buses: each hub's state, each bus's counters
GET    /api/v1/topics         retained messages: ?filter=home/%%23 (a # in an address is written %%23)
GET    /api/v1/events         events in the journal: ?filter=home/%%23&since=10m&limit=1000
GET    /api/v1/plugins        every plugin: state, counters, errors
GET    /api/v1/timers         pending timers of plugins, the first due first: ?plugin=door&limit=100
GET    /api/v1/explain        which plugin publishes a topic, or why none does: ?topic=home/x
GET    /api/v1/why            what caused an event, back to the first one: ?topic=home/x or ?seq=123
GET    /api/v1/sessions       every session: online, lag, in flight, lost
DELETE /api/v1/sessions/NAME  end a session that has no connection
GET    /api/v1/clients        every client: online or since when not and why, address, lag, counters; /ID for one
POST   /api/v1/clients/ID/kick  end its connection
POST   /api/v1/clients/ID/ban   {"for": "1h"}: keep it out; DELETE ends the ban
GET    /api/v1/bans           every ban; POST {"user": "eve", "for": "1h"}, {"address": "192.0.2.1"}; DELETE ?user=eve
GET    /api/v1/users          every user and its rights, for administrators; /NAME for one; PUT and DELETE /NAME edit the config file
PUT    /api/v1/users/NAME/password          {"password": "…"}; DELETE removes it
PUT    /api/v1/users/NAME/passwords/LABEL   {"password": "…", "expires": "90d"}: one of several; DELETE removes it
GET    /api/v1/groups         every group; PUT and DELETE /NAME edit the config file
POST   /api/v1/publish        {"topic": "a/b", "payload": "text", "qos": 1, "retain": false}
POST   /api/v1/token          {"for": "1h"}: a token that replaces the user's password until it expires
`, s.o.Version)
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.bus.Ready(); err != nil {
		fail(w, http.StatusServiceUnavailable, "", "%v", err)
		return
	}
	ready := map[string]any{"status": "ready"}
	if reached := s.bus.Reached(); len(reached) > 0 {
		ready["limits_reached"] = reached // events are accepted all the same, so that this is no 503
	}
	if holes := s.holes(); len(holes) > 0 {
		ready["journal_holes"] = holes // what is left is whole, and new events are safe
	}
	answer(w, http.StatusOK, ready)
}
