package plugins

// This file explains which plugins publish a topic, and why it has no event.

import (
	"fmt"
	"time"

	"github.com/postbus/postbus/plugins/expr"
)

// Explanation describes a topic.
type Explanation struct {
	Topic    string            `json:"topic"`
	Retained bool              `json:"retained"`
	Payload  string            `json:"payload,omitempty"` // payload of the retained event, clipped
	Source   string            `json:"source,omitempty"`  // publisher of the retained event
	Time     *time.Time        `json:"time,omitempty"`
	Audience int               `json:"audience"` // the number of subscribed sessions
	By       []ExplanationRule `json:"by"`
}

// ExplanationPlace is a rule that may publish the topic, and its result for its last event.
type ExplanationRule struct {
	Plugin  string     `json:"plugin"`
	File    string     `json:"file"`
	Line    int        `json:"line"`
	Rule    string     `json:"rule"`
	State   State      `json:"state"`
	Reason  string     `json:"reason,omitempty"` // why the plugin is not in the state running
	Verdict string     `json:"verdict"`
	At      *time.Time `json:"at,omitempty"`
}

// Explain describes who publishes a topic.
func (s *Supervisor) Explain(topic string) Explanation {
	e := Explanation{Topic: topic, By: []ExplanationRule{}, Audience: s.bus.Audience(topic)}
	if list, err := s.bus.Retained(topic); err == nil && len(list) == 1 {
		r := list[0]
		e.Retained, e.Payload, e.Source, e.Time = true, clip(string(r.Payload), 1000), r.Source, &r.Time
	}
	for _, p := range s.all() {
		st := p.status()
		p.mu.Lock()
		spec := p.running
		unseen := "has received no event yet"
		if n := st.Counters.In; n > 0 { // counters continue after a reload, the rules' results do not
			unseen = fmt.Sprintf("has received no event since it was reloaded; %d before that", n)
		}
		if spec == nil {
			spec = p.goal.spec
		}
		p.mu.Unlock()
		if spec == nil {
			spec = st.pending
		}
		if spec == nil {
			continue
		}
		for i, r := range spec.rules {
			if r.topic == nil || !r.topic.match.MatchString(topic) {
				continue
			}
			entry := ExplanationRule{Plugin: p.id, File: st.File, Line: r.line, Rule: r.label, State: st.State, Reason: st.Reason, Verdict: unseen}
			if text, at := p.mapper.verdict(spec, i); text != "" {
				entry.Verdict, entry.At = p.redact(text), &at
			}
			e.By = append(e.By, entry)
		}
	}
	return e
}

// verdict is the result of rule i of the spec for its last event.
func (m *mapper) verdict(spec *Spec, i int) (string, time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.engine.spec != spec || i >= len(m.engine.rules) || m.engine.rules[i].verdict == verdictNone {
		return "", time.Time{}
	}
	r, st := spec.rules[i], m.engine.rules[i]
	return r.explain(st, &expr.Vars{Host: m.host, Env: m.env}), st.at
}
