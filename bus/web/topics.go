package web

// This file is /api/v1/topics and /api/v1/events: the retained events, and the events in the
// journal.

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/topic"
)

const (
	defaultEvents = 1000
	maxEvents     = 100_000
	maxAnswer     = 32 << 20 // bytes of topics and payloads in one answer
)

// shownEvent is the JSON form of an event. Payload and PayloadBase64 exclude each other.
type shownEvent struct {
	Seq           uint64  `json:"seq"`
	Time          string  `json:"time"`
	Topic         string  `json:"topic"`
	Payload       *string `json:"payload,omitempty"`
	PayloadBase64 []byte  `json:"payload_base64,omitempty"`
	QoS           byte    `json:"qos"`
	Retain        bool    `json:"retain"`
	Source        string  `json:"source"`
	Origin        *origin `json:"origin,omitempty"` // of an event that another bus accepted first
}

// origin is the JSON form of a bus.Origin.
type origin struct {
	Bus  string `json:"bus"`
	Time string `json:"time,omitempty"`
}

func showOrigin(o bus.Origin) *origin {
	if o.Bus == "" {
		return nil
	}
	v := &origin{Bus: o.Bus}
	if !o.Time.IsZero() {
		v.Time = o.Time.UTC().Format(time.RFC3339Nano)
	}
	return v
}

func show(e *bus.Event) shownEvent {
	v := shownEvent{Seq: e.Seq, Time: e.Time.UTC().Format(time.RFC3339Nano), Topic: e.Topic, QoS: e.QoS, Retain: e.Retain, Source: e.Source, Origin: showOrigin(e.Origin)}
	if utf8.Valid(e.Payload) {
		text := string(e.Payload)
		v.Payload = &text
	} else {
		v.PayloadBase64 = e.Payload
	}
	return v
}

// wanted returns the client and the query's filter and limit, or answers the request with an error.
func (s *Server) wanted(w http.ResponseWriter, r *http.Request) (id Identity, filter string, limit int) {
	var user string
	if id, user = s.identify(w, r); id == nil {
		return nil, "", 0
	}
	q := r.URL.Query()
	filter = q.Get("filter")
	if filter == "" {
		filter = "#"
	}
	if err := topic.CheckSubscription(filter); err != nil {
		fail(w, http.StatusBadRequest, "as in ?filter=home/%2B/temperature (a + is written %2B)", "%v", err)
		return nil, "", 0
	}
	if !id.MaySubscribe(filter) {
		s.forbid(w, r, user, "reading %q is not allowed", filter)
		return nil, "", 0
	}
	limit, ok := limitOf(w, r)
	if !ok {
		return nil, "", 0
	}
	return id, filter, limit
}

// limitOf returns the maximum number of items that the query asks for, or answers the request with an
// error.
func limitOf(w http.ResponseWriter, r *http.Request) (limit int, ok bool) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return defaultEvents, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxEvents {
		fail(w, http.StatusBadRequest, "", "limit is 1 to %d, not %q", maxEvents, text)
		return 0, false
	}
	return n, true
}

// topics answers with the retained events that match, in the order of their topics, from behind the
// topic after. If there are more than limit, or than fit into an answer, a Link header leads to the
// next page. The values are read one by one while the answer is written.
func (s *Server) topics(w http.ResponseWriter, r *http.Request) {
	id, filter, limit := s.wanted(w, r)
	if id == nil {
		return
	}
	var page []string
	size, more := 0, false
	err := s.bus.RetainedTopics(filter, r.URL.Query().Get("after"), func(name string, bytes int) bool {
		if !id.MayRead(name) {
			return r.Context().Err() == nil
		}
		if size += len(name) + bytes; len(page) == limit || len(page) > 0 && size > maxAnswer {
			more = true
			return false
		}
		page = append(page, name)
		return true
	})
	if err != nil {
		fail(w, http.StatusServiceUnavailable, "", "%v", err)
		return
	}
	if more {
		linkNext(w, r, page[len(page)-1])
	}
	w.Header().Set("Content-Type", "application/json")
	out, begin := json.NewEncoder(w), "["
	failed := false
	s.bus.RetainedValues(page, func(e bus.Event) bool { // without those that were deleted meanwhile
		_, err := w.Write([]byte(begin))
		if err == nil {
			err = out.Encode(show(&e))
		}
		begin, failed = ",", err != nil
		return !failed
	})
	if failed {
		return
	}
	_, _ = w.Write([]byte(strings.TrimPrefix(begin, ",") + "]\n"))
}

