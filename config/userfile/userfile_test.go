package userfile

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/config"
)

// hash replaces a hash in these texts: H1, H2.
func hash(n string) string { return strings.Replace(Placeholder, "$AAAA", "$AAA"+n, 1) }

func TestUserFile(t *testing.T) {
	add := func(name string) func(*File) error {
		return func(f *File) error {
			return f.Add(config.User{Name: name, Password: hash("2"), Publish: []string{"#"}})
		}
	}
	remove := func(name string) func(*File) error {
		return func(f *File) error { return f.Remove(name) }
	}
	passwd := func(name string) func(*File) error {
		return func(f *File) error { return f.SetPassword(name, hash("2")) }
	}
	set := func(key string, v any) func(*File) error {
		return func(f *File) error { return f.Set("a", key, v) }
	}
	group := func(name string, g *Group) func(*File) error {
		return func(f *File) error { return f.SetGroup(name, g) }
	}
	const new = `{name: "new", password: "H2", publish: ["#"]}`
	for _, c := range []struct {
		name, text string
		edit       func(*File) error
		want       string
	}{
		{"a bridge", "users:\n  - {name: a, password: \"H1\", bridge: true}\n", func(f *File) error {
			return f.Add(config.User{Name: "new", Password: hash("2"), Publish: []string{"#"}, Bridge: true})
		}, "users:\n  - {name: a, password: \"H1\", bridge: true}\n  - {name: \"new\", password: \"H2\", publish: [\"#\"], bridge: true}\n"},
		{"the first user of an empty file", "", add("new"), "users:\n  - " + new + "\n"},
		{"only comments", "# nothing yet\n", add("new"), "# nothing yet\n\nusers:\n  - " + new + "\n"},
		{"behind other keys", "durability: 1s\n\n\nprofile:   pi # small\n", add("new"), "durability: 1s\n\n\nprofile:   pi # small\n\nusers:\n  - " + new + "\n"},
		{"no final new line", "durability: 1s", add("new"), "durability: 1s\n\nusers:\n  - " + new + "\n"},
		{"behind the last user", "users:\n# kitchen\n- {name: a, password: \"H1\"}   # a\n# the end\nprofile: pi\n", add("new"), "users:\n# kitchen\n- {name: a, password: \"H1\"}   # a\n- " + new + "\n# the end\nprofile: pi\n"},
		{"behind a user of many lines", "users:\n    - name: a\n      password: H1\n      deny:\n        - x\n\nprofile: pi\n", add("new"), "users:\n    - name: a\n      password: H1\n      deny:\n        - x\n    - " + new + "\n\nprofile: pi\n"},
		{"an empty list", "users: [] # none\n", add("new"), "users: [" + new + "] # none\n"},
		{"a list in brackets", "profile: pi\nusers: [{name: a, password: \"H1\"}]\n", add("new"), "profile: pi\nusers: [{name: a, password: \"H1\"}, " + new + "]\n"},
		{"a list in brackets with a time", "users: [{name: a, passwords: [{name: x, hash: \"H1\", expires: 2099-01-01T00:00:00Z}]}]\n", add("new"), "users: [{name: a, passwords: [{name: x, hash: \"H1\", expires: 2099-01-01T00:00:00Z}]}, " + new + "]\n"},
		{"both ends of lines", "profile: pi\nusers:\n  - {name: a, password: \"H1\"}\n  - {name: b, password: \"H1\"}\r\n", remove("b"), "profile: pi\r\nusers:\r\n  - {name: a, password: \"H1\"}\r\n"},
		{"both ends of lines, one more", "profile: pi\nusers:\n  - {name: a, password: \"H1\"}\r\n", add("new"), "profile: pi\r\nusers:\r\n  - {name: a, password: \"H1\"}\r\n  - " + new + "\r\n"},
		{"ends of lines that only YAML knows", "# a\u2028# b\rprofile: pi\nusers:\n  - {name: a, password: \"H1\"}\n", add("new"), "# a\n# b\nprofile: pi\nusers:\n  - {name: a, password: \"H1\"}\n  - " + new + "\n"},
		{"Windows' ends of lines", "profile: pi\r\n", add("new"), "profile: pi\r\n\r\nusers:\r\n  - " + new + "\r\n"},

		{"a quoted password", "users:\n  - {password: \"H1\", name: a} # x\n", passwd("a"), "users:\n  - {password: \"H2\", name: a} # x\n"},
		{"a plain password", "users:\n  - name: a\n    password: H1 # x\n", passwd("a"), "users:\n  - name: a\n    password: \"H2\" # x\n"},
		{"a single-quoted password of the second", "users:\n  - {name: b, password: \"H1\"}\n  - {name: 'ä', password: 'H1'}\n", passwd("ä"), "users:\n  - {name: b, password: \"H1\"}\n  - {name: 'ä', password: \"H2\"}\n"},

		{"the first of two goes", "users:\n  - {name: a, password: \"H1\"}\n  # b\n  - {name: b, password: \"H1\"}\n", remove("a"), "users:\n  # b\n  - {name: b, password: \"H1\"}\n"},
		{"the last of two goes", "users:\n  - {name: a, password: \"H1\"}\n  - name: b\n    password: H1\n# end\nprofile: pi\n", remove("b"), "users:\n  - {name: a, password: \"H1\"}\n# end\nprofile: pi\n"},
		{"the only one goes", "# c\nusers:\n  - {name: a, password: \"H1\"}\nprofile: pi\n", remove("a"), "# c\nusers: []\nprofile: pi\n"},

		{"a list of one line", "users:\n  - name: a   # A\n    publish: [\"x\", y]   # all\n    # secret\n    password: H1\n", set("publish", []string{"z"}), "users:\n  - name: a   # A\n    publish: [\"z\"]   # all\n    # secret\n    password: H1\n"},
		{"a list of many lines", "users:\n  - name: a\n    publish:   # all\n    - x   # one\n    - y\n    # secret\n    password: H1\n", set("publish", []string{"z", "#"}), "users:\n  - name: a\n    publish: [\"z\", \"#\"]   # all\n    # secret\n    password: H1\n"},
		{"a list in the line of the dash", "users:\n- publish: [x]\n  name: a\n  password: H1\n", set("publish", []string{"z"}), "users:\n- publish: [\"z\"]\n  name: a\n  password: H1\n"},
		{"a list that was not there", "users:\n  - name: a\n    password: H1\n\n  # b\n  - {name: b, password: \"H1\"}\n", set("deny", []string{"z"}), "users:\n  - name: a\n    password: H1\n    deny: [\"z\"]\n\n  # b\n  - {name: b, password: \"H1\"}\n"},
		{"a list that goes", "users:\n  - name: a\n    deny:\n      - x\n    password: H1 # x\n", set("deny", []string(nil)), "users:\n  - name: a\n    password: H1 # x\n"},
		{"in braces", "users:\n  - {name: \"a\", deny: [\"x,{\", 'y]'] , password: \"H1\"}   # A\n", set("deny", []string{"z"}), "users:\n  - {name: \"a\", deny: [\"z\"], password: \"H1\"}   # A\n"},
		{"new in braces", "users:\n  - { name: a, password: \"H1\" } # A\n", set("admin", true), "users:\n  - {name: a, password: \"H1\", admin: true} # A\n"},
		{"it goes in braces", "users:\n  - {admin: true, name: a, password: \"H1\"} # A\n", set("admin", false), "users:\n  - {name: a, password: \"H1\"} # A\n"},
		{"braces of many lines", "# c\nusers:\n  - {name: a,\n     password: \"H1\"}\n", set("admin", true), "# c\nusers:\n  - {name: a, password: \"H1\", admin: true}\n"},
		{"a password with a name", "users:\n  - {name: a, password: \"H1\"} # A\n", set("passwords", []Password{{"lap", hash("2"), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)}, {Name: "tv", Hash: hash("3")}}),
			"users:\n  - {name: a, password: \"H1\", passwords: [{name: \"lap\", hash: \"H2\", expires: 2099-01-01T00:00:00Z}, {name: \"tv\", hash: \"H3\"}]} # A\n"},
		{"the only password goes for one with a name", "users:\n  - name: a\n    passwords:\n      - name: lap\n        hash: H1\n        expires: 2099-01-01 # soon\n  # b\n  - {name: b, password: \"H1\"}\n", set("passwords", []Password{{Name: "tv", Hash: hash("3")}}),
			"users:\n  - name: a\n    passwords: [{name: \"tv\", hash: \"H3\"}]\n  # b\n  - {name: b, password: \"H1\"}\n"},

		{"the first group", "profile: pi # small\n", group("g", &Group{Publish: []string{"x"}}), "profile: pi # small\n\ngroups:\n  g: {publish: [\"x\"]}\n"},
		{"a group in braces", "groups: {} # none\n", group("g", &Group{Admin: true}), "groups: {g: {admin: true}} # none\n"},
		{"a further group", "groups:\n  # a\n  a:\n    admin: true\n\n# users\nusers: []\n", group("off", &Group{Deny: []string{"x"}}), "groups:\n  # a\n  a:\n    admin: true\n  \"off\": {deny: [\"x\"]}\n\n# users\nusers: []\n"},
		{"a group with a strange name", "groups:\n  a: {}\n", group("a b: c", &Group{Admin: true}), "groups:\n  a: {}\n  \"a b: c\": {admin: true}\n"},
		{"a group goes", "groups:\n  a: {admin: true} # A\n  # b\n  b:\n    admin: true\n# c\n", group("b", nil), "groups:\n  a: {admin: true} # A\n  # b\n# c\n"},
		{"the only group goes", "groups:\n  a: {admin: true}\nprofile: pi # small\n", group("a", nil), "groups: {}\nprofile: pi # small\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := func(s string) string {
				return strings.NewReplacer("H1", hash("1"), "H2", hash("2"), "H3", hash("3")).Replace(s)
			}
			f := &File{file: "c.yaml"}
			if err := f.parse([]byte(in(c.text))); err != nil {
				t.Fatal(err)
			}
			if err := c.edit(f); err != nil {
				t.Fatal(err)
			}
			got, want := string(f.text), in(c.want)
			// The parser formats names and hashes in its own way.
			if plain := strings.NewReplacer(`"`, "", "'", ""); got != want && plain.Replace(got) != plain.Replace(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if _, err := config.Parse("c.yaml", f.text, nil); err != nil {
				t.Errorf("the result is not valid: %v", err)
			}
		})
	}
}

