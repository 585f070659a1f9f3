package file

// This file checks the paths that are made of events. os.Root keeps them below the folder, whatever
// they contain; the checks here refuse the others with a clear message, and equally on every
// platform.

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/postbus/postbus/plugins/kind"
)

const (
	maxPath   = 1024 // bytes of a path
	maxName   = 200  // bytes of a name in it; file systems allow 255, and rotation needs some
	maxLevels = 16   // folders of a path
)

// renamed matches the names that rotation and removeCutOff give.
var renamed = regexp.MustCompile(`~([0-9]+|cut)(\.[^.]*)?$`)

// checkPath returns an error if p is not the path of a file below a folder.
func checkPath(p string) error {
	names := strings.Split(p, "/")
	switch {
	case p == "":
		return errors.New("the path is empty")
	case len(p) > maxPath:
		return fmt.Errorf("the path has %d bytes, more than the maximum of %d", len(p), maxPath)
	case len(names) > maxLevels:
		return fmt.Errorf("the path %q has %d levels, more than the maximum of %d", p, len(names), maxLevels)
	case !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl):
		return fmt.Errorf("the path %q has control characters or is not UTF-8", p)
	case strings.Contains(p, `\`):
		return fmt.Errorf("the path %q has a backslash", p)
	case names[0] == "":
		return fmt.Errorf("the path %q is absolute", p)
	}
	for _, n := range names {
		switch {
		case n == "..":
			return fmt.Errorf("the path %q leaves its folder", p)
		case n == "" || n == ".":
			return fmt.Errorf("the path %q has a part that is . or empty", p)
		case len(n) > maxName:
			return fmt.Errorf("the path %q has a name of %d bytes, more than the maximum of %d", p, len(n), maxName)
		}
	}
	if renamed.MatchString(names[len(names)-1]) {
		return fmt.Errorf("the path %q is a name for renamed files", p)
	}
	if !filepath.IsLocal(filepath.FromSlash(p)) { // NUL, COM1, a:b on Windows
		return fmt.Errorf("the path %q has a reserved name", p)
	}
	return nil
}

// classify marks the errors that a retry cannot fix: those that the path causes.
func classify(p string, err error) error {
	switch {
	case err == nil || kind.IsPermanent(err):
		return err
	case strings.Contains(err.Error(), "path escapes from parent"): // package os does not export it
		return kind.Permanent(fmt.Errorf("the path %q leaves its folder through a symbolic link", p))
	}
	for _, e := range []error{syscall.ENOTDIR, syscall.EISDIR, syscall.ENAMETOOLONG, syscall.ELOOP, syscall.EINVAL} {
		if errors.Is(err, e) {
			return kind.Permanent(err)
		}
	}
	return err
}
