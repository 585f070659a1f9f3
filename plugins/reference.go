package plugins

// This file writes the reference: a page for each kind, and one that lists them.

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/postbus/postbus/plugins/kind"
)

// ReferenceIndex is the name of the page that lists all others; the others are in the folder ReferencePages.
const (
	ReferenceIndex = "plugins-reference.md"
	ReferencePages = "reference"
)

// Reference returns the pages of the reference, in Markdown, by their paths in the folder docs.
func (c *Catalog) Reference() map[string][]byte {
	pages := map[string][]byte{}
	var b strings.Builder
	b.WriteString("# Kinds of plugins\n\nEach page has the options, the fields of an event, and an example file. `postbus plugin reference KIND` prints a page, " +
		"`postbus plugin new KIND` an example.\n\n| kind | source | action |\n|---|---|---|\n")
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(names(c.sources), names(c.actions)))))
	for _, name := range all {
		path := ReferencePages + "/" + name + ".md"
		pages[path] = c.Page(name)
		about := func(k *kind.Kind) string {
			if k == nil {
				return ""
			}
			return cell(FirstSentence(k.About))
		}
		fmt.Fprintf(&b, "| [%s](%s) | %s | %s |\n", name, path, about(c.sources[name]), about(c.actions[name]))
	}
	b.WriteString("\nAn entry of `publish` or `actions` can announce its topic to Home Assistant: [the keys of `home_assistant`](" + ReferencePages + "/home-assistant.md).\n")
	pages[ReferenceIndex] = []byte(b.String())
	pages[ReferencePages+"/home-assistant.md"] = homeAssistantPage()
	return pages
}

// Page returns the page of a kind; nil: there is none.
func (c *Catalog) Page(name string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", name)
	source, action := c.Named(name)
	if source == nil && action == nil {
		return nil
	}
	if source != nil && action != nil {
		b.WriteString("\n- [Source](#source)\n- [Action](#action)\n")
	}
	if source != nil {
		b.WriteString("\n## Source\n")
		referenceOf(source, &b)
	}
	if action != nil {
		b.WriteString("\n## Action\n")
		referenceOf(action, &b)
	}
	return []byte(b.String())
}

func homeAssistantPage() []byte {
	var b strings.Builder
	b.WriteString("# Home Assistant\n\n" + homeAssistantAbout + "\n\n| key | value | default | |\n|---|---|---|---|\n")
	for _, r := range optionRows(reflect.TypeFor[homeAssistant](), reflect.Value{}, "", "") {
		b.WriteString(r)
	}
	return []byte(b.String())
}

const homeAssistantAbout = "The keys of `home_assistant:` in an entry of `publish` or `actions`. The entity is announced by MQTT discovery, as a retained event " +
	"below `homeassistant/` that is cleared when the file is removed, and is unavailable while none of the plugin's sources works; a topic with `${…}` is one entity for each resulting topic. Without `component` it is a `sensor`, a `binary_sensor` " +
	"for device classes that only those have, such as `door` or `motion`, and a `button` for an action. Every key may be left out, except `options` of a select and `event_types` of an event."

func referenceOf(k *kind.Kind, b *strings.Builder) {
	fmt.Fprintf(b, "\n%s\n", strings.TrimSpace(k.About))
	rows := optionRows(reflect.TypeOf(k.Options), reflect.ValueOf(k.Options), "", "", keysOf(k.Args)...)
	if k.Args != nil {
		rows = append(rows, argumentRows(k)...)
	}
	if len(rows) > 0 {
		b.WriteString("\n| key | value | default | |\n|---|---|---|---|\n")
		for _, r := range rows {
			b.WriteString(r)
		}
	}
	if k.Args != nil {
		b.WriteString("\nKeys marked with `${}` may contain expressions.\n")
	}
	fieldTable("event", k.Event, b)
	fieldTable("answer", k.Answer, b)
	fmt.Fprintf(b, "\n```yaml\n%s\n```\n", strings.TrimSpace(k.Sample))
}

