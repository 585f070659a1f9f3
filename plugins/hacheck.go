package plugins

// This file checks "home_assistant:". Home Assistant refuses an entity that is wrong with a message in
// its own log only, where nobody looks who writes a plugin.

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/config/suggest"
	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
)

// haReader checks the description of one entity.
type haReader struct {
	h     *homeAssistant
	n     yamlnode.Node
	where map[string]yamlnode.Node
	r     *rule
	body  yamlnode.Node // the payload in the file
}

// readHomeAssistant reads the description of the entity of a rule. body is the rule's payload.
func readHomeAssistant(n yamlnode.Node, r *rule, body yamlnode.Node, reads []string) *homeAssistant {
	c := haReader{h: &homeAssistant{}, n: n, where: map[string]yamlnode.Node{}, r: r, body: body}
	h := c.h
	before := n.ErrorCount()
	rd := reader{}
	rd.fill(n, fieldValue(h), c.where, "")
	if h.Component == "" {
		h.Component = "sensor"
		if r.action != nil {
			h.Component = "button"
		} else if binaryClasses[h.DeviceClass] {
			h.Component = "binary_sensor"
		}
	}
	_, h.hasMin = c.where["min"]
	_, h.hasMax = c.where["max"]
	c.texts()
	if n.ErrorCount() > before {
		return h // what else is wrong may follow from that
	}
	k := haComponents[h.Component]
	if r.action != nil && k.commands == uncommanded {
		n.Fail("write component: button or switch, or put home_assistant at an entry of publish",
			"a %s reports a state, and an action has none", h.Component)
		return h
	}
	c.keys(&k)
	c.class(&k)
	c.numbers()
	c.payload()
	if (r.action != nil || k.commands == mustCommand) && h.command(reads) == "" {
		n.Fail("write command_topic: a/b, or a source: {mqtt: {topics: [a/b]}} with one topic",
			"the entity has no command topic")
	}
	if at, ok := c.where["command_topic"]; ok {
		if err := topic.CheckName(h.CommandTopic); err != nil {
			at.Fail("write command_topic: a/b", "%v", err)
		}
	}
	if h.EntityCategory == "config" && k.commands == uncommanded {
		n.Fail("write entity_category: diagnostic",
			"a %s can't be of the category config: nothing can be set there", h.Component)
	}
	return h
}

// texts reads the texts that may have ${topic[1]}.
func (c *haReader) texts() {
	levels := []any{"x"}
	if c.r.topic != nil {
		levels = topicLevels(c.r.topic.sample)
	}
	scope := expr.Scope{Named: map[string]expr.Type{"topic": ""}}
	for _, t := range []struct {
		key, text string
		to        **expr.Template
	}{{"name", c.h.Name, &c.h.name}, {"device", c.h.Device, &c.h.device}, {"area", c.h.Area, &c.h.area}} {
		n, ok := c.where[t.key]
		if !ok || t.text == "" {
			continue
		}
		p, ok := template(n, t.text, scope)
		if !ok {
			continue
		}
		if u := p.Uses(); u.Event || u.Last || u.State || u.Own || u.Key || u.Now || u.Clock || len(u.Env) > 0 {
			n.Fail("write ${topic[1]} for the second level of the topic, or ${host}", "an entity is described by its topic, not by an event")
			continue
		}
		if !p.Constant() && c.r.topic == nil {
			n.Fail("write the text itself", "an action has no topic that ${…} could be taken from")
			continue
		}
		if _, err := p.Text(&expr.Vars{Host: "x", Named: map[string]any{"topic": levels}}); err != nil {
			failExpr(n, err)
			continue
		}
		*t.to = p
	}
}

// keys reports keys that the component does not have, and those that are missing.
func (c *haReader) keys(k *haComponent) {
	for _, f := range fieldsOf(reflect.TypeFor[homeAssistant]()) {
		if n, ok := c.where[f.key]; ok && !k.has(f.key) {
			n.FailKey("it has: "+strings.ReplaceAll(k.keys, " ", ", ")+"; extra passes others on", "%s has no %s", article(c.h.Component), f.key)
		}
	}
	for _, key := range k.needs {
		if _, ok := c.where[key]; !ok {
			c.n.Fail("write "+key+": [a, b]", "%s needs %s", article(c.h.Component), key)
		}
	}
	for _, list := range []struct {
		key   string
		words []string
	}{{"options", c.h.Options}, {"event_types", c.h.EventTypes}, {"modes", c.h.Modes}} {
		n, ok := c.where[list.key]
		if !ok {
			continue
		}
		if len(list.words) == 0 {
			n.Fail("write "+list.key+": [a, b]", "the list is empty")
		}
		for i, w := range list.words {
			if slices.Index(list.words, w) < i {
				n.Fail("", "%q is in the list twice", w)
			}
		}
	}
	for _, m := range c.h.Modes {
		if all := []string{"auto", "off", "cool", "heat", "heat_cool", "dry", "fan_only"}; !slices.Contains(all, m) {
			c.where["modes"].Fail("the modes: "+strings.Join(all, ", "), "Home Assistant has no mode %q", m)
		}
	}
	for key := range c.h.Extra {
		if key == "unique_id" {
			c.where["extra"].Fail("remove it", "unique_id is made of the topic, so that no two entities share one")
		}
	}
}

