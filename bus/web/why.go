package web

// This file is /api/v1/why: the chain of causes of an event.

import (
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/topic"
)

// whyStep is an event of the chain. What the client may not read has neither topic nor payload, but for the topic of a
// plugin's jobs and recorded events, which tells nothing but the plugin.
type whyStep struct {
	Seq     uint64  `json:"seq"`
	Time    string  `json:"time"`
	Topic   string  `json:"topic,omitempty"`
	Source  string  `json:"source"`
	Origin  *origin `json:"origin,omitempty"`  // the other bus that accepted it first
	Payload *string `json:"payload,omitempty"` // its beginning, if it is text
	By      any     `json:"by,omitempty"`      // the plugin and the entry that made it
	Cause   uint64  `json:"cause,omitempty"`   // the sequence of the next step; 0: there is none, or it is not known
}

// maxWhy bounds a chain: each plugin adds an event, or a job and an event.
const maxWhy = 2*bus.MaxHops + 2

// whyPayload is how many bytes of a payload a step shows.
const whyPayload = 200

// why answers with the event of a sequence, or the latest of a topic, and what caused it.
func (s *Server) why(w http.ResponseWriter, r *http.Request) {
	id, _ := s.observer(w, r, "causes of events")
	if id == nil {
		return
	}
	q := r.URL.Query()
	seq, err := strconv.ParseUint(q.Get("seq"), 10, 64)
	name := q.Get("topic")
	const hint = "as in /api/v1/why?topic=home/x, or ?seq=123"
	switch {
	case (name == "") == (q.Get("seq") == ""):
		fail(w, http.StatusBadRequest, hint, "want either topic or seq")
		return
	case name == "" && (err != nil || seq == 0):
		fail(w, http.StatusBadRequest, hint, "seq: %q is not a sequence", q.Get("seq"))
		return
	case name != "":
		if err := topic.CheckName(name); err != nil {
			fail(w, http.StatusBadRequest, hint, "topic: %v", err)
			return
		}
		if !id.MayRead(name) {
			fail(w, http.StatusForbidden, "", "you may not read %s", name)
			return
		}
		if seq, err = s.latest(r, name); err != nil {
			fail(w, http.StatusServiceUnavailable, "", "%v", err)
			return
		}
		if seq == 0 {
			fail(w, http.StatusNotFound, "events of QoS 0 are not in the journal", "the journal has no event of %s", name)
			return
		}
	}
	steps := []whyStep{}
	for seq != 0 && len(steps) < maxWhy {
		e, ok, err := s.bus.EventAt(seq)
		if err != nil {
			fail(w, http.StatusServiceUnavailable, "", "%v", err)
			return
		}
		if !ok {
			break
		}
		step := whyStep{Seq: e.Seq, Time: e.Time.UTC().Format(time.RFC3339Nano), Source: e.Source, Origin: showOrigin(e.Origin)}
		if id.MayRead(e.Topic) || strings.HasPrefix(e.Topic, "$plugin/") {
			step.Topic = e.Topic
		}
		if e.Cause < e.Seq { // a damaged record could lead in a circle
			step.Cause = e.Cause
		}
		if id.MayRead(e.Topic) && utf8.Valid(e.Payload) {
			text := string(e.Payload)
			if len(text) > whyPayload {
				n := whyPayload
				for !utf8.RuneStart(text[n]) {
					n--
				}
				text = text[:n] + "…"
			}
			step.Payload = &text
		}
		if by, ok := s.o.Plugins.Maker(e.Source, e.Topic); ok {
			step.By = by
		}
		steps = append(steps, step)
		seq = step.Cause
	}
	if len(steps) == 0 {
		fail(w, http.StatusNotFound, "the journal may not reach that far back, or the sequence is not an event's", "there is no event %d", seq)
		return
	}
	answer(w, http.StatusOK, map[string]any{"steps": steps})
}

// latest returns the sequence of the latest event of a topic in the journal; 0: there is none.
func (s *Server) latest(r *http.Request, name string) (seq uint64, err error) {
	err = s.bus.History(r.Context(), name, bus.Since{Seq: 1}, func(e bus.Event) bool {
		seq = e.Seq
		return true
	})
	if e, ok := s.bus.RetainedValue(name); ok {
		seq = max(seq, e.Seq)
	}
	return seq, err
}