// fieldTable describes the fields of an event, or of an answer.
func fieldTable(what string, fields any, b *strings.Builder) {
	if fields == nil {
		return
	}
	fmt.Fprintf(b, "\n| %s | |\n|---|---|\n", what)
	for _, f := range fieldsOf(reflect.TypeOf(fields)) {
		name := "`" + what + "." + f.key + "`"
		if f.key == "*" {
			name = "more"
		}
		fmt.Fprintf(b, "| %s | %s |\n", name, cell(f.doc))
		if isParts(f.typ) {
			for _, part := range fieldsOf(f.typ) {
				fmt.Fprintf(b, "| `%s.%s.%s` | %s |\n", what, f.key, part.key, cell(part.doc))
			}
		}
	}
}

// argumentRows describes the keys of an action's arguments. One that may be an option is needed if the option is.
func argumentRows(k *kind.Kind) []string {
	needed := map[string]bool{}
	for _, f := range fieldsOf(reflect.TypeOf(k.Options)) {
		needed[f.key] = f.need && f.typ.Kind() != reflect.Slice
	}
	rows := optionRows(reflect.TypeOf(k.Args), reflect.Value{}, "", " `${}`")
	for i, f := range fieldsOf(reflect.TypeOf(k.Args)) {
		if needed[f.key] && !f.need && i < len(rows) {
			rows[i] = strings.Replace(rows[i], " |  | ", " | needed | ", 1)
		}
	}
	return rows
}

// optionRows describes the keys of a struct, without those of skip.
func optionRows(t reflect.Type, defaults reflect.Value, prefix, mark string, skip ...string) []string {
	var rows []string
	for _, f := range fieldsOf(t) {
		if slices.Contains(skip, f.key) {
			continue
		}
		d := ""
		if defaults.IsValid() {
			d = show(defaults.Field(f.index), f)
		}
		if d != "" {
			d = "`" + visible(d) + "`"
		}
		if f.location {
			d = "`location` of postbus.yaml"
		}
		if f.need {
			d = "needed"
		}
		rows = append(rows, fmt.Sprintf("| `%s`%s | %s | %s | %s |\n",
			prefix+f.key, mark, cell(valueWord(f, f.typ)), cell(d), cell(f.doc)))
		inner, more := f.typ, "."
		if inner.Kind() == reflect.Slice {
			inner, more = inner.Elem(), "[]."
		}
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && !isText(inner) {
			rows = append(rows, optionRows(inner, blockDefaults(f, defaults), prefix+f.key+more, mark)...)
		}
	}
	return rows
}

// visible shows control characters as they are written in double quotes: a new line is "\n".
func visible(s string) string {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return strconv.Quote(s)
	}
	return s
}

func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s)
}

// valueWord describes a field's value for the reader.
func valueWord(f field, t reflect.Type) string {
	bounds := ""
	switch {
	case f.min != "" && f.max != "":
		bounds = ", " + f.min + " to " + f.max
	case f.min != "":
		bounds = ", at least " + f.min
	case f.max != "":
		bounds = ", at most " + f.max
	}
	switch {
	case t == durationType:
		return "duration" + bounds
	case f.size:
		return "size" + bounds
	case isText(t):
		return "text"
	case len(f.oneOf) > 0 && t.Kind() == reflect.String:
		return strings.Join(f.oneOf, ", ")
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true, false"
	case reflect.Int, reflect.Int64:
		return "whole number" + bounds
	case reflect.Float64:
		return "number" + bounds
	case reflect.Slice:
		return "list of " + valueWord(f, t.Elem())
	case reflect.Map:
		return "mapping"
	case reflect.Struct, reflect.Pointer:
		return "mapping"
	case reflect.Interface:
		return "anything"
	}
	switch {
	case f.secret:
		return "text, secret:name, or with ${secret.name}"
	case f.mayHide():
		return "text, or with ${secret.name}"
	case f.path:
		return "path"
	}
	return "text"
}
