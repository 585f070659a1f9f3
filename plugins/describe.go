package plugins

// This file makes the JSON Schema of plugin files, for editors. As the reference it is generated from the
// declarations, so that it cannot differ from the code.

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/kind"
)

// Schema is the JSON Schema (draft 2020-12) of a plugin file.
func (c *Catalog) Schema() []byte {
	text := object{"type": "string"}
	any := object{}
	kinds := c.schemas(c.sources)
	kinds["record"] = described(object{"type": "boolean", "default": false}, "the events go into the journal as they come, and are mapped from there: they can be replayed, and are mapped after a crash")
	source := object{"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": false, "properties": kinds}
	common := object{
		"when": described(text, "a condition: an event for which it is false has no outcome"),
		"rate": described(object{"type": "string", "pattern": `^\d+/.+$`},
			"the maximum number of events in a period, as 5/s or 1/10s"),
		"keep":     described(object{"enum": []string{"first", "last"}, "default": "first"}, "which event of the rate's period has an outcome; the last one at the period's end"),
		"set":      described(object{"type": "object"}, "values that the plugin keeps, as state.NAME"),
		"per":      described(text, "what the entry keeps values, timers and a rate for: topic, all, or a text with ${…}; default: topic, if the source has several"),
		"set_own":  described(object{"type": "object"}, "values that the entry keeps for each key, as own.NAME"),
		"changed":  described(text, "an expression: an event passes only if its value differs from the last that passed"),
		"by":       described(object{"type": "number", "exclusiveMinimum": 0}, "with changed: numbers must differ by this much"),
		"at_least": described(duration(), "with changed: after this time an equal value passes, too"),
		"for":      described(duration(), "the entry acts once when its condition has held for this long"),
		"after":    described(duration(), "the entry acts this long after the last event for which its condition held"),
		"cancel":   described(text, "with after: a condition that ends the wait"),
		"settle":   described(duration(), "the entry acts for the last event of a burst, when there was none for this long"),
		"silent":   described(duration(), "the entry acts when there was no event for this long"),
		"recover":  described(object{"type": "boolean", "default": false}, "with silent: it acts for the next event, too"),
		"window": described(object{"type": "object", "additionalProperties": false, "required": []string{"of"}, "properties": object{
			"of":    described(text, "an expression for the number of an event"),
			"every": described(duration(), "the entry acts at the end of each such part of the clock"),
			"last":  described(duration(), "the span of the numbers; without every the entry acts at each event"),
			"quiet": described(duration(), "the entry acts when there was no event for this long"),
		}}, "the entry acts with the figures of the numbers of a span of time, as window.mean"),
		"having": described(text, "with window: a condition on the figures"),
		"each":   described(text, "an expression for a list: the entry gets each element as an event, as item and index"),
		"home_assistant": described(structSchema(reflect.TypeFor[homeAssistant](), reflect.Value{}),
			"announce it to Home Assistant by MQTT discovery"),
	}
	publish := object{
		"topic": described(text, "topic of the event; may contain ${…}"),
		"payload": described(any,
			"payload of the event; texts in it may contain ${…}; default: the whole event as JSON"),
		"qos":    described(object{"enum": []int{0, 1, 2}, "default": 1}, "quality of service"),
		"retain": described(object{"type": "boolean", "default": false}, "publish a retained message"),
		"expiry": described(duration(), "message expiry: it is not delivered later than this"),
	}
	action := object{
		"name": described(text, "name of its queue; needed if a file has several actions of one kind"),
		"expires": described(object{"anyOf": []object{duration(), {"const": "never"}},
			"default": "1m"}, "the action does not run for events older than this; persistent actions such as file run for all"),
		"retry": described(object{"type": "object", "additionalProperties": false, "properties": object{
			"attempts": object{"type": "integer", "minimum": 1, "maximum": 1000, "default": defaultAttempts}, "backoff": object{"type": "string", "default": defaultBackoff}}},
			"how often and how fast a failed action is retried"),
	}
	list := func(p object) object {
		return object{"type": "array", "items": object{"type": "object", "additionalProperties": false, "properties": p}}
	}
	for k, v := range common {
		publish[k] = v
		action[k] = v
	}
	action["on_answer"] = described(list(publish), "entries as in publish for the answer to the action, with answer.status and the like")
	for k, v := range c.schemas(c.actions) {
		action[k] = v
	}
	expected := object{"type": "array", "items": object{"type": "object"}}
	perms := object{}
	for _, k := range permissionKeys {
		perms[k] = object{"type": "array", "items": text}
	}
	doc := object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "postbus plugin", "type": "object", "additionalProperties": false,
		"properties": object{
			"description": described(text, "one line for people"), "source": source,
			"per_limit":   described(object{"type": "integer", "minimum": 1, "maximum": maxKeys, "default": defaultKeys}, "the maximum number of keys; the one that was idle for longest is forgotten"),
			"per_idle":    described(object{"type": "string", "default": "7d"}, "a key without events is forgotten after this time"),
			"state_limit": described(object{"type": "string", "default": "64MiB"}, "the maximum size of what all keys keep"),
			"uses":        described(object{"type": "object", "additionalProperties": text}, "topics whose latest values expressions can read: uses.NAME.json"),
			"tables":      described(object{"type": "object", "additionalProperties": text}, "CSV, JSON or YAML files in the plugins folder: tables.NAME[\"key\"].column"),
			"sources":     object{"type": "array", "items": source, "minItems": 1}, "publish": list(publish), "actions": list(action),
			"permissions": object{"type": "object", "additionalProperties": false, "properties": perms},
			"tests": object{"type": "array", "items": object{"type": "object", "additionalProperties": false,
				"oneOf": []object{{"required": []string{"event", "expect"}}, {"required": []string{"steps"}}}, "properties": object{
					"name": text, "event": object{"type": "object"}, "answer": object{"type": "object"}, "last": object{"type": "object"}, "own": object{"type": "object"}, "state": object{"type": "object"}, "uses": object{"type": "object"}, "now": text,
					"expect": expected,
					"steps": object{"type": "array", "items": object{"type": "object", "additionalProperties": false, "required": []string{"at"}, "properties": object{
						"at": duration(), "uses": object{"type": "object"}, "event": object{"type": "object"}, "answer": object{"type": "object"}, "expect": expected}}}}}},
		},
		"oneOf": []object{{"required": []string{"source"}}, {"required": []string{"sources"}}},
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil { // never fails: maps of plain values
		panic(err)
	}
	return append(b, '\n')
}

