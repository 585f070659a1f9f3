package main

// This file runs the tests in plugin files: of the shipped examples, of the samples that `plugin
// new` prints, and of those in the README. It compares the reference page with the program.

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postbus/postbus/config/examples"
	"github.com/postbus/postbus/plugins"
)

func checkText(t *testing.T, id, text string, tested bool) {
	t.Helper()
	c := &plugins.Checker{Catalog: catalog(), Dir: "/plugins.d", Host: "pi"}
	spec, errs := c.Check(id, id+".yaml", []byte(text))
	if len(errs) > 0 {
		t.Errorf("%s", errs.Render())
		return
	}
	if tested && spec.Tests() == 0 {
		t.Errorf("%s has no tests", id)
	}
}

func TestExamplePlugins(t *testing.T) {
	list, err := fs.Glob(examples.Plugins, "plugins/*.yaml")
	if err != nil || len(list) < 12 {
		t.Fatalf("%d examples, want a dozen (%v)", len(list), err)
	}
	for _, file := range list {
		text, err := examples.Plugins.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		checkText(t, strings.TrimSuffix(path.Base(file), ".yaml"), string(text), true)
	}
}

func TestSamples(t *testing.T) {
	for _, k := range catalog().Kinds() {
		checkText(t, k.Name, k.Sample, true)
		// Every option must be described, because users have only the reference.
		if len(k.About) < 40 {
			t.Errorf("%s says too little about itself", k.Name)
		}
	}
}

// TestDocumentedPlugins checks every YAML block of the docs that is a complete plugin file.
func TestDocumentedPlugins(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	n := 0
	for _, file := range []string{"../../README.md", "../../docs/plugins.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "source") && !strings.Contains(m[1], "listen:\n") {
				n++
				checkText(t, "documented", m[1], false)
			}
		}
	}
	if n < 2 {
		t.Errorf("only %d plugin files are in the docs", n)
	}
}

// TestReferencePages compares the pages with the program; none is left of a kind that is gone.
func TestReferencePages(t *testing.T) {
	pages := catalog().Reference()
	if *update {
		if err := os.MkdirAll("../../docs/"+plugins.ReferencePages, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range pages {
		golden(t, "../../docs/"+name, string(text))
	}
	there, err := filepath.Glob("../../docs/" + plugins.ReferencePages + "/*")
	if err != nil || len(there) != len(pages)-1 {
		t.Errorf("%d pages in docs/%s, want %d (%v)", len(there), plugins.ReferencePages, len(pages)-1, err)
	}
}
