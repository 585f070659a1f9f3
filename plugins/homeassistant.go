package plugins

// This file is "home_assistant:" of an entry: the plugin announces the entity by Home Assistant's
// MQTT discovery, as a retained event that belongs to the plugin and is cleared with it. Source:
// https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/plugins/expr"
)

const discoveryRoot = "homeassistant"

// homeAssistant is the description of an entity in a file. haComponents says which keys a component
// has.
type homeAssistant struct {
	Component      string         `key:"component" doc:"what it is to Home Assistant" oneof:"sensor|binary_sensor|switch|light|button|number|text|select|event|update|climate|cover|lock|fan|siren|device_tracker"`
	Name           string         `key:"name" doc:"name for people; ${topic[1]} is the second level of the entry's topic, in device and area, too"`
	Device         string         `key:"device" doc:"the device that it belongs to, as \"${topic[1]}\" for one a room; without it one device has all entities of the plugin"`
	Area           string         `key:"area" doc:"the suggested area of the device"`
	DeviceClass    string         `key:"device_class" doc:"such as temperature, door, motion; each component has its own, and the unit has to fit"`
	StateClass     string         `key:"state_class" doc:"of a sensor whose history is to be kept" oneof:"measurement|measurement_angle|total|total_increasing"`
	Unit           string         `key:"unit" doc:"unit of measurement of a sensor or number"`
	Icon           string         `key:"icon" doc:"such as mdi:doorbell"`
	Value          string         `key:"value" doc:"the member of a JSON payload that holds the value (of an event: its type), or a template {{ … }}"`
	EntityCategory string         `key:"entity_category" doc:"where it is shown" oneof:"config|diagnostic"`
	Options        []string       `key:"options" doc:"of a select, or of a sensor of the class enum: the possible values"`
	EventTypes     []string       `key:"event_types" doc:"of an event: the possible types; the payload is JSON with event_type, unless value says where the type is"`
	Modes          []string       `key:"modes" doc:"of a climate: auto, off, cool, heat, heat_cool, dry, fan_only; commands are JSON with mode or temperature, the payload has mode, temperature and current_temperature"`
	Min            float64        `key:"min" doc:"of a number, or the temperature of a climate: the lowest value; of a text: the shortest length"`
	Max            float64        `key:"max" doc:"the highest value, or the longest length"`
	Step           float64        `key:"step" doc:"of a number or climate: the difference between two values" min:"0.001" max:"1e9"`
	Mode           string         `key:"mode" doc:"of a number: auto, box or slider; of a text: text or password"`
	ExpireAfter    time.Duration  `key:"expire_after" doc:"of a sensor: it is unavailable without an event for this long" min:"1s" max:"8760h"`
	PayloadOn      string         `key:"payload_on" doc:"payload that means on"`
	PayloadOff     string         `key:"payload_off" doc:"payload that means off"`
	PayloadPress   string         `key:"payload_press" doc:"payload of the command of a button; PRESS without it"`
	PayloadInstall string         `key:"payload_install" doc:"payload of the command of an update"`
	CommandTopic   string         `key:"command_topic" doc:"topic that it is commanded by; without it the only topic of the source"`
	Extra          map[string]any `key:"extra" doc:"further keys of Home Assistant's discovery, passed on as they are; device: {…} adds to the device"`

	name, device, area *expr.Template
	hasMin, hasMax     bool
	members            []string // of the payload; nil: not known
}

// command is the topic of commands to the entity; empty for an entity without commands.
func (h *homeAssistant) command(reads []string) string {
	if h.CommandTopic != "" {
		return h.CommandTopic
	}
	if (haComponents[h.Component].commands == mustCommand || h.Component == "cover") && len(reads) == 1 && !topic.HasWildcard(reads[0]) {
		return reads[0]
	}
	return ""
}

// bounds are min and max, with Home Assistant's own where the file has none.
func (h *homeAssistant) bounds() (low, high float64) {
	switch h.Component {
	case "text":
		high = 255
	case "climate":
		low, high = 7, 35
	default:
		low, high = 1, 100
	}
	if h.hasMin {
		low = h.Min
	}
	if h.hasMax {
		high = h.Max
	}
	return low, high
}

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
	plugin := url.PathEscape(host) + "/" + id
	v := &expr.Vars{Host: host, Named: map[string]any{"topic": topicLevels(topic)}}
	text := func(t *expr.Template, otherwise string) string {
		if t != nil {
			if s, err := t.Text(v); err == nil && s != "" {
				return s
			}
		}
		return otherwise
	}
	device := map[string]any{"identifiers": []string{"postbus_" + slug(plugin)}, "name": id + " on " + host, "manufacturer": "postbus", "model": "plugin " + id}
	if name := text(h.device, ""); name != "" {
		device["identifiers"], device["name"] = []string{"postbus_" + slug(plugin+"/device/"+url.PathEscape(name))}, name
	}
	if area := text(h.area, ""); area != "" {
		device["suggested_area"] = area
	}
	c := map[string]any{
		"name": text(h.name, title(what)), "unique_id": "postbus_" + slug(plugin+"/"+what),
		"device": device, "origin": map[string]any{"name": "postbus"},
		"availability_topic": availabilityTopic(id),
	}
	h.topics(c, topic, reads)
	h.settings(c)
	for key, x := range h.Extra {
		if members, ok := x.(map[string]any); ok && key == "device" {
			maps.Copy(device, members)
			continue
		}
		c[key] = x
	}
	p, err := json.Marshal(c)
	if err != nil { // never fails: what YAML can hold
		panic(err)
	}
	return h.topic(id, object), p
}

