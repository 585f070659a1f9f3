package program

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestScripts(t *testing.T) {
	base := t.TempDir()
	for _, name := range []string{"x.py", "x.sh", "state.json", "sub/y.py"} {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ command, dir, want string }{
		{"./x.sh open", "", "x.sh"},
		{"./x.sh state.json", "", "x.sh"}, // its data may change
		{"./gone", "", "gone"},
		{"BASE/x.sh", "", "x.sh"},
		{"/bin/df -h", "", ""},
		{"notify-send x.sh", "", ""},
		{"python3 x.py state.json", "", "x.py"},
		{"python3.11 -u ./x.py state.json", "", "x.py"},
		{"/usr/bin/python3 BASE/x.py", "", "x.py"},
		{"python3 y.py", "BASE/sub", "sub/y.py"},
		{"python3 later.py state.json", "", "later.py state.json"}, // later.py may come
		{"env python3 x.py", "", "python3 x.py"},
		{"sh /etc/profile", "", ""},
		{"sh ../x.sh", "", ""},
		{"", "", ""},
	} {
		c.dir = strings.ReplaceAll(c.dir, "BASE", base)
		var got []string
		for _, path := range Scripts(base, c.dir, strings.Fields(strings.ReplaceAll(c.command, "BASE", base))) {
			name, err := filepath.Rel(base, path)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, filepath.ToSlash(name))
		}
		if !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s in %s: %q, want %q", c.command, c.dir, got, c.want)
		}
	}
}
