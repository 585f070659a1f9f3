// This file edits the users and groups of a config file. The YAML parser locates them, and only their
// own lines change: comments, blank lines and the style of everything else stay. Where the text has a
// form that this file does not support, the parser writes the whole document again, comments
// included. In both cases the file is written only if the result contains the wanted users and groups,
// and everything else unchanged.

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

// userFile is a config file that is being edited.
type userFile struct {
	file   string
	mode   os.FileMode
	text   []byte
	doc    yaml.Node
	list   *yaml.Node // the sequence of users; nil: there is none
	groups *yaml.Node // the mapping of groups; nil: there is none
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
	f.text, f.doc, f.list, f.groups = text, yaml.Node{}, nil, nil
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
	if v := value(root, "groups"); v != nil && v.Tag != "!!null" {
		if v.Kind != yaml.MappingNode {
			return fmt.Errorf("%s: groups is not a mapping", f.file)
		}
		f.groups = v
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

// user returns a user as it is in the file, which may have errors elsewhere.
func (f *userFile) user(name string) (u yamlUser, ok bool) {
	i := f.find(name)
	return u, i >= 0 && f.list.Content[i].Decode(&u) == nil
}

func (f *userFile) hasGroup(name string) bool {
	return f.groups != nil && value(f.groups, name) != nil
}

// members lists the users in a group.
func (f *userFile) members(group string) (names []string) {
	if f.list == nil {
		return nil
	}
	for _, n := range f.list.Content {
		var u yamlUser
		if n.Decode(&u) == nil && slices.Contains(u.Groups, group) {
			names = append(names, u.Name)
		}
	}
	return names
}

// checkUser reports the errors that the config would report for a user.
func (f *userFile) checkUser(u yamlUser) error {
	groups := map[string]any{}
	if f.groups != nil {
		for i := 0; i+1 < len(f.groups.Content); i += 2 {
			groups[f.groups.Content[i].Value] = yamlGroup{}
		}
	}
	// The check of one user is not about the files of TLS.
	listen := map[string]any{"tls": map[string]string{"cert": "x", "key": "x", "client_ca": "x"}}
	return checkPart(fmt.Sprintf("user %q", u.Name), map[string]any{"groups": groups, "users": []yamlUser{u}, "listen": listen})
}

// checkPart reports the first error of a config.
func checkPart(what string, part map[string]any) error {
	text, err := yaml.Marshal(part)
	if err != nil {
		return err
	}
	_, err = config.Parse("", text, nil)
	var list yamlnode.Errors
	if errors.As(err, &list) {
		return withHint(fmt.Errorf("%s: %s", what, list[0].Reason), "%s", list[0].Hint)
	}
	return err
}

func (f *userFile) add(u config.User) error {
	user := yamlUserOf(u)
	return f.change(func(ls lines) lines {
		switch {
		case f.canAppend("users", f.list):
			return appendKey(ls, "users:", "  - "+flow(user))
		case f.list == nil || f.list.Style&yaml.FlowStyle != 0 || len(f.list.Content) == 0:
			return nil
		}
		last := f.list.Content[len(f.list.Content)-1]
		at := ls.end(last.Line, f.list.Column)
		return slices.Insert(ls, at, strings.Repeat(" ", f.list.Column-1)+"- "+flow(user))
	}, func() {
		if n := node(user); n != nil {
			f.list = f.section("users", f.list, yaml.SequenceNode)
			f.list.Content = append(f.list.Content, n)
		}
	}, func(root map[string]any) {
		list, _ := root["users"].([]any)
		root["users"] = append(list, plain(user))
	})
}

// canAppend reports whether a key that is missing can be written at the end of the file.
func (f *userFile) canAppend(key string, found *yaml.Node) bool {
	root := f.root()
	return root == nil || found == nil && value(root, key) == nil && root.Style&yaml.FlowStyle == 0
}

func appendKey(ls lines, more ...string) lines {
	if n := len(ls); n > 0 && strings.TrimSpace(ls[n-1]) != "" {
		ls = append(ls, "")
	}
	return append(ls, more...)
}

// section returns the value of a top-level key, and makes it when it is missing.
func (f *userFile) section(key string, found *yaml.Node, kind yaml.Kind) *yaml.Node {
	if found != nil {
		return found
	}
	root := f.root()
	if root == nil {
		root = &yaml.Node{Kind: yaml.MappingNode}
		f.doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}}
	}
	n := &yaml.Node{Kind: kind}
	putNode(root, key, n)
	return n
}