// topics adds where the state is, and where commands go.
func (h *homeAssistant) topics(c map[string]any, topic string, reads []string) {
	command := h.command(reads)
	if h.Component == "climate" {
		h.climate(c, topic, command)
		return
	}
	if command != "" {
		c["command_topic"] = command
	}
	if topic != "" && haComponents[h.Component].stateful {
		c["state_topic"] = topic
	}
	if h.Value == "" {
		return
	}
	switch h.Component {
	case "light", "fan", "siren":
		c["state_value_template"] = h.template()
	case "event":
		c["value_template"] = h.template()
		if !h.templated() {
			c["value_template"] = `{{ {"event_type": value_json` + jinjaPath(h.Value) + `} | to_json }}`
		}
	default:
		c["value_template"] = h.template()
	}
}

// climate maps the members of one payload, and of one command topic, to the topics of a climate.
func (h *homeAssistant) climate(c map[string]any, topic, command string) {
	for member, key := range map[string]string{"mode": "mode_state", "temperature": "temperature_state", "current_temperature": "current_temperature"} {
		if topic != "" && (h.members == nil || slices.Contains(h.members, member)) {
			c[key+"_topic"], c[key+"_template"] = topic, "{{ value_json."+member+" }}"
		}
	}
	c["mode_command_topic"], c["mode_command_template"] = command, `{{ {"mode": value} | to_json }}`
	c["temperature_command_topic"], c["temperature_command_template"] = command, `{{ {"temperature": value} | to_json }}`
}

// settings adds the keys that are passed on as they are in the file.
func (h *homeAssistant) settings(c map[string]any) {
	for key, v := range map[string]string{"device_class": h.DeviceClass, "state_class": h.StateClass, "unit_of_measurement": h.Unit, "icon": h.Icon,
		"entity_category": h.EntityCategory, "payload_on": h.PayloadOn, "payload_off": h.PayloadOff, "payload_press": h.PayloadPress, "payload_install": h.PayloadInstall, "mode": h.Mode} {
		if v != "" {
			c[key] = v
		}
	}
	for key, v := range map[string][]string{"options": h.Options, "event_types": h.EventTypes, "modes": h.Modes} {
		if len(v) > 0 {
			c[key] = v
		}
	}
	low, high, step := "min", "max", "step"
	if h.Component == "climate" {
		low, high, step = "min_temp", "max_temp", "temp_step"
	}
	if h.hasMin {
		c[low] = h.Min
	}
	if h.hasMax {
		c[high] = h.Max
	}
	if h.Step > 0 {
		c[step] = h.Step
	}
	if h.ExpireAfter > 0 {
		c["expire_after"] = int(h.ExpireAfter / time.Second)
	}
	if h.Component == "update" && c["command_topic"] != nil && h.PayloadInstall == "" {
		c["payload_install"] = "INSTALL" // Home Assistant has no default
	}
}

// template reads a value from a payload. It quotes a member whose name Jinja would misread: pm2-5
// is a subtraction, and items is a method of every mapping.
func (h *homeAssistant) template() string {
	if h.templated() {
		return h.Value
	}
	return "{{ value_json" + jinjaPath(h.Value) + " }}"
}

// templated reports whether value is a template already.
func (h *homeAssistant) templated() bool {
	return strings.Contains(h.Value, "{{") || strings.Contains(h.Value, "{%")
}

// jinjaPath is how a template reads a member.
func jinjaPath(value string) (path string) {
	for member := range strings.SplitSeq(value, ".") {
		name, _, _ := strings.Cut(member, "[")
		if jinjaName.MatchString(member) && !dictMethods[name] {
			path += "." + member
		} else {
			path += "['" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(member) + "']"
		}
	}
	return path
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
	if topic == availabilityTopic(id) {
		return true
	}
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

// ofHost reports whether the topic depends on nothing but the machine's name.
func (t *topicSpec) ofHost() bool {
	u := t.template.Uses()
	return !(u.Event || u.Last || u.State || u.Own || u.Key || u.Now || u.Clock || len(u.Env) > 0 || len(u.Named) > 0)
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
		case r.topic != nil && r.topic.ofHost():
			name, err := r.topic.eval(&expr.Vars{Host: host}, &s.permissions)
			if err != nil {
				continue // as its events will say
			}
			what, topic = name, name
		default:
			continue // each topic is announced with its first event
		}
		at, payload := r.ha.discovery(s.ID, host, what, topic, s.reads)
		out = append(out, bus.Event{Topic: at, Payload: payload, QoS: 1, Retain: true, Source: sourceName(s.ID)})
	}
	return out
}
