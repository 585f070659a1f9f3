package file

// This file renames full files: readings.csv to readings~1.csv, that one to readings~2.csv, and so
// on. A crash between two renames leaves a gap in the numbers, which the next rotation fills.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxRotated is the maximum number of renamed files of a path.
const maxRotated = 1000

// rotate renames a file. If limit is not 0, at most so many renamed ones are left.
func rotate(root *os.Root, name string, limit int) error {
	ext := filepath.Ext(name)
	numbered := func(n int) string { return strings.TrimSuffix(name, ext) + "~" + strconv.Itoa(n) + ext }
	free := 1
	for ; ; free++ {
		_, err := root.Lstat(numbered(free))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		if free == maxRotated && limit == 0 {
			return fmt.Errorf("%s has other columns, and there are %d renamed files of it already; remove some", name, maxRotated)
		}
	}
	if limit > 0 {
		for ; free > limit; free-- {
			if err := root.Remove(numbered(free - 1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	for ; free > 1; free-- {
		if err := root.Rename(numbered(free-1), numbered(free)); err != nil {
			return err
		}
	}
	return root.Rename(name, numbered(1))
}
