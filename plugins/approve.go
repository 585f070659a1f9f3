package plugins

// This file is consent: a plugin that runs commands waits until a user has approved the exact
// content of its file. Approvals are a file in the data folder that only its owner may write.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxCommand is the maximum number of characters of a command that the user sees.
const maxCommand = 200

// Consent describes the list of Approval for people. Of a command it shows all arguments, because
// "sh" alone reveals nothing.
func (s *Spec) Consent() []string {
	var out []string
	add := func(text string) {
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	for _, a := range s.Approval() {
		category, what, _ := strings.Cut(a, ":")
		shown := false
		for _, args := range s.runs {
			if category == "exec" && len(args) > 0 && args[0] == what {
				add("exec " + commandLine(args))
				shown = true
			}
		}
		if !shown {
			add(category + " " + what)
		}
	}
	return out
}

// plainWord matches an argument that needs no quotes.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=,@%+{}-]+$`)

// commandLine formats a command on one line. It quotes ambiguous arguments, escapes invisible
// characters and states how many characters it cut off.
func commandLine(args []string) string {
	var words []string
	for _, a := range args {
		if !plainWord.MatchString(a) {
			a = strconv.Quote(a)
		}
		words = append(words, a)
	}
	line := []rune(strings.Join(words, " "))
	if len(line) <= maxCommand {
		return string(line)
	}
	return fmt.Sprintf("%s… (%d more characters)", string(line[:maxCommand]), len(line)-maxCommand)
}

// ReadApprovals returns the approved hash of each plugin. A missing file is empty.
func ReadApprovals(file string) (map[string]string, error) {
	m := map[string]string{}
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) || file == "":
		return m, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

// EncodeApprovals is the content of the file. The caller must replace the file atomically.
func EncodeApprovals(m map[string]string) ([]byte, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	return append(data, '\n'), err
}

// approvals returns the current approvals; without a readable file no plugin is approved.
func (s *Supervisor) approvals() map[string]string {
	m, err := ReadApprovals(s.o.Approvals)
	if err != nil {
		s.o.Logger.Error("approvals not readable: no plugin counts as approved", "err", err)
		return nil
	}
	return m
}