// linkNext tells where a list goes on: at the same address, behind the last item of this answer.
func linkNext(w http.ResponseWriter, r *http.Request, last string) {
	q := r.URL.Query()
	q.Set("after", last)
	w.Header().Set("Link", "<"+r.URL.Path+"?"+q.Encode()+`>; rel="next"`)
}

// events answers with the journal's events that match, oldest first, as a stream: it does not hold
// the answer in memory. next is the sequence at which to continue if there are more than limit.
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
	w.Header().Add("Vary", "Accept")
	epoch := s.bus.Epoch()
	var page eventPage = &jsonPage{w: w, out: json.NewEncoder(w), epoch: hex.EncodeToString(epoch[:])}
	maxSize := maxAnswer
	if strings.Contains(r.Header.Get("Accept"), ndjson) {
		page, maxSize = &linePage{w: w, out: json.NewEncoder(w), flow: http.NewResponseController(w), next: s.bus.Last() + 1}, math.MaxInt
		if r.URL.Query().Get("limit") == "" {
			limit = math.MaxInt
		}
	}
	began, n, size := false, 0, 0
	var next uint64
	begin := func() {
		if !began {
			began = true
			page.begin()
		}
	}
	err = s.bus.History(r.Context(), filter, since, func(e bus.Event) bool {
		if !id.MayRead(e.Topic) {
			return true
		}
		if n >= limit || size > maxSize {
			next = e.Seq
			return false
		}
		begin()
		n++
		size += len(e.Payload)
		return page.event(show(&e)) == nil
	})
	if err != nil && !began {
		fail(w, http.StatusServiceUnavailable, "", "%v", err)
		return
	}
	if err != nil {
		panic(http.ErrAbortHandler) // a partial answer must not look like a complete one
	}
	begin()
	page.end(next)
}

const ndjson = "application/x-ndjson"

// eventPage writes events into an answer.
type eventPage interface {
	begin()
	event(shownEvent) error
	end(next uint64) // where to continue; 0: there are no more events
}

// jsonPage is one JSON object.
type jsonPage struct {
	w     http.ResponseWriter
	out   *json.Encoder
	epoch string
	more  bool
}

func (p *jsonPage) begin() {
	p.w.Header().Set("Content-Type", "application/json")
	_, _ = p.w.Write([]byte(`{"epoch":"` + p.epoch + `","events":[`))
}

func (p *jsonPage) event(e shownEvent) error {
	if p.more {
		if _, err := p.w.Write([]byte(",")); err != nil {
			return err
		}
	}
	p.more = true
	return p.out.Encode(e)
}

func (p *jsonPage) end(next uint64) {
	_, _ = p.w.Write([]byte(`],"next":` + strconv.FormatUint(next, 10) + "}\n"))
}

// linePage writes one line per event, for answers of any length. A client that stalls for a minute
// is disconnected; a client that reads for long is not. The last line says where to continue,
// either because of the limit or for newer events; without that line the answer is incomplete.
type linePage struct {
	w    http.ResponseWriter
	out  *json.Encoder // writes a line for each value
	flow *http.ResponseController
	next uint64 // the sequence after the newest event
	n    int
}

const (
	lineFlush = 500 // events between two flushes: a client shows the first before the last are read
	lineStall = time.Minute
)

func (p *linePage) begin() { p.w.Header().Set("Content-Type", ndjson) }

func (p *linePage) event(e shownEvent) error {
	if p.n++; p.n%lineFlush == 0 {
		if err := p.flow.SetWriteDeadline(time.Now().Add(lineStall)); err != nil {
			return err
		}
		if err := p.flow.Flush(); err != nil {
			return err
		}
	}
	return p.out.Encode(e)
}

func (p *linePage) end(next uint64) {
	if next == 0 {
		next = p.next
	}
	_, _ = p.w.Write([]byte(`{"next":` + strconv.FormatUint(next, 10) + "}\n"))
}