// class checks the device class, and what depends on it.
func (c *haReader) class(k *haComponent) {
	h := c.h
	if n, ok := c.where["device_class"]; ok && k.has("device_class") && !slices.Contains(k.classes, h.DeviceClass) {
		hint := "the classes: " + strings.Join(k.classes, ", ")
		if s := suggest.Nearest(h.DeviceClass, k.classes); s != "" {
			hint = fmt.Sprintf("did you mean %q?", s)
		} else if h.Component == "sensor" && slices.Contains(binaryClassNames, h.DeviceClass) {
			hint = "write component: binary_sensor"
		} else if len(k.classes) > 20 {
			hint = "docs: https://www.home-assistant.io/integrations/" + h.Component + "; extra: {device_class: " + h.DeviceClass + "} passes a newer one on"
		}
		n.Fail(hint, "%s has no class %q", article(h.Component), h.DeviceClass)
		return
	}
	class, ok := sensorClasses[h.DeviceClass]
	if !ok || h.Component != "sensor" && h.Component != "number" {
		if n, ok := c.where["options"]; ok && h.Component == "sensor" {
			n.FailKey("add device_class: enum", "a sensor has options only with the class enum")
		}
		return
	}
	_, extra := h.Extra["unit_of_measurement"]
	if !class.fits(h.Unit) && !extra {
		n, given := c.where["unit"]
		if !given {
			n = c.where["device_class"]
		}
		hint := "write unit: " + strings.Join(strings.Split(strings.TrimPrefix(class.units, "|"), "|"), ", or ")
		switch {
		case class.units == "*":
			hint = "write unit: EUR, or another currency"
		case class.units == "":
			hint = "remove unit"
		}
		if given {
			n.Fail(hint, "the class %s has no unit %q", h.DeviceClass, h.Unit)
		} else {
			n.Fail(hint, "the class %s needs a unit", h.DeviceClass)
		}
	}
	if n, ok := c.where["state_class"]; ok && !slices.Contains(strings.Fields(class.states), h.StateClass) {
		hint := "remove state_class"
		if class.states != "" {
			hint = "write state_class: " + strings.Join(strings.Fields(class.states), ", or ")
		}
		n.Fail(hint, "the class %s has no state class %s", h.DeviceClass, h.StateClass)
	}
	if n, ok := c.where["options"]; ok && h.DeviceClass != "enum" {
		n.FailKey("write device_class: enum, or remove options", "a sensor has options only with the class enum")
	}
}

// numbers checks min, max, step, mode and expire_after.
func (c *haReader) numbers() {
	h := c.h
	low, high := h.bounds()
	n, ok := c.where["max"]
	if !ok {
		n, ok = c.where["min"]
	}
	if ok {
		if low >= high && !(h.Component == "text" && low == high) {
			n.Fail("", "min is %v, and max is %v", low, high)
		}
		if h.Component == "text" && (low < 0 || high > 255 || low != float64(int(low)) || high != float64(int(high))) {
			n.Fail("write whole numbers in this range", "the length of a text is 0 to 255 characters")
		}
	}
	if n, ok := c.where["mode"]; ok {
		modes := map[string][]string{"number": {"auto", "box", "slider"}, "text": {"text", "password"}}[h.Component]
		if modes != nil && !slices.Contains(modes, h.Mode) {
			n.Fail("", "want %s, got %q", strings.Join(modes, " or "), h.Mode)
		}
	}
	if n, ok := c.where["expire_after"]; ok && h.ExpireAfter%time.Second != 0 {
		n.Fail("", "Home Assistant counts whole seconds")
	}
}

// payload checks a payload whose members are in the file.
func (c *haReader) payload() {
	if !c.body.IsMap() {
		return
	}
	m, ok := c.body.Map()
	if !ok {
		return
	}
	var members []string
	for i := range m.Len() {
		name, _ := m.Entry(i)
		members = append(members, name)
	}
	has := func(name string) bool { return slices.Contains(members, name) }
	switch {
	case c.h.Component == "event" && c.h.Value == "" && !has("event_type"):
		c.body.FailKey("add event_type, or write value: with the member that holds it", "the payload of an event needs event_type")
	case c.h.Component == "update" && c.h.Value == "" && !has("installed_version") && !has("latest_version"):
		c.body.FailKey("add installed_version and latest_version", "the payload of an update has no version")
	case c.h.Component == "climate":
		c.h.members = members
		if !has("mode") && !has("temperature") && !has("current_temperature") {
			c.body.FailKey("", "the payload of a climate needs mode, temperature or current_temperature")
		}
	}
	if n, ok := c.where["value"]; ok && !strings.ContainsAny(c.h.Value, "{.[") && !has(c.h.Value) {
		hint := ""
		if s := suggest.Nearest(c.h.Value, members); s != "" {
			hint = fmt.Sprintf("did you mean %q?", s)
		}
		n.Fail(hint, "the payload has no member %q", c.h.Value)
	}
}

// article is a word with a or an.
func article(word string) string {
	if strings.ContainsRune("aeiou", rune(word[0])) {
		return "an " + word
	}
	return "a " + word
}

// topicLevels are the levels of a topic, for expressions.
func topicLevels(name string) []any {
	var out []any
	for level := range strings.SplitSeq(name, "/") {
		out = append(out, level)
	}
	return out
}
