package plugins

// This file is the live trace on $bus/plugins/<id>/trace: the results of each event, in sentences.
// It costs nothing while no client is subscribed.

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/expr"
)

const maxTraced = 2 << 10 // maximum bytes of an event in a trace

// Trace is one message of the trace.
type Trace struct {
	Time     time.Time       `json:"time"`
	Event    json.RawMessage `json:"event,omitempty"`
	Verdicts []TraceVerdict  `json:"verdicts"`
}

// TraceVerdict is one rule's result for the event.
type TraceVerdict struct {
	Rule string `json:"rule"`
	Line int    `json:"line,omitempty"`
	Text string `json:"text"`
}

// tracer publishes the trace of an event. The caller holds the mapper's turn.
func (p *plugin) tracer(v *expr.Vars, list []outcome, states []*ruleState) {
	t := Trace{Time: v.Now}
	if b, err := expr.Const(v.Event).AppendJSON(nil, v); err == nil {
		t.Event = b
		if len(b) > maxTraced {
			t.Event, _ = json.Marshal(clip(string(b), maxTraced))
		}
	}
	for _, st := range states {
		r := st.rule
		tv := TraceVerdict{Rule: r.label, Line: r.line}
		switch o := outcomeOf(list, r); {
		case o != nil && r.action != nil:
			tv.Text = fmt.Sprintf("%s %s", r.action.key, clip(expr.Text(o.args), 200))
		case o != nil:
			tv.Text = p.published(o)
		default:
			tv.Text = r.explain(st, v)
		}
		t.Verdicts = append(t.Verdicts, tv)
	}
	for i := range list {
		if list[i].rule.label == passRule.label {
			t.Verdicts = append(t.Verdicts, TraceVerdict{Rule: passRule.label, Text: p.published(&list[i])})
		}
	}
	p.publishTrace(&t)
}

func (p *plugin) published(o *outcome) string {
	switch n := p.s.bus.Audience(o.topic); n {
	case 0:
		return fmt.Sprintf("published to %s, no session is subscribed", o.topic)
	case 1:
		return fmt.Sprintf("published to %s, 1 session", o.topic)
	default:
		return fmt.Sprintf("published to %s, %d sessions", o.topic, n)
	}
}

func outcomeOf(list []outcome, r *rule) *outcome {
	for i := range list {
		if list[i].rule == r {
			return &list[i]
		}
	}
	return nil
}

// traceText publishes a message of an action.
func (p *plugin) traceText(key, text string) {
	if p.mapper.tracing.Load() {
		p.publishTrace(&Trace{Time: time.Now(), Verdicts: []TraceVerdict{{Rule: key, Text: text}}})
	}
}

func (p *plugin) publishTrace(t *Trace) {
	b, err := json.Marshal(t)
	if err != nil {
		return
	}
	_, _ = p.s.bus.Send(bus.Event{Topic: traceTopic(p.id), Payload: []byte(p.redact(string(b))), Source: sourceName(p.id)}) // QoS 0: for online subscribers
}
