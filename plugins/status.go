package plugins

// This file is a plugin's visible state: on $bus/plugins/<id>/state and over HTTP.

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/postbus/postbus/config/yamlnode"
)

// State is a plugin's state in its lifetime.
type State string

// The states. Rejected: the file has errors and no version runs. Stale: the file on disk was
// refused, and an older version keeps running. Degraded: it runs, but a part of it fails and is
// retried. Backoff: no source runs, each is retried.
const (
	StateStarting State = "starting"
	StateRunning  State = "running"
	StateDegraded State = "degraded"
	StateStopping State = "stopping"
	StateRejected State = "rejected"
	StateStale    State = "stale"
	StateBackoff  State = "backoff"
	StateDisabled State = "disabled"
	StateApproval State = "awaiting-approval"
)

// Status is the description of a plugin for people.
type Status struct {
	ID         string       `json:"id"`
	File       string       `json:"file"`
	About      string       `json:"description,omitempty"`
	State      State        `json:"state"`
	Reason     string       `json:"reason,omitempty"` // why the state is not running
	Generation int          `json:"generation"`       // number of versions that have run since the start
	Hash       string       `json:"hash,omitempty"`   // of the running version
	Since      time.Time    `json:"since"`            // of the state
	Errors     []FileError  `json:"errors,omitempty"` // of the file on disk
	Counters   Counters     `json:"counters"`
	Keys       int          `json:"keys,omitempty"`        // for which the entries keep something
	Timers     int          `json:"timers,omitempty"`      // that are pending
	StateBytes int          `json:"state_bytes,omitempty"` // of all keys
	LastError  string       `json:"last_error,omitempty"`
	LastAt     *time.Time   `json:"last_error_at,omitempty"`
	Failing    uint64       `json:"failing,omitempty"` // consecutive newest events with a failed rule
	Sources    []PartStatus `json:"sources,omitempty"`
	Actions    []PartStatus `json:"actions,omitempty"`
	Queues     []Queue      `json:"queues,omitempty"` // of the actions; not in the published state
	Topics     []string     `json:"topics,omitempty"` // as in the file
	Approve    []string     `json:"approve,omitempty"`

	pending *Spec  // the version that waits for consent
	lost    uint64 // those of Failing that had no outcome
	recent  error  // by which an event was lost in the last minute
}

