// Package userfile edits the users and groups of a config file.
//
// It promises:
//
//   - Only the lines of what an edit changes change. The YAML parser locates them; comments, blank lines
//     and the style of everything else stay, byte for byte. Where the text has a form that the edit of
//     lines does not support, the parser writes the whole document again, comments included.
//   - In both cases the result is used only if it has the wanted users and groups and everything else
//     unchanged. Otherwise the edit returns an error and the file stays as it is.
//   - Two edits at the same time are applied one after the other, whichever programs make them: see
//     Edit. What an editor saves meanwhile is not lost either.
//   - The file is replaced in one step. Its mode stays, and its owner where the system allows that.
//
// An edit need not make a valid config, and the file need not be one, because adding a user may make it
// valid: the caller checks with package config. The package hashes no passwords.
package userfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/yamlnode"
)

// Placeholder replaces a hash while the other settings of a user are checked.
const Placeholder = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// Error is an error with a hint what to do.
type Error struct {
	Err  error
	hint string
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap implements errors.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what to do; it may be empty.
func (e *Error) Hint() string { return e.hint }

// File is a config file that is being edited. Methods that take the name of a user need one that Has
// knows.
type File struct {
	file   string
	exists bool
	mode   os.FileMode
	read   []byte // the content when it was read
	text   []byte
	doc    yaml.Node
	list   *yaml.Node // the sequence of users; nil: there is none
	groups *yaml.Node // the mapping of groups; nil: there is none
}

// Open reads a file, for looking at it; Edit edits one. A file that does not exist is empty. The error
// is a yamlnode.Errors if the content is not YAML that postbus reads.
func Open(file string) (*File, error) {
	f := &File{file: file, mode: 0o600}
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
		f.exists, f.mode, f.read = true, st.Mode().Perm(), text
	}
	return f, f.parse(text)
}

// Text returns the content with the edits that were made. The caller does not change it.
func (f *File) Text() []byte { return f.text }

// Exists reports whether the file existed when it was read.
func (f *File) Exists() bool { return f.exists }

// parse parses a content. It need not be a valid config, because adding a user may make it valid.
func (f *File) parse(text []byte) error {
	if _, err := yamlnode.Parse(f.file, text); err != nil {
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
func (f *File) root() *yaml.Node {
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

// RuleLine returns the line, from 1, of a rule of "user NAME", "group NAME" or "anonymous". 0: the rules
// are in the file, but the line is not known. ok is false if the file does not have such rules.
func (f *File) RuleLine(source, kind string, index int) (line int, ok bool) {
	var in *yaml.Node
	switch what, name, _ := strings.Cut(source, " "); what {
	case "user":
		if i := f.find(name); i >= 0 {
			in = f.list.Content[i]
		}
	case "group":
		if f.groups != nil {
			in = value(f.groups, name)
		}
	default:
		if root := f.root(); root != nil {
			in = value(root, source)
		}
	}
	if in == nil {
		return 0, false
	}
	if list := value(in, kind); list != nil && index < len(list.Content) {
		line = list.Content[index].Line
	}
	return line, true
}

// find returns the index of a user, or -1.
func (f *File) find(name string) int {
	if f.list == nil {
		return -1
	}
	return slices.IndexFunc(f.list.Content, func(n *yaml.Node) bool {
		v := value(n, "name")
		return v != nil && v.Value == name
	})
}

// Has reports whether there is a user of that name.
func (f *File) Has(name string) bool { return f.find(name) >= 0 }

// User returns a user as it is in the file, which may have errors elsewhere.
func (f *File) User(name string) (u User, ok bool) {
	i := f.find(name)
	return u, i >= 0 && f.list.Content[i].Decode(&u) == nil
}

// HasGroup reports whether there is a group of that name.
func (f *File) HasGroup(name string) bool {
	return f.groups != nil && value(f.groups, name) != nil
}

// Members lists the users in a group.
func (f *File) Members(group string) (names []string) {
	if f.list == nil {
		return nil
	}
	for _, n := range f.list.Content {
		var u User
		if n.Decode(&u) == nil && slices.Contains(u.Groups, group) {
			names = append(names, u.Name)
		}
	}
	return names
}

// CheckUser reports the errors that the config would report for a user.
func (f *File) CheckUser(u User) error {
	groups := map[string]any{}
	if f.groups != nil {
		for i := 0; i+1 < len(f.groups.Content); i += 2 {
			groups[f.groups.Content[i].Value] = Group{}
		}
	}
	// The check of one user is not about the files of TLS.
	listen := map[string]any{"tls": map[string]string{"cert": "x", "key": "x", "client_ca": "x"}}
	return checkPart(fmt.Sprintf("user %q", u.Name), map[string]any{"groups": groups, "users": []User{u}, "listen": listen})
}

// CheckGroup reports the errors that the config would report for a group.
func CheckGroup(name string, g Group) error {
	return checkPart(fmt.Sprintf("group %q", name), map[string]any{"groups": map[string]any{name: g}})
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
		return &Error{fmt.Errorf("%s: %s", what, list[0].Reason), list[0].Hint}
	}
	return err
}

// Add adds a user, whose name no other has.
func (f *File) Add(u config.User) error {
	user := UserOf(u)
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
func (f *File) canAppend(key string, found *yaml.Node) bool {
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
func (f *File) section(key string, found *yaml.Node, kind yaml.Kind) *yaml.Node {
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

// Set gives a key of a user a value of the type that it has in User; a zero value removes the key.
func (f *File) Set(name, key string, v any) error {
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

// SetPassword sets the hash of the password without a name; "" removes it.
func (f *File) SetPassword(name, hash string) error { return f.Set(name, "password", hash) }

// Remove removes a user.
func (f *File) Remove(name string) error {
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

// SetGroup writes a group; nil removes it.
func (f *File) SetGroup(name string, g *Group) error {
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
func (f *File) change(text func(lines) lines, nodes func(), want func(root map[string]any)) error {
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
		return &Error{fmt.Errorf("%s: the form of users and groups in this file cannot be edited automatically", f.file),
			"edit the file by hand; nothing was changed"}
	}
	return f.parse(b.Bytes())
}

// content returns a text's content. Times stay text: where the parser writes a document, it quotes some.
func content(text []byte) (map[string]any, error) {
	root := map[string]any{}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return root, err
	}
	timesAsText(&doc)
	if len(doc.Content) == 0 {
		return root, nil
	}
	err := doc.Decode(&root)
	return root, err
}

func timesAsText(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, c := range n.Content {
		timesAsText(c)
	}
}
