// This file edits the users of a config file. The YAML parser locates them, and only their own
// lines change: comments, blank lines and the style of everything else stay. Where the text has a
// form that this file does not support, the parser writes the whole document again, comments
// included. In both cases the file is written only if the result contains the wanted users and
// everything else unchanged.

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/yamlnode"
)

// placeholder replaces a hash while the other settings of a user are checked.
const placeholder = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// configFile returns the file that settings name, whether it exists or not.
func (m *Main) configFile(s *settings) (string, error) {
	file := s.file
	if file == "" {
		file = m.getenv("POSTBUS_CONFIG")
	}
	if file == "" {
		p, err := config.DefaultPaths(m.getenv, runtime.GOOS, m.home())
		if p.ConfigFile == "" {
			return "", err
		}
		file = p.ConfigFile
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	// The file behind a link is replaced, not the link.
	if real, err := filepath.EvalSymlinks(file); err == nil {
		return real, nil
	}
	return file, nil
}

type yamlUser struct {
	Name      string   `yaml:"name"`
	Password  string   `yaml:"password"`
	Publish   []string `yaml:"publish,flow,omitempty"`
	Subscribe []string `yaml:"subscribe,flow,omitempty"`
	Deny      []string `yaml:"deny,flow,omitempty"`
	Groups    []string `yaml:"groups,flow,omitempty"`
	Admin     bool     `yaml:"admin,omitempty"`
	ClientID  string   `yaml:"client_id,omitempty"`
	Bridge    bool     `yaml:"bridge,omitempty"`
}

// userFile is a config file that is being edited.
type userFile struct {
	file string
	mode os.FileMode
	text []byte
	doc  yaml.Node
	list *yaml.Node // the sequence of users; nil: there is none
}

func openUserFile(file string) (*userFile, error) {
	f := &userFile{file: file, mode: 0o600}
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		st, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		f.mode = st.Mode().Perm()
	}
	return f, f.parse(text)
}

// parse parses a content. It need not be a valid config, because adding a user may make it valid.
func (f *userFile) parse(text []byte) error {
	if _, err := yamlnode.Parse(f.file, text); err != nil {
		var list yamlnode.Errors
		if errors.As(err, &list) {
			return &configError{where: f.file, list: list}
		}
		return err
	}
	f.text, f.doc, f.list = text, yaml.Node{}, nil
	if err := yaml.Unmarshal(text, &f.doc); err != nil {
		return fmt.Errorf("%s: %w", f.file, err)
	}
	root := f.root()
	if root == nil {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("%s does not hold keys and values", f.file)
	}
	if v := value(root, "users"); v != nil && v.Tag != "!!null" {
		if v.Kind != yaml.SequenceNode {
			return fmt.Errorf("%s: users is not a list", f.file)
		}
		f.list = v
	}
	return nil
}

// root returns the mapping; nil for an empty file.
func (f *userFile) root() *yaml.Node {
	if len(f.doc.Content) == 0 || f.doc.Content[0].Tag == "!!null" {
		return nil
	}
	return f.doc.Content[0]
}

