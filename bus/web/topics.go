package web

// This file is /api/v1/topics and /api/v1/events: what is retained, and what the journal still holds.

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/postbus/postbus/bus"
)

const (
	defaultEvents = 1000
	maxEvents     = 100_000
	maxAnswer     = 32 << 20 // bytes of payloads in one answer
)

// shownEvent is an event as JSON has it. Payload and PayloadBase64 exclude each other.
type shownEvent struct {
	Seq           uint64  `json:"seq"`
	Time          string  `json:"time"`
	Topic         string  `json:"topic"`
	Payload       *string `json:"payload,omitempty"`
	PayloadBase64 []byte  `json:"payload_base64,omitempty"`
	QoS           byte    `json:"qos"`
	Retain        bool    `json:"retain"`
	Source        string  `json:"source"`
}

func show(e *bus.Event) shownEvent {
	v := shownEvent{Seq: e.Seq, Time: e.Time.UTC().Format(time.RFC3339Nano), Topic: e.Topic, QoS: e.QoS, Retain: e.Retain, Source: e.Source}
	if utf8.Valid(e.Payload) {
		text := string(e.Payload)
		v.Payload = &text
	} else {
		v.PayloadBase64 = e.Payload
	}
	return v
}

// wanted reads the query's filter and says who asks, or answers what is wrong.
func (s *Server) wanted(w http.ResponseWriter, r *http.Request) (id Identity, filter string, limit int) {
	if id, _ = s.identify(w, r); id == nil {
		return nil, "", 0
	}
	q := r.URL.Query()
	filter, limit = q.Get("filter"), defaultEvents
	if filter == "" {
		filter = "#"
	}
	if err := bus.CheckFilter(filter); err != nil {
		fail(w, http.StatusBadRequest, "as in ?filter=home/%2B/temperature (a + is written %2B)", "%v", err)
		return nil, "", 0
	}
	if !id.MaySubscribe(filter) {
		s.forbid(w, r, "reading %q is not allowed", filter)
		return nil, "", 0
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxEvents {
			fail(w, http.StatusBadRequest, "", "limit is 1 to %d, not %q", maxEvents, text)
			return nil, "", 0
		}
		limit = n
	}
	return id, filter, limit
}

// topics answers with the retained events that match.
func (s *Server) topics(w http.ResponseWriter, r *http.Request) {
	id, filter, _ := s.wanted(w, r)
	if id == nil {
		return
	}
	list, err := s.bus.Retained(filter)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, "", "%v", err)
		return
	}
	out := []shownEvent{}
	for i := range list {
		if id.MayRead(list[i].Topic) {
			out = append(out, show(&list[i]))
		}
	}
	answer(w, http.StatusOK, out)
}

// events answers with the journal's events that match, oldest first, as a stream: the answer is not
// held in memory. next is where to go on when there are more than limit.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	id, filter, limit := s.wanted(w, r)
	if id == nil {
		return
	}
	text := r.URL.Query().Get("since")
	if text == "" {
		text = "10m"
	}
	since, err := bus.ParseSince(text, time.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, "as in ?since=10m", "%v", err)
		return
	}
	epoch := s.bus.Epoch()
	w.Header().Set("Content-Type", "application/json")
	began, n, size := false, 0, 0
	var next uint64
	begin := func() {
		if !began {
			began = true
			_, _ = w.Write([]byte(`{"epoch":"` + hex.EncodeToString(epoch[:]) + `","events":[`))
		}
	}
	err = s.bus.History(r.Context(), filter, since, func(e bus.Event) bool {
		if !id.MayRead(e.Topic) {
			return true
		}
		if n >= limit || size > maxAnswer {
			next = e.Seq
			return false
		}
		begin()
		b, err := json.Marshal(show(&e))
		if err != nil {
			return false
		}
		if n > 0 {
			b = append([]byte(","), b...)
		}
		n++
		size += len(b)
		_, err = w.Write(b)
		return err == nil
	})
	if err != nil && !began {
		fail(w, http.StatusServiceUnavailable, "", "%v", err)
		return
	}
	if err != nil {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	begin()
	_, _ = w.Write([]byte(`],"next":` + strconv.FormatUint(next, 10) + "}\n"))
}
