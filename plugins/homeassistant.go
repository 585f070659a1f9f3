package plugins

// This file is "home_assistant:" of an entry: the plugin announces the entity by Home Assistant's
// MQTT discovery, as a retained event that belongs to the plugin and is cleared with it. Source:
// https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/config/yamlnode"
)

const discoveryRoot = "homeassistant"

// homeAssistant is the description of an entity in a file.
type homeAssistant struct {
	Component      string `key:"component" doc:"what it is to Home Assistant" oneof:"sensor|binary_sensor|switch|light|button|number|text|device_tracker|cover|lock|fan|siren"`
	Name           string `key:"name" doc:"name for people"`
	DeviceClass    string `key:"device_class" doc:"such as temperature, door, motion"`
	StateClass     string `key:"state_class" doc:"of a sensor whose history is to be kept" oneof:"measurement|total|total_increasing"`
	Unit           string `key:"unit" doc:"unit of measurement"`
	Icon           string `key:"icon" doc:"such as mdi:doorbell"`
	Value          string `key:"value" doc:"the member of a JSON payload that holds the value, or a template {{ … }}"`
	EntityCategory string `key:"entity_category" doc:"where it is shown" oneof:"config|diagnostic"`
	PayloadOn      string `key:"payload_on" doc:"payload that means on"`
	PayloadOff     string `key:"payload_off" doc:"payload that means off"`
	CommandTopic   string `key:"command_topic" doc:"topic that it is commanded by; of an action it is the source's"`
}

func readHomeAssistant(n yamlnode.Node, r *rule, reads []string) *homeAssistant {
	h := &homeAssistant{}
	rd := reader{}
	rd.fill(n, fieldValue(h), map[string]yamlnode.Node{}, "")
	if h.Component == "" {
		h.Component = "sensor"
		if r.action != nil {
			h.Component = "button"
		} else if binaryClasses[h.DeviceClass] {
			h.Component = "binary_sensor"
		}
	}
	switch { // settings that Home Assistant refuses, with a message in its own log only
	case r.action != nil && !commanded[h.Component]:
		n.Fail("write component: button or switch, or put home_assistant at an entry of publish",
			"a %s reports a state, and an action has none", h.Component)
	case (r.action != nil || commanded[h.Component] && h.Component != "cover") && h.command(reads) == "":
		n.Fail("write command_topic: a/b, or a source: {mqtt: {topics: [a/b]}} with one topic",
			"the entity has no command topic")
	}
	if h.EntityCategory == "config" && (h.Component == "sensor" || h.Component == "binary_sensor") {
		n.Fail("write entity_category: diagnostic",
			"a %s can't be of the category config: nothing can be set there", h.Component)
	}
	return h
}

// command is the topic of commands to the entity; empty for an entity without commands.
func (h *homeAssistant) command(reads []string) string {
	if h.CommandTopic != "" {
		return h.CommandTopic
	}
	if commanded[h.Component] && len(reads) == 1 && !topic.HasWildcard(reads[0]) {
		return reads[0]
	}
	return ""
}

// commanded are the components that receive commands.
var commanded = map[string]bool{"switch": true, "light": true, "button": true, "number": true, "text": true, "cover": true, "lock": true, "fan": true, "siren": true}

// binaryClasses are device classes that only binary sensors have.
var binaryClasses = map[string]bool{"battery_charging": true, "carbon_monoxide": true, "cold": true, "connectivity": true, "door": true,
	"garage_door": true, "heat": true, "light": true, "lock": true, "moisture": false, "motion": true, "moving": true, "occupancy": true,
	"opening": true, "plug": true, "presence": true, "problem": true, "running": true, "safety": true, "smoke": true, "sound": true,
	"tamper": true, "update": true, "vibration": true, "window": true}

var (
	plainTopic = regexp.MustCompile(`^[A-Za-z0-9-]+(/[A-Za-z0-9-]+)*$`)
	notSlug    = regexp.MustCompile(`[^A-Za-z0-9-]+`)
)

// maxSlug is the maximum number of characters of a topic in a name.
const maxSlug = 100

// slug converts a text to characters that Home Assistant accepts, with a different result for each
// text, because two rooms must not become one entity. It joins levels of letters, digits and - with
// _. If another character would be lost, a checksum of the text follows after two _, which no other
// slug contains. That includes _ itself, since a/b already becomes a_b.
func slug(s string) string {
	if plainTopic.MatchString(s) && len(s) <= maxSlug {
		return strings.ReplaceAll(s, "/", "_")
	}
	sum := sha256.Sum256([]byte(s))
	out := notSlug.ReplaceAllString(s, "_")
	return strings.Trim(out[:min(len(out), maxSlug)], "_") + "__" + hex.EncodeToString(sum[:8])
}

