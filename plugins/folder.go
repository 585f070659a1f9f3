package plugins

// This file reads the plugins folder: its files, their changes, and their errors.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/postbus/postbus/config/yamlnode"
)

const (
	ending   = ".yaml"
	disabled = ".yaml.off"
)

// relevant reports whether a name in the folder may be a plugin's.
func relevant(name string) bool {
	return !hidden(name) && (strings.HasSuffix(name, ending) || strings.HasSuffix(name, disabled) || misnamed(name))
}

// watched reports whether a change of a file in the folder may change a plugin.
func (s *Supervisor) watched(name string) bool {
	if relevant(name) {
		return true
	}
	scripts := s.scripts.Load()
	return scripts != nil && (*scripts)[name]
}

// misnamed reports whether a file is meant to be a plugin but has the wrong ending.
func misnamed(name string) bool {
	lower := strings.ToLower(name)
	return strings.HasSuffix(lower, ".yml") || strings.HasSuffix(lower, ending) && !strings.HasSuffix(name, ending)
}

// IsPluginFile reports whether a file of this name in the plugins folder is, or is meant to be, a
// plugin that is not disabled.
func IsPluginFile(name string) bool { return relevant(name) && !strings.HasSuffix(name, disabled) }

// hidden reports whether a name is a leftover of an editor or a shell.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") || strings.HasSuffix(name, "~")
}

// known is the state of a plugin's file.
type known struct {
	file       string // name in the folder
	hash       string
	spec       *Spec           // of this content
	errors     yamlnode.Errors // of this content, or why it is unreadable
	good       *Spec           // of the newest valid content that was accepted
	disabled   bool
	tables     []tableFile // which decide the result, too
	lastLogged string      // the last refusal that was logged
}

// scan sets every plugin's goal from its file. ctx is the plugins' lifetime.
func (s *Supervisor) scan(ctx context.Context) {
	found, err := s.find()
	if err != nil {
		if !s.lost {
			s.lost = true
			s.o.Logger.Error("plugins folder not readable: running plugins continue", "folder", s.o.Dir, "err", err)
		}
		s.once.Do(func() { close(s.ready) })
		return
	}
	if s.lost {
		s.lost = false
		s.o.Logger.Info("plugins folder is readable again", "folder", s.o.Dir)
	}
	goals := s.judge(found)
	for id := range s.files {
		if _, ok := goals[id]; !ok {
			delete(s.files, id)
			s.sweep.arm()
			s.setGoal(ctx, id, goal{gone: true})
		}
	}
	for id, g := range goals {
		s.setGoal(ctx, id, g)
	}
	s.once.Do(func() {
		s.sweep.arm()
		close(s.ready)
	})
}

// entry is one file of the folder.
type entry struct {
	id, name string
	disabled bool
	problem  error // why the file cannot be a plugin
}

// find lists the plugin files, ordered by name. Of x.yaml and x.yaml.off only the first counts.
func (s *Supervisor) find() ([]entry, error) {
	list, err := os.ReadDir(s.o.Dir)
	if err != nil {
		return nil, err
	}
	var out []entry
	for _, f := range list {
		name := f.Name()
		id, off := strings.CutSuffix(name, disabled)
		if !off {
			id = strings.TrimSuffix(name, ending)
		}
		if relevant(name) {
			out = append(out, entry{id: id, name: name, disabled: off})
		}
	}
	slices.SortStableFunc(out, func(a, b entry) int { return strings.Compare(a.id, b.id) })
	folded := map[string]entry{}
	kept := out[:0]
	for _, e := range out {
		if f, ok := folded[strings.ToLower(e.id)]; ok && f.id != e.id {
			e.problem = fmt.Errorf("%s and %s differ in capital letters only: rename one", f.name, e.name)
		} else if ok {
			continue // x.yaml precedes x.yaml.off
		} else {
			folded[strings.ToLower(e.id)] = e
		}
		kept = append(kept, e)
	}
	return kept, nil
}

// judge checks the changed files and decides each plugin's goal.
func (s *Supervisor) judge(found []entry) map[string]goal {
	approved := s.approvals()
	for _, e := range found {
		s.read(e)
	}
	// A running plugin keeps its claims; a new plugin that conflicts with them is refused.
	order := slices.Clone(found)
	slices.SortStableFunc(order, func(a, b entry) int {
		x, y := s.files[a.id].good != nil, s.files[b.id].good != nil
		switch {
		case x && !y:
			return -1
		case y && !x:
			return 1
		}
		return 0
	})
	taken := map[string]string{}
	goals := map[string]goal{}
	scripts := map[string]bool{}
	for _, e := range order {
		k := s.files[e.id]
		g := goal{file: e.name, hash: k.hash, errors: k.errors, disabled: k.disabled}
		current := false // the good version is that of the file, and is approved
		switch {
		case k.disabled:
			k.good = nil
		case k.spec != nil:
			if err := claim(taken, e.name, k.spec.claims()); err != nil {
				g.errors = errorsOf(s.shown(e.name), err.Error(),
					"change one of the two, or disable it: mv x.yaml x.yaml.off")
				break
			}
			next := k.spec
			if need := k.spec.Approval(); len(need) > 0 {
				if next = k.spec.approvedAs(approved[e.id], s.o.Dir); next == nil {
					g.approve, g.pending = need, k.spec
					break
				}
			}
			if k.good == nil || k.good.version() != next.version() {
				k.good = next
				s.sweep.arm()
			}
			current = true
		case k.good != nil:
			_ = claim(taken, e.name, k.good.claims())
		}
		// A version that is no longer approved stops, even if the file on disk is another version.
		if k.good != nil && !current && len(k.good.Approval()) > 0 && k.good.approvedAs(approved[e.id], s.o.Dir) == nil {
			k.good = nil
		}
		k.spec.addScripts(s.o.Dir, scripts)
		if !current {
			k.good.addScripts(s.o.Dir, scripts)
		}
		g.spec = k.good
		s.logRefusal(e, k, g)
		goals[e.id] = g
	}
	s.scripts.Store(&scripts)
	return goals
}

