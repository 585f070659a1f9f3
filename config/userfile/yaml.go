package userfile

// This file is users and groups in the form of the config file.

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/postbus/postbus/config"
)

// User is a user of the file: see config.User.
type User struct {
	Name      string     `yaml:"name"`
	Password  string     `yaml:"password,omitempty"`
	Passwords []Password `yaml:"passwords,flow,omitempty"`
	Publish   []string   `yaml:"publish,flow,omitempty"`
	Subscribe []string   `yaml:"subscribe,flow,omitempty"`
	Deny      []string   `yaml:"deny,flow,omitempty"`
	Groups    []string   `yaml:"groups,flow,omitempty"`
	Admin     bool       `yaml:"admin,omitempty"`
	Certs     []string   `yaml:"certificates,flow,omitempty"`
	ClientID  string     `yaml:"client_id,omitempty"`
	Bridge    bool       `yaml:"bridge,omitempty"`
}

// Password is one of the passwords of a user that have names.
type Password struct {
	Name    string    `yaml:"name"`
	Hash    string    `yaml:"hash"`
	Expires time.Time `yaml:"expires,omitempty"`
}

// Group is a group of the file: see config.Group.
type Group struct {
	Publish   []string `yaml:"publish,flow,omitempty"`
	Subscribe []string `yaml:"subscribe,flow,omitempty"`
	Deny      []string `yaml:"deny,flow,omitempty"`
	Admin     bool     `yaml:"admin,omitempty"`
}

// UserOf returns a user of the config in that form.
func UserOf(u config.User) User {
	return User{u.Name, u.Password, passwords(u.Passwords), u.Publish, u.Subscribe, u.Deny, u.Groups, u.Admin, u.Certificates, u.ClientID, u.Bridge}
}

// WithPassword returns the user with one of its passwords with names, in place of one of that name. The
// receiver stays as it is.
func (u User) WithPassword(p Password) User {
	u.Passwords = slices.Clone(u.Passwords)
	if i := slices.IndexFunc(u.Passwords, func(old Password) bool { return old.Name == p.Name }); i >= 0 {
		u.Passwords[i] = p
	} else {
		u.Passwords = append(u.Passwords, p)
	}
	return u
}

func passwords(list []config.Password) (out []Password) {
	for _, p := range list {
		out = append(out, Password(p))
	}
	return out
}

// flow returns a value as one line of YAML.
func flow(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case bool:
		return strconv.FormatBool(v)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case []Password:
		var list []string
		for _, p := range v {
			text := fmt.Sprintf("{name: %s, hash: %s", strconv.Quote(p.Name), strconv.Quote(p.Hash))
			if !p.Expires.IsZero() {
				text += ", expires: " + p.Expires.UTC().Format(time.RFC3339)
			}
			list = append(list, text+"}")
		}
		return "[" + strings.Join(list, ", ") + "]"
	case User:
		return flowMap([]entry{{"name", v.Name}, {"password", v.Password}, {"passwords", v.Passwords}, {"publish", v.Publish}, {"subscribe", v.Subscribe},
			{"deny", v.Deny}, {"groups", v.Groups}, {"certificates", v.Certs}, {"client_id", v.ClientID}, {"admin", v.Admin}, {"bridge", v.Bridge}})
	case Group:
		return flowMap([]entry{{"publish", v.Publish}, {"subscribe", v.Subscribe}, {"deny", v.Deny}, {"admin", v.Admin}})
	}
	panic(fmt.Sprintf("userfile: no YAML of a %T", v))
}

type entry struct {
	key   string
	value any
}

// flowMap leaves out entries that have the zero value.
func flowMap(entries []entry) string {
	var list []string
	for _, e := range entries {
		if !zero(e.value) {
			list = append(list, e.key+": "+flow(e.value))
		}
	}
	return "{" + strings.Join(list, ", ") + "}"
}

func zero(v any) bool {
	r := reflect.ValueOf(v)
	return r.IsZero() || r.Kind() == reflect.Slice && r.Len() == 0
}

// node returns a value as a node in flow style; nil if that fails.
func node(v any) *yaml.Node {
	var n yaml.Node
	if err := n.Encode(v); err != nil {
		return nil
	}
	if n.Kind != yaml.ScalarNode {
		n.Style = yaml.FlowStyle
	}
	return &n
}

// plain returns a value as the parser does.
func plain(v any) any {
	text, err := yaml.Marshal(map[string]any{"": v})
	if err != nil {
		return nil
	}
	out, _ := content(text) // what Marshal wrote
	return out[""]
}

// plainKey are keys that need no quotes, except those words.
var (
	plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	reserved = map[string]bool{"null": true, "true": true, "false": true, "yes": true, "no": true, "on": true, "off": true, "y": true, "n": true}
)
