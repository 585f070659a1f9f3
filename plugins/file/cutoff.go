package file

// This file removes a line that was cut off, because the process was killed or the disk was full in
// the middle of a write. Its event was not acknowledged, so that it is written again.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxCutOff is the size from which on the file with removed lines is begun again.
const maxCutOff = 1 << 20

// removeCutOff moves an incomplete last line to the end of another file, because it may also be of
// another program that omits the last line end. readings.csv has readings~cut.csv. It returns the
// size that is left.
func (a *Action) removeCutOff(ctx context.Context, root *os.Root, name string, f *os.File, size int64) (int64, error) {
	end, err := a.complete(ctx, f, size)
	if err != nil || end == size {
		return size, err
	}
	ext := filepath.Ext(name)
	cut := strings.TrimSuffix(name, ext) + "~cut" + ext
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE | nonblock
	switch info, err := root.Stat(cut); {
	case err == nil && !info.Mode().IsRegular():
		return 0, notAFile(cut, info.Mode())
	case err == nil && info.Size() > maxCutOff:
		flags |= os.O_TRUNC
	}
	to, err := root.OpenFile(cut, flags, 0o644)
	if err != nil {
		return 0, err
	}
	defer to.Close()
	if _, err := io.Copy(to, io.NewSectionReader(f, end, size-end)); err != nil {
		return 0, err
	}
	if _, err := to.Write([]byte{'\n'}); err != nil {
		return 0, err
	}
	if a.o.Sync {
		if err := to.Sync(); err != nil {
			return 0, err
		}
	}
	if now, err := f.Stat(); err != nil {
		return 0, err
	} else if now.Size() != size {
		return 0, fmt.Errorf("%s is written by another program at this moment", name)
	}
	if err := f.Truncate(end); err != nil {
		return 0, err
	}
	a.env.Log().Warn("the last line of a file was incomplete; it was moved", "file", filepath.Join(a.o.Folder, name), "to", filepath.Join(a.o.Folder, cut))
	return end, nil
}

// complete returns the size of the complete lines of a file. In CSV a quoted value may contain line
// ends, so that the file is read from its beginning.
func (a *Action) complete(ctx context.Context, f *os.File, size int64) (int64, error) {
	const chunk = 64 << 10
	b := make([]byte, chunk)
	if len(a.head) == 0 {
		for at := size; at > 0; {
			n := min(at, chunk)
			at -= n
			if _, err := f.ReadAt(b[:n], at); err != nil {
				return 0, err
			}
			if i := bytes.LastIndexByte(b[:n], '\n'); i >= 0 {
				return at + int64(i) + 1, nil
			}
		}
		return 0, nil
	}
	r := io.NewSectionReader(f, 0, size)
	end, quoted := int64(0), false
	for at := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := r.Read(b)
		for i, c := range b[:n] {
			switch {
			case c == '"':
				quoted = !quoted
			case c == '\n' && !quoted:
				end = at + int64(i) + 1
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return end, nil
		}
		if err != nil {
			return 0, err
		}
	}
}
