// This file finds the files that are a command's program as much as the command itself.

package program

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// interpreter matches the names of programs that run the file that they are given.
var interpreter = regexp.MustCompile(`(?i)^(sh|bash|dash|ash|zsh|ksh|fish|python|pypy|node|nodejs|deno|bun|ruby|perl|php|lua|luajit|tclsh|rscript|pwsh|powershell|java|uv|npx|env|busybox|sudo|nice|timeout|stdbuf)[0-9.]*(\.exe)?$`)

// Scripts lists the files in the plugins folder base that a command runs, as absolute paths: ./program,
// and what an interpreter or a program such as env is given: its arguments up to the first that is a
// file. An argument that is no file is listed too, because it may become one. Programs elsewhere belong
// to the system, which updates them. dir is the working directory, "" for base.
func Scripts(base, dir string, args []string) []string {
	if len(args) == 0 || base == "" {
		return nil
	}
	if dir == "" {
		dir = base
	}
	var found []string
	add := func(path string) {
		if rel, err := filepath.Rel(base, path); err == nil && rel != "." && filepath.IsLocal(rel) {
			found = append(found, path)
		}
	}
	name := args[0]
	switch {
	case strings.HasPrefix(name, "./"):
		add(filepath.Join(base, filepath.FromSlash(name)))
	case filepath.IsAbs(name):
		add(filepath.Clean(name))
	}
	if !interpreter.MatchString(filepath.Base(name)) {
		return found
	}
	for _, a := range args[1:] {
		if a == "" || strings.HasPrefix(a, "-") {
			continue
		}
		if !filepath.IsAbs(a) {
			a = filepath.Join(dir, filepath.FromSlash(a))
		}
		add(filepath.Clean(a))
		if st, err := os.Stat(a); err == nil && st.Mode().IsRegular() {
			break // what follows are the script's own arguments
		}
	}
	return found
}