// putNode gives a key of a mapping a value; nil removes the key.
func putNode(m *yaml.Node, key string, v *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value != key {
			continue
		}
		if v == nil {
			m.Content = slices.Delete(m.Content, i, i+2)
			return
		}
		v.LineComment = m.Content[i+1].LineComment
		m.Content[i+1] = v
		return
	}
	if v != nil {
		m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, v)
	}
}

// set gives a key of a user a value; a zero value removes the key.
func (f *userFile) set(name, key string, v any) error {
	i := f.find(name)
	m := f.list.Content[i]
	if m.Kind != yaml.MappingNode {
		return fmt.Errorf("%s: the user %q is not a mapping", f.file, name)
	}
	text, n := "", (*yaml.Node)(nil)
	if !zero(v) {
		text, n = flow(v), node(v)
	}
	return f.change(func(ls lines) lines { return ls.put(m, key, key, text) }, func() { putNode(m, key, n) }, func(root map[string]any) {
		list, _ := root["users"].([]any)
		if user, ok := list[i].(map[string]any); ok {
			if text == "" {
				delete(user, key)
			} else {
				user[key] = plain(v)
			}
		}
	})
}

func (f *userFile) setPassword(name, hash string) error { return f.set(name, "password", hash) }

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
	}, func(root map[string]any) {
		list, _ := root["users"].([]any)
		root["users"] = slices.Delete(list, i, i+1)
	})
}

// setGroup writes a group; nil removes it.
func (f *userFile) setGroup(name string, g *yamlGroup) error {
	text, n := "", (*yaml.Node)(nil)
	if g != nil {
		text, n = flow(*g), node(*g)
	}
	written := name
	if !plainKey.MatchString(name) || reserved[strings.ToLower(name)] {
		written = strconv.Quote(name)
	}
	return f.change(func(ls lines) lines {
		switch {
		case f.canAppend("groups", f.groups):
			return appendKey(ls, "groups:", "  "+written+": "+text)
		case f.groups == nil, g == nil && len(f.groups.Content) == 2 && f.groups.Style&yaml.FlowStyle == 0:
			return nil
		}
		return ls.put(f.groups, name, written, text)
	}, func() {
		f.groups = f.section("groups", f.groups, yaml.MappingNode)
		putNode(f.groups, name, n)
		if len(f.groups.Content) == 0 {
			f.groups.Style = yaml.FlowStyle
		}
	}, func(root map[string]any) {
		groups, _ := root["groups"].(map[string]any)
		if groups == nil {
			groups = map[string]any{}
			root["groups"] = groups
		}
		if g == nil {
			delete(groups, name)
		} else {
			groups[name] = plain(*g)
		}
	})
}

// change tries the edit of the text first, and then the edit of the nodes. want makes the content that
// must result of the content before.
func (f *userFile) change(text func(lines) lines, nodes func(), want func(root map[string]any)) error {
	wanted, err := content(f.text)
	if err != nil {
		return fmt.Errorf("%s: %w", f.file, err)
	}
	want(wanted)
	fits := func(out []byte) bool {
		got, err := content(out)
		return err == nil && reflect.DeepEqual(got, wanted)
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
			return f.parse(out)
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
		return withHint(fmt.Errorf("%s: the form of users and groups in this file cannot be edited automatically", f.file),
			"edit the file by hand; nothing was changed")
	}
	return f.parse(b.Bytes())
}

// content returns a text's content.
func content(text []byte) (map[string]any, error) {
	root := map[string]any{}
	err := yaml.Unmarshal(text, &root)
	return root, err
}

// save writes the file in one step.
func (f *userFile) save() error {
	if err := os.MkdirAll(filepath.Dir(f.file), 0o755); err != nil {
		return err
	}
	return writeAtomic(f.file, f.text, f.mode)
}
