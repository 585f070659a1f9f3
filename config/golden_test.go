// This file compares testdata/*.bad.yaml with their exact messages. A first line "# env:
// NAME=value" sets the environment.

package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbus/postbus/config/yamlnode"
)

var update = flag.Bool("update", false, "write testdata/*.txt anew")

func TestMessages(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d cases, want at least 30 (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var env []string
			for _, line := range strings.Split(string(data), "\n") {
				if kv, ok := strings.CutPrefix(line, "# env: "); ok {
					env = append(env, kv)
				}
			}
			_, err = Parse(filepath.Base(file), data, env)
			var errs yamlnode.Errors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("want errors, got %v", err)
			}
			got := errs.Render() + "\n"
			golden := strings.TrimSuffix(file, ".bad.yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v (go test -run TestMessages -update writes it)", err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