// FuzzUserFile checks that whatever the file contains, an edit is correct, or an error that leaves
// the file unchanged.
func FuzzUserFile(f *testing.F) {
	for _, text := range []string{"groups: {g: {}}\nusers: [{name: a, publish: [x, 'y}']}]\n", "groups:\n  g:\n    admin: true\nusers:\n- name: a\n  publish:\n  - x # x\n  # y\n", "users:\n  - {name: a, password: x}\r\n", "users: [{name: a}]", "a: 1\rusers:\n- name: a\n  password: 'x'\n- name: b\n", "users: &x\n- &y {name: a, password: *x}\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, edit := range []func(*File) error{
			func(f *File) error { return f.Add(config.User{Name: "new", Password: hash("2")}) },
			func(f *File) error { return f.Remove("a") },
			func(f *File) error { return f.SetPassword("a", hash("2")) },
			func(f *File) error { return f.Set("a", "publish", []string{"x"}) },
			func(f *File) error { return f.Set("a", "publish", []string(nil)) },
			func(f *File) error { return f.SetGroup("new", &Group{Admin: true}) },
			func(f *File) error { return f.SetGroup("g", nil) },
		} {
			u := &File{file: "c.yaml"}
			if u.parse(slices.Clone(text)) != nil {
				return
			}
			if u.find("a") < 0 || u.find("new") >= 0 {
				return
			}
			if err := edit(u); err != nil {
				if !bytes.Equal(u.text, text) {
					t.Errorf("%v, and the text is %q", err, u.text)
				}
				continue
			}
			again := &File{file: "c.yaml"}
			if err := again.parse(u.text); err != nil {
				t.Errorf("%q became %q: %v", text, u.text, err)
			}
		}
	})
}

func TestUserFileRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"broken":  "users: [\n",
		"a list":  "- a\n",
		"no list": "users: everybody\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(file); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
