// This file parses a document.

package docs

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// block is a fenced part of a document.
type block struct {
	line int    // of the document
	kind string // sh, pc, other, pi, text or yaml
	path string // of yaml
	text string
}

var fileLine = regexp.MustCompile(`^# ((?:~|/)[^ :]*\.yaml)`)

// read returns the blocks of a document. Every block must be of a known kind.
func read(name string) ([]block, error) {
	text, err := os.ReadFile("../../../docs/" + name)
	if err != nil {
		return nil, err
	}
	var list []block
	var in *block
	for i, line := range strings.Split(string(text), "\n") {
		fence, ok := strings.CutPrefix(line, "```")
		switch {
		case in != nil && line == "```":
			if in.kind == "yaml" {
				m := fileLine.FindStringSubmatch(in.text)
				if m == nil {
					return nil, fmt.Errorf("%s:%d: the first line of a file says its path", name, in.line)
				}
				in.path = m[1]
			}
			list, in = append(list, *in), nil
		case in != nil:
			in.text += line + "\n"
		case ok:
			kind := strings.TrimPrefix(fence, "sh ")
			if !slices.Contains([]string{"sh", "pc", "other", "pi", "text", "yaml", "html"}, kind) {
				return nil, fmt.Errorf("%s:%d: what is %q?", name, i+1, line)
			}
			in = &block{line: i + 1, kind: kind}
		}
	}
	if in != nil {
		return nil, fmt.Errorf("%s:%d: the block has no end", name, in.line)
	}
	return list, nil
}

// missing returns the lines of want that are not in got, in order, where … matches anything and
// spaces don't count.
func missing(want, got string) []string {
	got = strings.Join(strings.Fields(got), " ")
	var list []string
	for line := range strings.Lines(want) {
		at := pattern(line).FindStringIndex(got)
		if at == nil {
			list = append(list, strings.TrimSpace(line))
			continue
		}
		got = got[at[1]:]
	}
	return list
}

// pattern returns a regular expression for a line of a document, where … matches anything and
// spaces don't count.
func pattern(line string) *regexp.Regexp {
	text := regexp.QuoteMeta(strings.Join(strings.Fields(line), " "))
	return regexp.MustCompile("(?i)" + regexp.MustCompile(` ?… ?`).ReplaceAllString(text, ".*?"))
}