// FileError is an error in the file on disk. Text is the output of `postbus plugin check` without the
// line of the file: readers of the status may not read the file, in which a secret may be written out.
type FileError struct {
	Line    int    `json:"line"`
	Col     int    `json:"col"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Text    string `json:"text"`
}

// Counters count since the plugin was loaded.
type Counters struct {
	In        uint64 `json:"in"`
	Filtered  uint64 `json:"filtered"`
	Errors    uint64 `json:"errors"`
	Dropped   uint64 `json:"dropped"` // rate limited, or lost by the source
	Published uint64 `json:"published"`
	Done      uint64 `json:"done,omitempty"`      // actions done
	Sent      uint64 `json:"sent,omitempty"`      // passed to a program that does not report the result
	Failed    uint64 `json:"failed,omitempty"`    // attempts that failed
	Expired   uint64 `json:"expired,omitempty"`   // jobs that were too old
	Dead      uint64 `json:"dead,omitempty"`      // jobs given up
	Missed    uint64 `json:"missed,omitempty"`    // events of the bus that its cursor lost
	Fired     uint64 `json:"fired,omitempty"`     // timers that were due
	Forgotten uint64 `json:"forgotten,omitempty"` // keys that were forgotten because of per_limit or state_limit
}

// PartStatus is a source or an action.
type PartStatus struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Error string `json:"error,omitempty"`
	Again string `json:"again,omitempty"` // time of the next attempt
}

// RuleStatus is a rule's result for its last event.
type RuleStatus struct {
	Rule, Topic, Verdict string
	Line                 int
	At                   time.Time
}

func stateTopic(id string) string { return "$bus/plugins/" + id + "/state" }
func traceTopic(id string) string { return "$bus/plugins/" + id + "/trace" }

// status describes the current state of the plugin.
func (p *plugin) status() Status {
	st, _ := p.describe()
	return st
}

// describe is status, and the errors of the file on disk with their lines.
func (p *plugin) describe() (st Status, lines []string) {
	p.mu.Lock()
	g, running, runners, workers := p.goal, p.running, p.runners, p.workers
	st = Status{ID: p.id, File: g.file, Generation: p.generation, Since: p.since}
	phase, startErr := p.phase, p.startErr
	p.mu.Unlock()
	if running != nil {
		st.Hash, st.About = running.Hash, running.About
		for _, r := range running.rules {
			if r.topic != nil {
				st.Topics = append(st.Topics, r.topic.text)
			}
		}
	}
	for _, e := range g.errors {
		lines = append(lines, e.Render())
		e := *e
		e.Source = ""
		st.Errors = append(st.Errors, FileError{e.Line, e.Col, e.Reason, e.Hint, e.Render()})
	}
	st.Approve, st.pending = g.approve, g.pending
	p.parts(&st, runners, workers)
	c := &p.mapper.count
	st.Counters = Counters{c.in.Load(), c.filtered.Load(), c.errors.Load(), c.dropped.Load(), c.published.Load(), c.done.Load(), c.sent.Load(),
		c.failed.Load(), c.expired.Load(), c.dead.Load(), c.lost.Load(), c.fired.Load(), 0}
	st.Keys, st.Timers, st.StateBytes, st.Counters.Forgotten = p.mapper.kept()
	p.mapper.mu.Lock()
	if p.mapper.lastE != nil {
		at := p.mapper.lastAt
		st.LastError, st.LastAt = p.mapper.lastE.Error(), &at
	}
	st.Failing, st.lost = p.mapper.failed, p.mapper.lost
	if p.mapper.spoiled.recent(p.mapper.now()) {
		st.recent = p.mapper.spoiled.err
	}
	p.mapper.mu.Unlock()
	st.State, st.Reason = p.judge(&st, g, running, phase, startErr)
	st.LastError, st.Reason = p.redact(st.LastError), p.redact(st.Reason)
	return st, lines
}

func (p *plugin) parts(st *Status, runners []*runner, workers []*worker) {
	for _, r := range runners {
		r.mu.Lock()
		s := PartStatus{Name: r.spec.kind.Name, State: StateRunning}
		switch {
		case r.waiting:
			s.State, s.Error, s.Again = StateBackoff, r.err.Error(), r.retryAt.UTC().Format(time.RFC3339)
		case r.degraded != nil:
			s.State, s.Error = StateDegraded, r.degraded.Error()
		case r.began.IsZero():
			s.State = StateStarting
		}
		r.mu.Unlock()
		s.Error = p.redact(s.Error)
		st.Sources = append(st.Sources, s)
	}
	for _, w := range workers {
		w.mu.Lock()
		s := PartStatus{Name: w.spec.key, State: StateRunning}
		switch {
		case w.err != nil:
			s.State, s.Error = StateDegraded, w.err.Error()
			if w.attempts > 0 {
				s.Error = w.spec.retry.attempt(w.attempts) + ": " + s.Error
			}
		case w.degraded != nil:
			s.State, s.Error = StateDegraded, w.degraded.Error()
		}
		w.mu.Unlock()
		s.Error = p.redact(s.Error)
		st.Actions = append(st.Actions, s)
	}
}

// judge returns the state and its reason.
func (p *plugin) judge(st *Status, g goal, running *Spec, phase State, startErr error) (State, string) {
	switch {
	case phase != "":
		return phase, ""
	case g.disabled:
		return StateDisabled, "the file ends in .yaml.off"
	case len(g.approve) > 0 && running != nil:
		return StateApproval, fmt.Sprintf("generation %d keeps running; the file waits for: postbus plugin approve %s",
			st.Generation, p.id)
	case len(g.approve) > 0:
		return StateApproval, "it waits for: postbus plugin approve " + p.id
	case len(g.errors) > 0 && running == nil:
		return StateRejected, g.errors.Error()
	case len(g.errors) > 0:
		return StateStale, fmt.Sprintf("generation %d keeps running; the file was refused: %s",
			st.Generation, g.errors.Error())
	case running == nil && startErr != nil:
		return StateRejected, fmt.Sprintf("it did not start: %v", startErr)
	case running == nil:
		return StateStarting, ""
	case startErr != nil:
		return StateStale, fmt.Sprintf("generation %d keeps running; the new one did not start: %v",
			st.Generation, startErr)
	}
	waiting, bad, why := 0, 0, ""
	for _, list := range [][]PartStatus{st.Sources, st.Actions} {
		for _, s := range list {
			switch s.State {
			case StateBackoff:
				waiting++
				bad++
			case StateDegraded:
				bad++
			case StateStarting:
				if why == "" {
					why = s.Name + ": starting"
				}
				continue
			default:
				continue
			}
			why = s.Name + ": " + s.Error
		}
	}
	if e := p.mapper.flow.disk.Load(); e != nil {
		return StateDegraded, fmt.Sprintf("the bus accepts no events: %v", *e)
	}
	if bad == 0 && st.recent != nil {
		bad = 1
		switch n := st.lost; n {
		case 0:
			why = fmt.Sprintf("in the last minute: %v", st.recent)
		case 1:
			why = fmt.Sprintf("the last event was lost: %v", st.recent)
		default:
			why = fmt.Sprintf("the last %d events were lost: %v", n, st.recent)
		}
	}
	switch {
	case waiting > 0 && waiting == len(st.Sources):
		return StateBackoff, why
	case bad > 0:
		return StateDegraded, why
	case why != "":
		return StateStarting, why
	}
	return StateRunning, ""
}

// publishState publishes the state and the availability if they have changed.
func (p *plugin) publishState() {
	p.publishAvailability()
	st := p.status()
	p.mu.Lock()
	if st.State != p.state || p.since.IsZero() {
		p.state, p.since = st.State, time.Now()
	}
	st.Since = p.since
	p.mu.Unlock()
	payload, err := json.Marshal(st)
	if err != nil {
		p.log.Error("publishing the plugin's state failed, will retry", "err", err)
		return
	}
	p.mu.Lock()
	same := string(payload) == p.lastPublished
	p.lastPublished = string(payload)
	p.mu.Unlock()
	if !same {
		p.s.bus.Announce(stateTopic(p.id), payload)
	}
}

// errorsOf makes the list of one error without a position.
func errorsOf(file, reason, hint string) yamlnode.Errors {
	return yamlnode.Errors{{File: file, Reason: reason, Hint: hint}}
}