// value returns a mapping's value for a key.
func value(m *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

// find returns the index of a user, or -1.
func (f *userFile) find(name string) int {
	if f.list == nil {
		return -1
	}
	return slices.IndexFunc(f.list.Content, func(n *yaml.Node) bool {
		v := value(n, "name")
		return v != nil && v.Value == name
	})
}

func (f *userFile) has(name string) bool { return f.find(name) >= 0 }

// checkUser reports the errors that the config would report for a user.
func checkUser(u config.User) error {
	text, err := yaml.Marshal(map[string]any{"users": []yamlUser{yamlUser(u)}})
	if err != nil {
		return err
	}
	_, err = config.Parse("", text, nil)
	var list yamlnode.Errors
	if errors.As(err, &list) {
		return withHint(fmt.Errorf("user %q: %s", u.Name, list[0].Reason), "%s", list[0].Hint)
	}
	return err
}

// flow returns a user as one line of YAML.
func flow(u config.User) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{name: %s, password: %s", strconv.Quote(u.Name), strconv.Quote(u.Password))
	for _, r := range []struct {
		key  string
		list []string
	}{{"publish", u.Publish}, {"subscribe", u.Subscribe}, {"deny", u.Deny}, {"groups", u.Groups}} {
		if len(r.list) == 0 {
			continue
		}
		quoted := make([]string, len(r.list))
		for i, s := range r.list {
			quoted[i] = strconv.Quote(s)
		}
		fmt.Fprintf(&b, ", %s: [%s]", r.key, strings.Join(quoted, ", "))
	}
	if u.ClientID != "" {
		b.WriteString(", client_id: " + strconv.Quote(u.ClientID))
	}
	if u.Admin {
		b.WriteString(", admin: true")
	}
	if u.Bridge {
		b.WriteString(", bridge: true")
	}
	return b.String() + "}"
}

func (f *userFile) add(u config.User) error {
	return f.change(func(ls lines) lines {
		switch {
		case f.root() == nil, f.list == nil && value(f.root(), "users") == nil && f.root().Style&yaml.FlowStyle == 0:
			if n := len(ls); n > 0 && strings.TrimSpace(ls[n-1]) != "" {
				ls = append(ls, "")
			}
			return append(ls, "users:", "  - "+flow(u))
		case f.list == nil || f.list.Style&yaml.FlowStyle != 0 || len(f.list.Content) == 0:
			return nil
		}
		last := f.list.Content[len(f.list.Content)-1]
		at := ls.end(last.Line, f.list.Column)
		return slices.Insert(ls, at, strings.Repeat(" ", f.list.Column-1)+"- "+flow(u))
	}, func() {
		var n yaml.Node
		if err := n.Encode(yamlUser(u)); err != nil {
			return
		}
		n.Style = yaml.FlowStyle
		f.sequence().Content = append(f.sequence().Content, &n)
	}, func(users []yamlUser) []yamlUser { return append(users, yamlUser(u)) })
}

// sequence returns the list of users, and makes it when it is missing.
func (f *userFile) sequence() *yaml.Node {
	if f.list != nil {
		return f.list
	}
	root := f.root()
	if root == nil {
		root = &yaml.Node{Kind: yaml.MappingNode}
		f.doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}}
	}
	f.list = &yaml.Node{Kind: yaml.SequenceNode}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "users" {
			root.Content[i+1] = f.list
			return f.list
		}
	}
	root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "users"}, f.list)
	return f.list
}

func (f *userFile) setPassword(name, hash string) error {
	i := f.find(name)
	old := value(f.list.Content[i], "password")
	return f.change(func(ls lines) lines {
		if old == nil || old.Line > len(ls) {
			return nil
		}
		row := []rune(ls[old.Line-1])
		other := string(row[min(old.Column-1, len(row)):])
		for _, token := range []string{strconv.Quote(old.Value), "'" + old.Value + "'", old.Value} {
			if after, ok := strings.CutPrefix(other, token); ok && old.Value != "" {
				ls[old.Line-1] = string(row[:old.Column-1]) + strconv.Quote(hash) + after
				return ls
			}
		}
		return nil
	}, func() {
		if old == nil {
			user := f.list.Content[i]
			old = &yaml.Node{Kind: yaml.ScalarNode}
			user.Content = append(user.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "password"}, old)
		}
		old.SetString(hash)
		old.Style = yaml.DoubleQuotedStyle
	}, func(users []yamlUser) []yamlUser {
		users[i].Password = hash
		return users
	})
}

func (f *userFile) remove(name string) error {
	i := f.find(name)
	return f.change(func(ls lines) lines {
		if f.list.Style&yaml.FlowStyle != 0 || len(f.list.Content) == 1 {
			return nil
		}
		from := ls.dash(f.list.Content[i].Line, f.list.Column)
		to := ls.end(f.list.Content[i].Line, f.list.Column)
		if from < 0 {
			return nil
		}
		return slices.Delete(ls, from, to)
	}, func() {
		f.list.Content = slices.Delete(f.list.Content, i, i+1)
		if len(f.list.Content) == 0 {
			f.list.Style = yaml.FlowStyle
		}
	}, func(users []yamlUser) []yamlUser { return slices.Delete(users, i, i+1) })
}

