// This file makes a document of settings from the environment and the command line, so that they
// pass the same getters, checks and messages as the file.

package yamlnode

import (
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// Origin is the source of a setting; its errors read "File: Name: reason".
type Origin struct {
	File string // "environment", "command line"
	Name string // "POSTBUS_LISTEN_HTTP", "--http"
}

// Setting is one value for a dotted path of mappings.
type Setting struct {
	Origin Origin
	Path   string
	Values []string // one value for a scalar
	List   bool
}

// NewOverlay builds a document from settings. If two have the same path, the later one applies. Its
// scalars have no type of their own: each getter converts them to the type that it needs.
func NewOverlay(settings []Setting) *Doc {
	d := &Doc{bad: map[*yaml.Node]bool{}, origins: map[*yaml.Node]Origin{}, overlay: true,
		root: &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}}
	for _, s := range settings {
		at := d.root
		keys := strings.Split(s.Path, ".")
		for i, k := range keys {
			last := i == len(keys)-1
			child := d.child(at, k)
			if last {
				*child = *d.value(s)
				for _, c := range child.Content {
					d.origins[c] = s.Origin
				}
			}
			d.origins[child] = s.Origin
			at = child
		}
	}
	return d
}

func (d *Doc) value(s Setting) *yaml.Node {
	if !s.List {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.Join(s.Values, ",")}
	}
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for _, v := range s.Values {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v})
	}
	return n
}

// child finds or makes the entry. A mapping replaces a scalar at the same path (anonymous=off, then
// anonymous.publish), because the later setting applies.
func (d *Doc) child(m *yaml.Node, key string) *yaml.Node {
	if m.Kind != yaml.MappingNode {
		*m = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	v := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, v)
	return v
}

// Add records an error that belongs to no node: an unknown setting.
func (d *Doc) Add(o Origin, reason, hint string) {
	d.errs = append(d.errs, &Error{File: o.File, Key: o.Name, Reason: reason, Hint: hint})
}
