package web

// This file is /api/v1/clients and /api/v1/bans: who is connected and who is not, and what an
// administrator does about it.

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/ban"
	"github.com/postbus/postbus/bus/topic"
)

// Clients is the view of MQTT clients.
type Clients interface {
	// Connection describes the connection of a client; false when it has none.
	Connection(client string) (bus.Connection, bool)
	// AbsentAfter lists up to n clients that have neither a connection nor a session, in the order of
	// their identifiers from behind one on; Absent reports whether it would list one.
	AbsentAfter(client string, n int) []string
	Absent(client string) bool
	// Disconnect ends the connection of a client; false when it has none.
	Disconnect(client string) bool
	// Ban keeps clients out and disconnects those that are connected. Unban reports whether there was
	// such a ban.
	Ban(ban.Ban) error
	Unban(ban.Ban) (existed bool, err error)
	Bans() []ban.Ban
}

// ClientInfo is the JSON form of a client.
type ClientInfo struct {
	ID string `json:"id"`
	bus.Presence
	Bridge        bool              `json:"bridge,omitempty"`
	KeepAlive     float64           `json:"keep_alive_seconds"` // 0: none
	Subscriptions int               `json:"subscriptions"`
	Filters       []string          `json:"filters,omitempty"` // of one client, not in a list
	InFlight      int               `json:"in_flight"`
	Lag           uint64            `json:"lag"`
	LagSeconds    float64           `json:"lag_seconds"`
	Lost          map[string]uint64 `json:"lost,omitempty"`
	EventsIn      uint64            `json:"events_in"` // of the connection, from the client
	EventsOut     uint64            `json:"events_out"`
	BytesIn       uint64            `json:"bytes_in"`
	BytesOut      uint64            `json:"bytes_out"`
}

// clientOf describes a client by its session; nil: it has none.
func (s *Server) clientOf(id string, session *bus.SessionInfo) ClientInfo {
	c := ClientInfo{ID: id}
	if d, ok := s.o.Clients.Connection(id); ok {
		c.Presence = d.Presence
		c.KeepAlive, c.EventsIn, c.EventsOut, c.BytesIn, c.BytesOut = d.KeepAlive.Seconds(), d.EventsIn, d.EventsOut, d.BytesIn, d.BytesOut
	} else if name, ok := bus.ClientTopic(id); ok {
		if e, ok := s.bus.RetainedValue(name); ok {
			_ = json.Unmarshal(e.Payload, &c.Presence) // the bus wrote it
		}
		c.Online = false // what is stored may be a second old
	}
	if session == nil {
		return c
	}
	c.User, c.Persistent, c.Bridge = session.User, session.Persistent, session.Bridge
	c.Subscriptions, c.InFlight, c.Lag, c.LagSeconds, c.Lost = len(session.Filters), session.InFlight, session.Lag, session.LagSeconds, session.Lost
	return c
}

func (s *Server) clients(w http.ResponseWriter, r *http.Request) {
	if !s.seesBus(w, r, "clients") {
		return
	}
	limit, ok := limitOf(w, r)
	if !ok {
		return
	}
	after := r.URL.Query().Get("after")
	list := make([]ClientInfo, 0, 16)
	seen := map[string]bool{}
	for _, info := range s.bus.ClientsAfter(after, limit+1) {
		list = append(list, s.clientOf(info.Name, &info))
		seen[info.Name] = true
	}
	for _, id := range s.o.Clients.AbsentAfter(after, limit+1) {
		if !seen[id] { // otherwise it came back meanwhile
			list = append(list, s.clientOf(id, nil))
		}
	}
	slices.SortFunc(list, func(a, b ClientInfo) int { return strings.Compare(a.ID, b.ID) })
	if len(list) > limit {
		list = list[:limit]
		linkNext(w, r, list[limit-1].ID)
	}
	answer(w, http.StatusOK, list)
}

// clientNamed returns the client of the request's path, or answers that there is none.
func (s *Server) clientNamed(w http.ResponseWriter, r *http.Request) (c ClientInfo, ok bool) {
	id := r.PathValue("id")
	info, known := s.bus.SessionNamed(id)
	switch {
	case known && !bus.ReservedName(id):
		c = s.clientOf(id, &info)
		c.Filters = info.Filters
	case s.o.Clients.Absent(id):
		c = s.clientOf(id, nil)
	default:
		fail(w, http.StatusNotFound, "/api/v1/clients lists them", "no client is called %q", id)
		return c, false
	}
	return c, true
}

func (s *Server) client(w http.ResponseWriter, r *http.Request) {
	if !s.seesBus(w, r, "clients") {
		return
	}
	if c, ok := s.clientNamed(w, r); ok {
		answer(w, http.StatusOK, c)
	}
}

