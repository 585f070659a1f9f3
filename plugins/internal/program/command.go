// This file checks commands, finds the program of one, and builds its environment.

package program

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Check reports what is wrong with a command in a file, without looking for the program.
func Check(args []string) error {
	if len(args) == 0 || args[0] == "" {
		return errors.New("there is no program to run")
	}
	for i, a := range args {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("item %d contains a NUL character", i+1)
		}
	}
	name := args[0]
	switch {
	case strings.HasPrefix(name, "./") && slices.Contains(strings.Split(name, "/"), ".."):
		return fmt.Errorf("%s leads out of the plugins folder; write the whole path", name)
	case len(args) == 1 && strings.ContainsAny(name, " \t"):
		return fmt.Errorf("%q is one word with spaces; a command is a list, [program, argument, argument], and no shell reads it", name)
	case strings.HasPrefix(name, "./") || filepath.IsAbs(name) || !strings.ContainsAny(name, `/\`):
		return nil
	}
	return fmt.Errorf("%s: a program is a name that is looked up in PATH, ./name in the plugins folder, or a whole path", name)
}

// CheckEnv reports what is wrong with the additions to an environment.
func CheckEnv(env map[string]string) error {
	for k, v := range env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0) {
			return fmt.Errorf("%q can't be the name of an environment variable, or its value contains a NUL character", k)
		}
	}
	return nil
}

// Resolve returns the program's path: ./name is in base, other names are found by PATH. The error
// says what to do.
func Resolve(base string, args []string) (string, error) {
	if err := Check(args); err != nil {
		return "", err
	}
	name := args[0]
	if !strings.HasPrefix(name, "./") {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("%s can't be run: %w", name, reason(err))
		}
		return path, nil
	}
	path, err := exec.LookPath(filepath.Join(base, filepath.FromSlash(name)))
	switch {
	case errors.Is(err, os.ErrPermission):
		return "", fmt.Errorf("%s can't be run: it isn't executable (chmod +x %s)", name, filepath.Join(base, name))
	case err != nil:
		return "", fmt.Errorf("%s can't be run from %s: %w", name, base, reason(err))
	}
	return path, nil
}

// reason returns the cause of err without the name, which the message already contains.
func reason(err error) error {
	var e *exec.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// Access is the program's name in the list of what a plugin has access to.
func Access(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	return []string{"exec:" + args[0]}
}

// inherited are the only variables that a child inherits from our environment.
var inherited = []string{"PATH", "HOME", "LANG", "TZ"}

// environment returns the child's environment, sorted. Package os/exec adds SYSTEMROOT on Windows,
// which every program needs there.
func environment(more map[string]string) []string {
	env := []string{}
	for _, k := range inherited {
		if v, ok := os.LookupEnv(k); ok {
			if _, own := more[k]; !own {
				env = append(env, k+"="+v)
			}
		}
	}
	for k, v := range more {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	return env
}