// shown is a file's name in messages.
func (s *Supervisor) shown(name string) string { return filepath.Join(filepath.Base(s.o.Dir), name) }

// read reads one file and checks it if its content changed.
func (s *Supervisor) read(e entry) {
	k := s.files[e.id]
	if k == nil {
		k = &known{}
		s.files[e.id] = k
	}
	k.file = e.name
	if k.disabled = e.disabled; e.disabled {
		k.hash, k.spec, k.errors, k.tables = "", nil, nil, nil
		return
	}
	data, err := ReadFile(filepath.Join(s.o.Dir, e.name))
	if e.problem != nil {
		err = e.problem
	}
	if err != nil {
		list := errorsOf(s.shown(e.name), err.Error(), "")
		if h := hintOf(err); h != "" {
			list[0].Hint = h
		}
		k.hash, k.spec, k.errors, k.tables = "", nil, list, nil
		return
	}
	hash := Hash(data)
	if hash == k.hash && !slices.ContainsFunc(k.tables, func(t tableFile) bool { return t.changed(s.o.Dir) }) {
		return
	}
	k.hash = hash
	if err := safely(func() error {
		k.spec, k.errors, k.tables = s.checker.check(e.id, s.shown(e.name), data)
		return nil
	}); err != nil { // a bug in the program, which must not stop the other plugins
		s.printPanic("checking "+e.name, err)
		k.spec, k.errors = nil, errorsOf(s.shown(e.name), "an internal error occurred while checking this file: "+err.Error(), "report this bug, with the file and the log")
	}
}

// logRefusal logs each refusal once.
func (s *Supervisor) logRefusal(e entry, k *known, g goal) {
	text := ""
	if len(g.errors) > 0 {
		text = g.errors.Render()
	} else if len(g.approve) > 0 {
		text = k.hash
	}
	if k.lastLogged == text {
		return
	}
	k.lastLogged = text
	for _, m := range g.errors {
		s.o.Logger.Error("plugin file refused: "+m.Error(), "plugin", e.id, "hint", m.Hint)
	}
	if len(g.approve) > 0 {
		s.o.Logger.Warn("plugin waits for approval", "plugin", e.id,
			"wants", g.approve, "hint", "postbus plugin approve "+e.id)
	}
}

// fileProblem states why a file cannot be read as a plugin.
type fileProblem struct{ reason, hint string }

func (e *fileProblem) Error() string { return e.reason }
func (e *fileProblem) Hint() string  { return e.hint }

// ReadFile reads a plugin file of at most 1 MiB. It does not block: a file that is not regular is
// an error.
func ReadFile(name string) ([]byte, error) {
	if misnamed(name) {
		return nil, &fileProblem{"plugin files end in " + ending, "rename it"}
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, &fileProblem{"the file is not readable by this user", "chmod a+r it, or change its owner to the user that postbus runs as"}
	case errors.Is(err, fs.ErrNotExist):
		if _, lerr := os.Lstat(name); lerr == nil {
			return nil, &fileProblem{"the target of the symbolic link does not exist", "fix or remove the link"}
		}
		return nil, &fileProblem{"the file no longer exists", ""}
	case err != nil:
		return nil, &fileProblem{"the file cannot be opened: " + reasonOf(err).Error(), ""}
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case st.IsDir():
		return nil, &fileProblem{"it is a folder, not a file", "plugins are files directly in the plugins folder"}
	case !st.Mode().IsRegular():
		return nil, &fileProblem{"it is not a regular file", "a plugin is a plain text file"}
	case st.Size() > yamlnode.MaxSize:
		return nil, &fileProblem{fmt.Sprintf("the file has %d bytes, more than the maximum of %d (1MiB)",
			st.Size(), yamlnode.MaxSize), ""}
	}
	data, err := io.ReadAll(io.LimitReader(f, yamlnode.MaxSize+1))
	if err != nil {
		return nil, &fileProblem{"the file cannot be read: " + err.Error(), ""}
	}
	return data, nil
}
