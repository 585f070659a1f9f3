package plugins

// This file maps events of the journal in virtual time: what a file would have made of them.

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/kind"
)

// Replayer maps past events with a plugin file. It begins with nothing kept, publishes nothing and runs no action.
type Replayer struct {
	Stats ReplayStats

	spec *Spec
	lab  *lab
	host string
	env  map[string]string
	each func(Replayed)
}

// ReplayStats count what a replay made.
type ReplayStats struct {
	Events    int    `json:"events"`    // that the file has mapped
	Published int    `json:"published"` // that it would have published
	Jobs      int    `json:"jobs"`      // of actions
	Errors    int    `json:"errors"`    // of rules
	LastError string `json:"last_error,omitempty"`
	Pending   int    `json:"pending"` // timers at the end
}

// Replayed is an outcome: an event, or a job of an action.
type Replayed struct {
	Time    time.Time      `json:"time"`
	Cause   uint64         `json:"cause,omitempty"` // sequence of the event that it is of; 0: of none in the journal
	Rule    string         `json:"rule"`
	Line    int            `json:"line"`
	Topic   string         `json:"topic,omitempty"`
	Payload []byte         `json:"-"`
	QoS     byte           `json:"qos"`
	Retain  bool           `json:"retain"`
	Action  string         `json:"action,omitempty"`
	Args    map[string]any `json:"-"`
}

// MarshalJSON writes a payload that is text as text.
func (r Replayed) MarshalJSON() ([]byte, error) {
	type plain Replayed
	out := struct {
		plain
		Payload any `json:"payload,omitempty"`
		Args    any `json:"args,omitempty"`
	}{plain: plain(r)}
	if r.Action == "" {
		out.Payload = wrap(r.Payload)
	} else {
		out.Args = wrap(r.Args)
	}
	return json.Marshal(out)
}

// String is the outcome for people.
func (r *Replayed) String() string {
	if r.Action != "" {
		return r.Action + " " + expr.Text(r.Args)
	}
	return r.Topic + " = " + clip(string(r.Payload), 200)
}

// Replayer returns a replayer, which calls each for every outcome, in their order.
func (s *Spec) Replayer(host string, env map[string]string, each func(Replayed)) *Replayer {
	return &Replayer{spec: s, host: host, env: env, each: each}
}

// Filters are the topics whose events it maps; empty: the file's sources are not topics.
func (s *Spec) Filters() (list []string) {
	for _, src := range s.sources {
		if _, ok := src.options.(kind.Reader); !ok {
			continue
		}
		list = append(list, src.options.(kind.Filterer).Filters()...)
	}
	for _, u := range s.uses {
		list = append(list, u.filter)
	}
	return list
}

// Outputs are the filters of what the file publishes.
func (s *Spec) Outputs() (list []string) {
	for _, r := range s.rules {
		if r.topic != nil {
			list = append(list, r.topic.filter())
		}
	}
	return list
}

// filter matches all topics that a text with ${…} can give.
func (t *topicSpec) filter() string {
	if t.constant != "" {
		return t.constant
	}
	return "#"
}

// Publishes reports whether the file can publish a topic for an event; for an answer it may, too, but a
// replay asks nobody.
func (s *Spec) Publishes(name string) bool {
	for _, r := range s.rules {
		if r.topic != nil && r.answerTo == "" && r.topic.match.MatchString(name) {
			return true
		}
	}
	return s.passes()
}

// Event maps an event. Events must come in the order of their sequences.
func (r *Replayer) Event(e *bus.Event) {
	if r.lab == nil {
		r.lab = newLab(r.spec, expr.Vars{Now: e.Time, Host: r.host, Env: r.env})
		r.lab.engine.forgets = true
	}
	r.tell(r.lab.until(e.Time))
	l := r.lab
	if l.engine.values.wanted(e.Topic) {
		_ = l.engine.hear(e) // what is too large has no value
		l.done()
	}
	self := sourceName(r.spec.ID)
	for _, src := range r.spec.sources {
		reader, ok := src.options.(kind.Reader)
		if !ok || !matchesAny(src.options.(kind.Filterer).Filters(), e.Topic) {
			continue
		}
		at, fields, ok := reader.Read(message(e), self)
		if !ok {
			continue
		}
		r.Stats.Events++
		r.tell(l.fold(src.kind.Name, at, fields))
	}
}

// End lets the time pass until now.
func (r *Replayer) End(now time.Time) {
	if r.lab != nil {
		r.tell(r.lab.until(now))
		r.Stats.Pending = len(r.lab.engine.alarms)
	}
}

// tell reports outcomes, and counts the errors of the rules.
func (r *Replayer) tell(list []outcome) {
	for _, st := range r.lab.engine.rules {
		if st.faults > 0 {
			r.Stats.Errors += st.faults
			r.Stats.LastError = st.rule.label + ": " + st.err.Error()
		}
		st.faults, st.limited = 0, 0
	}
	for i := range list {
		o := &list[i]
		out := Replayed{Time: o.at, Cause: o.from.cause, Rule: o.rule.label, Line: o.rule.line}
		if o.rule.action != nil {
			r.Stats.Jobs++
			out.Action, out.Args = o.rule.action.key, o.args
		} else {
			r.Stats.Published++
			out.Topic, out.Payload, out.QoS, out.Retain = o.topic, o.payload, o.rule.qos, o.rule.retain
		}
		if r.each != nil {
			r.each(out)
		}
	}
}

// message is an event as Env.Consume gives it.
func message(ev *bus.Event) map[string]any {
	m := map[string]any{"topic": ev.Topic, "payload": ev.Payload, "qos": int(ev.QoS), "retain": ev.Retain, "retained": ev.Stored, "source": ev.Source, "hops": int(ev.Hops),
		"time": ev.Time, "seq": ev.Seq, "redelivered": ev.Redelivered}
	if o := ev.Origin; o.Bus != "" {
		fields := map[string]any{"bus": o.Bus, "time": nil}
		if !o.Time.IsZero() {
			fields["time"] = o.Time
		}
		m["origin"] = fields
	}
	if len(ev.Properties) > 0 {
		m["properties"] = []byte(ev.Properties)
	}
	if ev.Expiry > 0 {
		m["expiry"] = ev.Expiry // counted from time
	}
	return m
}

func matchesAny(filters []string, name string) bool {
	return slices.ContainsFunc(filters, func(f string) bool { return topic.Match(topic.Inner(f), name) })
}
