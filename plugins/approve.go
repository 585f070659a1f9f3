package plugins

// This file is consent: a plugin that runs commands waits until a user has approved the exact
// content of its file, and of the scripts in the plugins folder that it runs. Approvals are a file in
// the data folder that only its owner may write.

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/postbus/postbus/plugins/kind"
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

// maxScript is the maximum size of a script that can be approved, in bytes.
const maxScript = 32 << 20

// contents describes the scripts of a source or an action: a line for each, with the hash of its
// content. An error says why a script can't be approved.
func contents(options any, folder string) (string, error) {
	s, ok := options.(kind.Scripter)
	if !ok {
		return "", nil
	}
	var b strings.Builder
	for _, path := range s.Scripts(folder) {
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return "", err
		}
		hash, err := hashFile(path)
		if err != nil {
			return "", fmt.Errorf("./%s: %w", filepath.ToSlash(name), err)
		}
		fmt.Fprintf(&b, "%s %s\n", hash, strconv.Quote("./"+filepath.ToSlash(name)))
	}
	return b.String(), nil
}

// scriptOf reads one line of contents.
func scriptOf(line string) (hash, name string) {
	hash, quoted, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	name, _ = strconv.Unquote(quoted)
	return hash, name
}

// noFile stands for the hash of a file that doesn't exist.
const noFile = "none"

// hashFile returns the hash of a file's content.
func hashFile(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // which does not wait at a pipe
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL):
		return noFile, nil
	case err != nil:
		return "", reasonOf(err)
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return "", reasonOf(err)
	case st.IsDir():
		return noFile, nil
	case !st.Mode().IsRegular():
		return "", errors.New("it is not a regular file")
	case st.Size() > maxScript:
		return "", fmt.Errorf("it has %d bytes, and a program in the plugins folder at most %d (32MiB): move it elsewhere and give its whole path", st.Size(), maxScript)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxScript+1)); err != nil {
		return "", reasonOf(err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// reasonOf returns the cause of a file's error, without the path.
func reasonOf(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// ApprovalHash is what a user approves: the content of the file and of its scripts as they are now.
func (s *Spec) ApprovalHash(folder string) (string, error) {
	hash, _, err := s.approval(folder)
	return hash, err
}

// approval also returns the contents for each of allOptions.
func (s *Spec) approval(folder string) (hash string, all []string, err error) {
	for _, options := range s.allOptions() {
		c, err := contents(options, folder)
		if err != nil {
			return "", nil, err
		}
		all = append(all, c)
	}
	text := strings.Join(all, "")
	if text == "" {
		return s.Hash, all, nil
	}
	return Hash([]byte(s.Hash + "\n" + text)), all, nil
}

// allOptions lists the options of all sources and actions.
func (s *Spec) allOptions() (all []any) {
	for _, src := range s.sources {
		all = append(all, src.options)
	}
	for _, r := range s.rules {
		if r.action != nil {
			all = append(all, r.action.options)
		}
	}
	return all
}

// approvedAs returns the version of the file that may run with the scripts as they are now. If the
// approval is for other scripts, or a script can't be read, it returns nil. Sources and actions whose
// script has changed have another hash, so that they are started again.
func (s *Spec) approvedAs(approval, folder string) *Spec {
	if approval == "" {
		return nil
	}
	now, all, err := s.approval(folder)
	if err != nil || now != approval {
		return nil
	}
	v := *s
	v.approved, v.sources, v.rules = approval, slices.Clone(s.sources), slices.Clone(s.rules)
	next := func(hash *string, scripts *string) {
		if *scripts, all = all[0], all[1:]; *scripts != "" {
			*hash = Hash([]byte(*hash + "\n" + *scripts))
		}
	}
	for i, src := range v.sources { // in the order of allOptions
		src := *src
		next(&src.hash, &src.scripts)
		v.sources[i] = &src
	}
	for i, r := range v.rules {
		if r.action != nil {
			r, a := *r, *r.action
			next(&a.hash, &a.scripts)
			r.action = &a
			v.rules[i] = &r
		}
	}
	return &v
}

// Scripts describes for people the scripts that the approval covers.
func (s *Spec) Scripts(folder string) (list []string) {
	for _, options := range s.allOptions() {
		all, err := contents(options, folder)
		if err != nil {
			list = append(list, err.Error())
		}
		for line := range strings.Lines(all) {
			hash, name := scriptOf(line)
			if text := fmt.Sprintf("the content of %s (%.12s)", commandLine([]string{name}), hash); hash != noFile && !slices.Contains(list, text) {
				list = append(list, text)
			}
		}
	}
	return list
}

// version identifies what runs: the content of the file and, if it needs an approval, of its scripts.
func (s *Spec) version() string { return cmp.Or(s.approved, s.Hash) }

// addScripts adds the names of files directly in the folder that the plugin's approval covers. s may be
// nil.
func (s *Spec) addScripts(folder string, names map[string]bool) {
	if s == nil {
		return
	}
	for _, options := range s.allOptions() {
		if sc, ok := options.(kind.Scripter); ok {
			for _, path := range sc.Scripts(folder) {
				if filepath.Dir(path) == folder {
					names[filepath.Base(path)] = true
				}
			}
		}
	}
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
		m = nil
	}
	if s.o.Approved != nil && s.approved != nil {
		for _, id := range slices.Sorted(maps.Keys(m)) {
			if s.approved[id] != m[id] {
				s.o.Approved(id, m[id], true)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(s.approved)) {
			if m[id] == "" {
				s.o.Approved(id, s.approved[id], false)
			}
		}
	}
	if s.approved = m; m == nil {
		s.approved = map[string]string{}
	}
	return m
}