type object = map[string]any

func described(s object, doc string) object {
	out := object{"description": doc}
	for k, v := range s {
		out[k] = v
	}
	return out
}

func duration() object {
	return object{"type": "string", "pattern": `^-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h|d))+$|^0$`, "examples": []string{"10s"}}
}

func (c *Catalog) schemas(kinds map[string]*kind.Kind) object {
	out := object{}
	for name, k := range kinds {
		s := structSchema(reflect.TypeOf(k.Options), reflect.ValueOf(k.Options))
		if k.Args != nil {
			args := structSchema(reflect.TypeOf(k.Args), reflect.Value{})
			props := s["properties"].(object)
			for key, v := range args["properties"].(object) { // an argument with ${…} is text
				props[key] = object{"description": v.(object)["description"]}
			}
			if r := slices.Concat(asTexts(s["required"]), asTexts(args["required"])); len(r) > 0 {
				s["required"] = r
			}
		}
		s["description"] = FirstSentence(k.About)
		out[name] = s
	}
	return out
}

func asTexts(v any) []string {
	s, _ := v.([]string)
	return s
}

// FirstSentence is the first sentence of a text, on one line.
func FirstSentence(s string) string {
	s = strings.ReplaceAll(s, "\n", " ")
	if i := strings.Index(s, ". "); i > 0 {
		return s[:i+1]
	}
	return s
}

func structSchema(t reflect.Type, defaults reflect.Value) object {
	props := object{}
	var required []string
	for _, f := range fieldsOf(t) {
		p := typeSchema(f, f.typ)
		if f.typ.Kind() == reflect.Struct && !isText(f.typ) {
			p = structSchema(f.typ, blockDefaults(f, defaults))
		}
		p["description"] = f.doc
		if defaults.IsValid() {
			if d := show(defaults.Field(f.index), f); d != "" {
				p["default"] = plainDefault(defaults.Field(f.index), f)
			}
		}
		props[f.key] = p
		if f.need {
			required = append(required, f.key)
		}
	}
	s := object{"type": []string{"object", "null"}, "additionalProperties": false, "properties": props}
	if len(required) > 0 {
		s["required"] = required
		s["type"] = "object"
	}
	return s
}

func typeSchema(f field, t reflect.Type) object {
	switch {
	case t == durationType:
		return duration()
	case isText(t):
		return object{"type": []string{"string", "number", "boolean"}}
	case f.size:
		return object{"type": []string{"string", "integer"}, "examples": []string{"64KiB"}}
	}
	s := object{}
	switch t.Kind() {
	case reflect.String:
		s["type"] = "string"
		if len(f.oneOf) > 0 {
			s = object{"enum": f.oneOf}
		}
	case reflect.Bool:
		s["type"] = "boolean"
	case reflect.Int, reflect.Int64, reflect.Float64:
		s["type"] = "integer"
		if t.Kind() == reflect.Float64 {
			s["type"] = "number"
		}
		low, high := f.bounds()
		if f.min != "" {
			s["minimum"] = low
		}
		if f.max != "" {
			s["maximum"] = high
		}
	case reflect.Slice:
		s["type"] = "array"
		s["items"] = typeSchema(f, t.Elem())
	case reflect.Map:
		s["type"] = "object"
		s["additionalProperties"] = typeSchema(f, t.Elem())
	case reflect.Pointer:
		return structSchema(t.Elem(), reflect.Value{})
	case reflect.Struct:
		return structSchema(t, reflect.Value{})
	}
	return s
}

// blockDefaults are the defaults of the keys of a block that is there by default.
func blockDefaults(f field, defaults reflect.Value) reflect.Value {
	if !defaults.IsValid() || f.typ.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return defaults.Field(f.index)
}

// show is a default as written in a file; empty when there is none.
func show(v reflect.Value, f field) string {
	if v.IsZero() || v.Kind() == reflect.Pointer || v.Kind() == reflect.Struct && !isText(v.Type()) {
		return ""
	}
	switch x := plainDefault(v, f).(type) {
	case string:
		return x
	default:
		b, err := json.Marshal(x)
		if err != nil {
			return ""
		}
		return strings.NewReplacer(`"`, "", ",", ", ").Replace(string(b))
	}
}

func plainDefault(v reflect.Value, f field) any {
	switch {
	case v.Type() == durationType:
		return yamlnode.FormatDuration(time.Duration(v.Int()))
	case f.size:
		return yamlnode.FormatSize(v.Int())
	case isText(v.Type()):
		return expr.Text(v.Interface())
	}
	return v.Interface()
}
