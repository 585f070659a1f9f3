package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postbus/postbus/plugins"
)

// TestRecipes runs the tests of every recipe. A CSV block with a comment that names it is a file beside the plugin.
func TestRecipes(t *testing.T) {
	text, err := os.ReadFile("../../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```(yaml|csv)\n(.*?)```")
	recipes := strings.Split(string(text), "\n### ")[1:]
	if len(recipes) < 40 {
		t.Errorf("%d recipes, want at least 40", len(recipes))
	}
	for _, recipe := range recipes {
		title, _, _ := strings.Cut(recipe, "\n")
		dir, tested := t.TempDir(), false
		for _, m := range block.FindAllStringSubmatch(recipe, -1) {
			if m[1] == "csv" {
				name, table, _ := strings.Cut(strings.TrimPrefix(m[2], "# "), "\n")
				if err := os.WriteFile(filepath.Join(dir, name), []byte(table), 0o600); err != nil {
					t.Fatal(err)
				}
				continue
			}
			c := &plugins.Checker{Catalog: catalog(), Dir: dir, Host: "pi"}
			spec, errs := c.Check("recipe", "recipe.yaml", []byte(m[2]))
			if len(errs) > 0 {
				t.Errorf("%s: %s", title, errs.Render())
				continue
			}
			for _, w := range spec.Warnings() {
				t.Errorf("%s: %s", title, w)
			}
			tested = spec.Tests() > 0
		}
		if !tested && !t.Failed() {
			t.Errorf("%s: the recipe has no tests", title)
		}
	}
	t.Logf("%d recipes", len(recipes))
}
