package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var documents = []string{"raspberry-pi.md", "desktop.md"}

// build builds the program for a machine.
func build(t *testing.T, goos, goarch string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "postbus")
	c := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "..")
	c.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("building postbus: %v\n%s", err, text)
	}
	return program
}

// TestFiles lets the program check every file of the documents, and run the tests in them.
func TestFiles(t *testing.T) {
	program := build(t, "", "")
	for _, name := range documents {
		blocks, err := read(name)
		if err != nil {
			t.Fatal(err)
		}
		plugins := 0
		for _, b := range blocks {
			if b.kind != "yaml" {
				continue
			}
			file := filepath.Join(t.TempDir(), filepath.Base(b.path))
			if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"plugin", "check", file}, {"plugin", "test", file}} {
				if filepath.Base(b.path) == "postbus.yaml" {
					continue // TestDocuments runs with it
				}
				cmd := exec.Command(program, args...)
				cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+withSecrets(t, b.text))
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Errorf("%s:%d: postbus %s: %v\n%s", name, b.line, strings.Join(args, " "), err, out)
				}
				plugins++
			}
		}
		if plugins == 0 {
			t.Errorf("%s has no plugins", name)
		}
	}
}

var secretName = regexp.MustCompile(`secret[:.]([A-Za-z0-9_-]+)`)

// withSecrets returns a folder of configs with the secrets that a plugin file names, without which its check fails.
func withSecrets(t *testing.T, plugin string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	secrets := filepath.Join(folder, "postbus", "secrets")
	if err := os.MkdirAll(secrets, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, m := range secretName.FindAllStringSubmatch(plugin, -1) {
		if err := os.WriteFile(filepath.Join(secrets, m[1]), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestMissing(t *testing.T) {
	got := "doorbell   running  3\nbackoff: there is no GPIO17\n"
	if m := missing("doorbell running 3\nthere is … GPIO17", got); len(m) > 0 {
		t.Errorf("missing %q", m)
	}
	if m := missing("GPIO17\ndoorbell", got); len(m) != 1 {
		t.Errorf("the order doesn't count: %q", m)
	}
}
