package program

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"./x.py", "/dev/ttyUSB0"}, ""}, {[]string{"./sub/x.py"}, ""}, {[]string{"date"}, ""}, {[]string{"/bin/my date"}, "one word with spaces"},
		{[]string{"/bin/date", ""}, ""},
		{nil, "no program"}, {[]string{""}, "no program"}, {[]string{"a", "b\x00"}, "item 2"},
		{[]string{"./../x"}, "leads out"}, {[]string{"./a/../../x"}, "leads out"}, {[]string{"../x"}, "a program is"}, {[]string{"sub/x"}, "a program is"},
		{[]string{`sub\x`}, "a program is"}, {[]string{"date -u"}, "no shell reads it"},
	} {
		err := Check(c.args)
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.args, err)
		}
	}
}

func TestCheckEnv(t *testing.T) {
	if err := CheckEnv(map[string]string{"A": "b=c"}); err != nil {
		t.Error(err)
	}
	for _, bad := range []map[string]string{{"": "x"}, {"A=B": ""}, {"A": "\x00"}, {"\x00": ""}} {
		if CheckEnv(bad) == nil {
			t.Errorf("%q", bad)
		}
	}
}

func TestResolve(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes are Unix's")
	}
	base := t.TempDir()
	for name, mode := range map[string]os.FileMode{"x": 0o755, "text": 0o644} {
		if err := os.WriteFile(filepath.Join(base, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ name, want, err string }{
		{"./x", filepath.Join(base, "x"), ""},
		{filepath.Join(base, "x"), filepath.Join(base, "x"), ""},
		{"./text", "", "isn't executable (chmod +x " + base + "/text)"},
		{"./none", "", "./none can't be run from " + base},
		{".", "", "can't be run"},
		{"nosuchprogram", "", "nosuchprogram can't be run: executable file not found"},
		{"x", "", "x can't be run"}, // the plugins folder isn't in PATH
	} {
		got, err := Resolve(base, []string{c.name})
		if got != c.want || (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
	if got, err := Resolve(base, []string{"sh"}); err != nil || !filepath.IsAbs(got) {
		t.Errorf("sh: %q, %v", got, err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("PATH", "/bin")
	t.Setenv("HOME", "/home/x")
	t.Setenv("LANG", "C")
	t.Setenv("TZ", "UTC")
	t.Setenv("SECRET", "no")
	want := []string{"HOME=/home/x", "LANG=de_DE.UTF-8", "PATH=/bin", "TZ=UTC", "X=y"}
	if got := environment(map[string]string{"X": "y", "LANG": "de_DE.UTF-8"}); !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	os.Unsetenv("TZ")
	if got := environment(nil); !reflect.DeepEqual(got, []string{"HOME=/home/x", "LANG=C", "PATH=/bin"}) {
		t.Errorf("%q", got)
	}
}
