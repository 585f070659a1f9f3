package main

// This file tests the errors about bad plugin files: testdata/badplugins/*.bad.yaml and the exact
// text. go test ./cmd/postbus -run TestBadPlugins -update writes the texts again: read the
// difference.

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbus/postbus/plugins"
)

var update = flag.Bool("update", false, "write testdata/badplugins/*.txt and the pages of the reference anew")

func TestBadPlugins(t *testing.T) {
	files, err := filepath.Glob("testdata/badplugins/*.bad.yaml")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d files, want at least 60 (%v)", len(files), err)
	}
	c := &plugins.Checker{Catalog: catalog(), Dir: "/plugins.d", Host: "pi"}
	c.Secret = func(name string) error {
		if strings.HasPrefix(name, "absent") {
			return plugins.FindSecret([]string{"/etc/postbus/secrets"}, name)
		}
		return nil
	}
	for _, file := range files {
		id := strings.TrimSuffix(filepath.Base(file), ".bad.yaml")
		t.Run(id, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := *c
			if own, err := filepath.Abs(filepath.Join("testdata/badplugins", id)); err != nil {
				t.Fatal(err)
			} else if _, err := os.Stat(own); err == nil {
				c.Dir = own // files beside the plugin
			}
			spec, errs := c.Check(id, id+".yaml", data)
			if spec != nil || len(errs) == 0 {
				t.Fatal("no mistake is found")
			}
			for _, e := range errs {
				if e.Line == 0 || e.Col == 0 {
					t.Errorf("no place: %s", e)
				}
			}
			golden(t, strings.TrimSuffix(file, ".bad.yaml")+".txt", errs.Render()+"\n")
		})
	}
}

// golden compares with a file, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
