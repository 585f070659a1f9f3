package plugins

// This file tells Home Assistant whether a plugin's entities are up to date. Their availability topic is a
// retained event of the plugin beside their descriptions, where those who may read the descriptions may
// read it. It says offline while none of the plugin's sources works, and after the plugin has ended. When
// the bus itself ends, Home Assistant notices that by its connection.

import "github.com/postbus/postbus/bus"

// availabilityTopic is the topic that says whether the entities of a plugin are available, in the
// words that Home Assistant expects if nothing else is said.
func availabilityTopic(id string) string { return discoveryRoot + "/postbus_" + id + "/availability" }

// availabilityUnknown is the availability of a plugin that was published by an earlier run. What comes next
// is published in any case.
const availabilityUnknown = "unknown"

// announces reports whether a file announces entities.
func (s *Spec) announces() bool {
	for _, r := range s.rules {
		if r.ha != nil {
			return true
		}
	}
	return false
}

// availability is "online" or "offline"; empty while the sources start.
func availability(sources []PartStatus) string {
	said := "offline"
	for _, s := range sources {
		switch s.State {
		case StateRunning:
			return "online"
		case StateStarting:
			said = ""
		}
	}
	return said
}

// publishAvailability publishes a changed availability. It belongs to run.
func (p *plugin) publishAvailability() {
	p.mu.Lock()
	running, runners := p.running, p.runners
	p.mu.Unlock()
	if running != nil && !running.announces() {
		p.available = "" // the topic is cleared, because no entry owns it any more
		return
	}
	if running == nil && p.available == "" {
		return // nothing of the kind was ever said
	}
	var st Status
	p.parts(&st, runners, nil)
	now := availability(st.Sources)
	if now == "" || now == p.available {
		return
	}
	if _, err := p.s.bus.Send(bus.Event{Topic: availabilityTopic(p.id), Payload: []byte(now), QoS: 1, Retain: true, Source: sourceName(p.id)}); err != nil {
		p.due.Store(true) // the disk refuses: in a second
		return
	}
	p.available = now
}