// title is a name of what for people, with a different result for each text.
func title(what string) string {
	if strings.ContainsAny(what, ` "`) {
		return strconv.Quote(what) // "a b" is not a/b
	}
	return strings.ReplaceAll(what, "/", " ")
}

// discovery is the topic and the payload that announce an entity. Its values are on topic; for an
// action topic is empty, and the entity only receives commands. what names the entity.
func (h *homeAssistant) discovery(id, host, what, topic string, reads []string) (string, []byte) {
	object := slug(what)
	device := url.PathEscape(host) + "/" + id
	name := h.Name
	if name == "" {
		name = title(what)
	}
	c := map[string]any{
		"name": name, "unique_id": "postbus_" + slug(device+"/"+what),
		"device": map[string]any{"identifiers": []string{"postbus_" + slug(device)}, "name": id + " on " + host, "manufacturer": "postbus", "model": "plugin " + id},
		"origin": map[string]any{"name": "postbus"},
	}
	if command := h.command(reads); command != "" {
		c["command_topic"] = command
	}
	if topic != "" && h.Component != "button" {
		c["state_topic"] = topic
	}
	if h.Value != "" {
		key := "value_template"
		if h.Component == "light" || h.Component == "fan" || h.Component == "siren" {
			key = "state_value_template"
		}
		c[key] = h.template()
	}
	for key, v := range map[string]string{"device_class": h.DeviceClass, "state_class": h.StateClass, "unit_of_measurement": h.Unit, "icon": h.Icon,
		"entity_category": h.EntityCategory, "payload_on": h.PayloadOn, "payload_off": h.PayloadOff} {
		if v != "" {
			c[key] = v
		}
	}
	p, err := json.Marshal(c)
	if err != nil { // never fails: maps of texts
		panic(err)
	}
	return h.topic(id, object), p
}

// template reads a value from a payload. It quotes a member whose name Jinja would misread: pm2-5
// is a subtraction, and items is a method of every mapping.
func (h *homeAssistant) template() string {
	if strings.Contains(h.Value, "{{") || strings.Contains(h.Value, "{%") {
		return h.Value
	}
	path := ""
	for member := range strings.SplitSeq(h.Value, ".") {
		name, _, _ := strings.Cut(member, "[")
		if jinjaName.MatchString(member) && !dictMethods[name] {
			path += "." + member
		} else {
			path += "['" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(member) + "']"
		}
	}
	return "{{ value_json" + path + " }}"
}

var jinjaName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\[[^\]]*\])*$`)

// dictMethods are the names of the methods of Python's mappings.
var dictMethods = map[string]bool{"clear": true, "copy": true, "fromkeys": true, "get": true, "items": true, "keys": true, "pop": true,
	"popitem": true, "setdefault": true, "update": true, "values": true}

func (h *homeAssistant) topic(id, object string) string {
	return discoveryRoot + "/" + h.Component + "/postbus_" + id + "/" + object + "/config"
}

// owns reports whether a discovery topic can belong to this entity.
func (h *homeAssistant) owns(id string, r *rule, topic string) bool {
	head, tail, ok := strings.Cut(h.topic(id, "\x00"), "\x00")
	object, found := strings.CutPrefix(topic, head)
	if !ok || !found || !strings.HasSuffix(object, tail) {
		return false
	}
	object = strings.TrimSuffix(object, tail)
	switch {
	case r.topic == nil:
		return object == slug(r.action.key)
	case r.topic.constant != "":
		return object == slug(r.topic.constant)
	}
	return true // the topic of a rule with a template
}

// entities are the discovery events of a file that do not depend on its events.
func (s *Spec) entities(host string) []bus.Event {
	var out []bus.Event
	for _, r := range s.rules {
		if r.ha == nil {
			continue
		}
		what, topic := "", ""
		switch {
		case r.action != nil:
			what = r.action.key
		case r.topic != nil && r.topic.constant != "":
			what, topic = r.topic.constant, r.topic.constant
		default:
			continue // each topic is announced with its first event
		}
		at, payload := r.ha.discovery(s.ID, host, what, topic, s.reads)
		out = append(out, bus.Event{Topic: at, Payload: payload, QoS: 1, Retain: true, Source: sourceName(s.ID)})
	}
	return out
}