func (s *Server) kick(w http.ResponseWriter, r *http.Request) {
	id, user := s.observer(w, r, "clients")
	if id == nil {
		return
	}
	c, ok := s.clientNamed(w, r)
	switch {
	case !ok:
	case c.User != user && !mayAll(id):
		s.forbid(w, r, user, "the client %q belongs to another user", c.ID)
	case !s.o.Clients.Disconnect(c.ID):
		fail(w, http.StatusConflict, "", "the client %q is not connected", c.ID)
	default:
		s.did(r, "client disconnected", "client", c.ID, "by", user)
		w.WriteHeader(http.StatusNoContent)
	}
}

// admin returns the user of a request who may act on the clients of all users, or answers it.
func (s *Server) admin(w http.ResponseWriter, r *http.Request) (user string, ok bool) {
	id, user := s.identify(w, r)
	if id == nil {
		return "", false
	}
	if !Administers(id) {
		s.forbid(w, r, user, "bans: only administrators have access")
		return "", false
	}
	return user, true
}

const banForm = `{"client": "pump", "for": "1h"}; user or address in place of client; without "for" until it is removed`

// banRequest is the body of a request. For is an age such as 1h or 7d.
type banRequest struct {
	Client  string `json:"client"`
	User    string `json:"user"`
	Address string `json:"address"`
	For     string `json:"for"`
}

func (s *Server) banClient(w http.ResponseWriter, r *http.Request) {
	user, ok := s.admin(w, r)
	if !ok {
		return
	}
	var in banRequest
	if r.ContentLength != 0 {
		if !sentJSON(w, r) {
			return
		}
		var body struct {
			For string `json:"for"`
		}
		if err := readJSON(w, r, 1<<10, &body); err != nil {
			fail(w, http.StatusBadRequest, `{"for": "1h"}, or no body`, "%v", err)
			return
		}
		in.For = body.For
	}
	in.Client = r.PathValue("id")
	s.ban(w, r, in, user)
}

func (s *Server) addBan(w http.ResponseWriter, r *http.Request) {
	user, ok := s.admin(w, r)
	if !ok || !sentJSON(w, r) {
		return
	}
	var in banRequest
	if err := readJSON(w, r, 16<<10, &in); err != nil {
		fail(w, http.StatusBadRequest, banForm, "%v", err)
		return
	}
	s.ban(w, r, in, user)
}

func (s *Server) ban(w http.ResponseWriter, r *http.Request, in banRequest, user string) {
	b := ban.Ban{Client: in.Client, User: in.User, Address: in.Address, Made: time.Now().UTC().Truncate(time.Second), By: user}
	if in.For != "" {
		d, err := topic.ParseAge(in.For)
		if err != nil || d <= 0 {
			fail(w, http.StatusBadRequest, banForm, "for %q is no time such as 30m, 1h or 7d", in.For)
			return
		}
		b.Until = b.Made.Add(d)
	}
	if err := s.o.Clients.Ban(b); err != nil {
		s.failBan(w, err)
		return
	}
	s.did(r, "ban made", "ban", b.String(), "by", user)
	answer(w, http.StatusOK, b)
}

func (s *Server) failBan(w http.ResponseWriter, err error) {
	var unsaved *ban.SaveError
	switch {
	case errors.As(err, &unsaved):
		s.log.Error("storing the bans failed", "err", err)
		fail(w, http.StatusServiceUnavailable, "nothing has changed: try again", "%v", err)
	case errors.Is(err, ban.ErrFull):
		fail(w, http.StatusConflict, "remove bans, or ban a user or an address in place of many clients", "%v", err)
	default:
		fail(w, http.StatusBadRequest, banForm, "%v", err)
	}
}

func (s *Server) unbanClient(w http.ResponseWriter, r *http.Request) {
	if user, ok := s.admin(w, r); ok {
		s.unban(w, r, ban.Ban{Client: r.PathValue("id")}, user)
	}
}

func (s *Server) removeBan(w http.ResponseWriter, r *http.Request) {
	if user, ok := s.admin(w, r); ok {
		q := r.URL.Query()
		s.unban(w, r, ban.Ban{Client: q.Get("client"), User: q.Get("user"), Address: q.Get("address")}, user)
	}
}

func (s *Server) unban(w http.ResponseWriter, r *http.Request, b ban.Ban, user string) {
	existed, err := s.o.Clients.Unban(b)
	switch {
	case err != nil:
		s.failBan(w, err)
	case !existed:
		fail(w, http.StatusNotFound, "/api/v1/bans lists them", "there is no such ban: %q is not banned", b.Client+b.User+b.Address)
	default:
		s.did(r, "ban removed", "unbanned", b.Client+b.User+b.Address, "by", user)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) bans(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.admin(w, r); ok {
		list := s.o.Clients.Bans()
		if list == nil {
			list = []ban.Ban{}
		}
		answer(w, http.StatusOK, list)
	}
}
