package plugins

// This file names the entry that made an event.

import "strings"

// Maker is what made an event, or a job of an action.
type Maker struct {
	Plugin  string       `json:"plugin"`
	File    string       `json:"file,omitempty"`
	Action  string       `json:"action,omitempty"`  // the event is a job of this action
	Entries []MakerEntry `json:"entries,omitempty"` // that can have made it: of several, the topic doesn't tell which
	Sources []string     `json:"sources,omitempty"` // the kinds of the plugin's sources
	Raw     bool         `json:"raw,omitempty"`     // it is an event of a source, as it came
}

// MakerEntry is an entry of a plugin file.
type MakerEntry struct {
	Rule string `json:"rule"`
	Line int    `json:"line"`
}

// Maker returns what made an event of a source and a topic, by the files as they are now. ok: a plugin made it.
func (s *Supervisor) Maker(source, topic string) (m Maker, ok bool) {
	id, is := strings.CutPrefix(source, "plugin:")
	if !is {
		return m, false
	}
	m.Plugin = id
	if queue := queueTopic(id, ""); strings.HasPrefix(topic, queue) {
		m.Action = topic[len(queue):]
	}
	m.Raw = topic == recordedTopic(id)
	p := s.plugin(id)
	if p == nil {
		return m, true
	}
	p.mu.Lock()
	spec := p.running
	if spec == nil {
		spec = p.goal.spec
	}
	p.mu.Unlock()
	if spec == nil {
		return m, true
	}
	m.File = spec.File
	for _, src := range spec.sources {
		if src.kind != usesKind && src.kind != recordedKind {
			m.Sources = append(m.Sources, src.kind.Name)
		}
	}
	for _, r := range spec.rules {
		if r.makes(topic, m.Action) {
			m.Entries = append(m.Entries, MakerEntry{r.label, r.line})
		}
	}
	return m, true
}

// makes reports whether an entry can have made an event of a topic, or a job of an action.
func (r *rule) makes(topic, action string) bool {
	switch {
	case action != "":
		return r.action != nil && r.action.key == action
	case r.topic != nil:
		return r.topic.match.MatchString(topic)
	case r.action != nil:
		for _, t := range r.action.topics {
			if t.match.MatchString(topic) {
				return true
			}
		}
	}
	return false
}