// lines is a text's lines, without line ends.
type lines []string

// dash returns the index of the line with the dash of the list item whose content begins at line
// (from 1).
func (ls lines) dash(line, column int) int {
	for i := min(line, len(ls)) - 1; i >= 0; i-- {
		if trimmed := strings.TrimLeft(ls[i], " "); strings.HasPrefix(trimmed, "-") && len(ls[i])-len(trimmed) == column-1 {
			return i
		}
	}
	return -1
}

// end returns the index of the line after a list item that begins at line (from 1) and whose dash
// is in column: every line that is indented further belongs to it.
func (ls lines) end(line, column int) int {
	end := line
	for i := line; i < len(ls); i++ {
		trimmed := strings.TrimLeft(ls[i], " \t")
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		if len(ls[i])-len(trimmed) < column {
			break
		}
		end = i + 1
	}
	return end
}

// change tries the edit of the text first, and then the edit of the nodes. want returns the users
// that must result.
func (f *userFile) change(text func(lines) lines, nodes func(), want func([]yamlUser) []yamlUser) error {
	users, other, err := split(f.text)
	if err != nil {
		return fmt.Errorf("%s: %w", f.file, err)
	}
	users = want(users)
	fits := func(out []byte) bool {
		gotUsers, gotOther, err := split(out)
		return err == nil && reflect.DeepEqual(gotOther, other) && slices.EqualFunc(gotUsers, users, sameUser)
	}
	eol := "\n"
	if bytes.Contains(f.text, []byte("\r\n")) {
		eol = "\r\n"
	}
	var ls lines
	body := strings.ReplaceAll(string(f.text), "\r\n", "\n") // a file may have both line ends
	if body = strings.TrimSuffix(body, "\n"); body != "" {
		ls = strings.Split(body, "\n")
	}
	if strings.ContainsAny(body, "\r\u0085\u2028\u2029") {
		ls = nil // YAML counts lines by these, too
	} else {
		ls = text(ls)
	}
	if ls != nil {
		if out := []byte(strings.Join(ls, eol) + eol); fits(out) {
			f.text = out
			return nil
		}
	}
	nodes()
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&f.doc); err != nil {
		return fmt.Errorf("%s: %w", f.file, err)
	}
	if !fits(b.Bytes()) {
		return withHint(fmt.Errorf("%s: the form of users in this file cannot be edited automatically", f.file),
			"edit the file by hand; nothing was changed")
	}
	f.text = b.Bytes()
	return nil
}

func sameUser(a, b yamlUser) bool {
	return a.Name == b.Name && a.Password == b.Password && a.Admin == b.Admin && a.Bridge == b.Bridge && a.ClientID == b.ClientID &&
		slices.Equal(a.Publish, b.Publish) && slices.Equal(a.Subscribe, b.Subscribe) && slices.Equal(a.Deny, b.Deny) && slices.Equal(a.Groups, b.Groups)
}

// split returns a text's users and everything else.
func split(text []byte) ([]yamlUser, map[string]any, error) {
	var u struct {
		Users []yamlUser `yaml:"users"`
	}
	other := map[string]any{}
	if err := yaml.Unmarshal(text, &u); err != nil {
		return nil, nil, err
	}
	if err := yaml.Unmarshal(text, &other); err != nil {
		return nil, nil, err
	}
	delete(other, "users")
	return u.Users, other, nil
}

// save writes the file in one step.
func (f *userFile) save() error {
	if err := os.MkdirAll(filepath.Dir(f.file), 0o755); err != nil {
		return err
	}
	return writeAtomic(f.file, f.text, f.mode)
}
