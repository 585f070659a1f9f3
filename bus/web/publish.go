package web

// This file is POST /api/v1/publish.

import (
	"errors"
	"net/http"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/topic"
)

// event is the body of a request. Payload and PayloadBase64 exclude each other. Without either the
// payload is empty. With Retain an empty payload must be written as "", since it deletes the
// retained value.
type event struct {
	Topic         string  `json:"topic"`
	Payload       *string `json:"payload"`
	PayloadBase64 []byte  `json:"payload_base64"`
	QoS           *byte   `json:"qos"` // 1 if absent
	Retain        bool    `json:"retain"`
}

// published is the answer. Seq is 0 at QoS 0, which is not stored.
type published struct {
	Seq uint64 `json:"seq"`
}

func (s *Server) publish(w http.ResponseWriter, r *http.Request) {
	id, user := s.identify(w, r)
	if id == nil {
		return
	}
	if !sentJSON(w, r) {
		return
	}
	e, ok := s.readEvent(w, r)
	if !ok {
		return
	}
	if err := topic.CheckName(e.Topic); err != nil {
		fail(w, http.StatusBadRequest, "", "topic: %v", err)
		return
	}
	if !id.MayPublish(e.Topic) {
		s.forbid(w, r, user, "publishing to %q is not allowed", e.Topic)
		return
	}
	e.Source = "http"
	if user != "" {
		e.Source = bus.HTTPSource + user
	}
	seq, err := s.bus.Publish(r.Context(), e)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, "it was not acknowledged: try again", "%v", err)
		return
	}
	answer(w, http.StatusOK, published{seq})
}

// readEvent reads the body, or answers the request with its error.
func (s *Server) readEvent(w http.ResponseWriter, r *http.Request) (e bus.Event, ok bool) {
	// In JSON one byte may take six characters: \u0000.
	var in event
	err := readJSON(w, r, int64(s.o.MaxPayload)*6+(128<<10), &in)
	var tooLarge *http.MaxBytesError
	const form = `{"topic": "a/b", "payload": "text", "qos": 1, "retain": false}; payload_base64 in place of payload for bytes`
	switch {
	case errors.As(err, &tooLarge) || len(in.PayloadBase64) > s.o.MaxPayload || in.Payload != nil && len(*in.Payload) > s.o.MaxPayload:
		fail(w, http.StatusRequestEntityTooLarge, "limits.packet_size sets the maximum",
			"the payload is larger than %d bytes", s.o.MaxPayload)
		return e, false
	case err != nil:
		fail(w, http.StatusBadRequest, form, "%v", err)
		return e, false
	case in.Payload != nil && in.PayloadBase64 != nil:
		fail(w, http.StatusBadRequest, form, "payload and payload_base64 exclude each other")
		return e, false
	case in.Retain && in.Payload == nil && in.PayloadBase64 == nil:
		fail(w, http.StatusBadRequest, `"payload": "" deletes it`,
			"a retained event without a payload would delete the retained value")
		return e, false
	case in.QoS != nil && *in.QoS > 2:
		fail(w, http.StatusBadRequest, form, "qos is 0, 1 or 2, not %d", *in.QoS)
		return e, false
	}
	e = bus.Event{Topic: in.Topic, Payload: in.PayloadBase64, QoS: 1, Retain: in.Retain}
	if in.Payload != nil {
		e.Payload = []byte(*in.Payload)
	}
	if in.QoS != nil {
		e.QoS = *in.QoS
	}
	return e, true
}
