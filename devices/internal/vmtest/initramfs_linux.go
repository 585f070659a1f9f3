// This file writes the archive that the machine boots: a cpio archive (format "newc") of the test
// binary and kernel modules.

package vmtest

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// archive is a cpio archive being written;
// Documentation/driver-api/early-userspace/buffer-format.rst.
type archive struct {
	w   *bufio.Writer
	ino int
}

// add writes an entry. mode contains the type, as in stat(2).
func (a *archive) add(name string, mode uint32, major, minor int, data []byte) {
	a.ino++
	fmt.Fprintf(a.w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0)
	a.w.WriteString(name + "\x00")
	a.pad(110 + len(name) + 1)
	a.w.Write(data)
	a.pad(len(data))
}

func (a *archive) pad(n int) {
	for ; n%4 != 0; n++ {
		a.w.WriteByte(0)
	}
}

// initramfs writes the archive: /init, the console, folders to mount on, the modules with their
// order in /modules, and the machine's files.
func initramfs(out, init, kernel string, m Machine) error {
	binary, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	ordered, err := order(kernel, m.Modules)
	if err != nil {
		return err
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	a := &archive{w: bufio.NewWriter(f)}
	made := map[string]bool{".": true}
	folder := func(path string) {
		for i, c := range path + "/" {
			if c == '/' && !made[path[:i]] {
				made[path[:i]] = true
				a.add(path[:i], 0o040755, 0, 0, nil)
			}
		}
	}
	for _, dir := range []string{"dev", "proc", "sys", "tmp"} {
		folder(dir)
	}
	a.add("dev/console", 0o020600, 5, 1, nil)
	a.add("init", 0o100755, 0, 0, binary)
	for _, there := range slices.Sorted(maps.Keys(m.Files)) {
		data, err := os.ReadFile(m.Files[there])
		if err != nil {
			return err
		}
		name := strings.Trim(filepath.Clean(there), "/")
		if dir := filepath.Dir(name); dir != "." {
			folder(dir)
		}
		a.add(name, 0o100755, 0, 0, data)
	}
	var list strings.Builder
	for i, m := range ordered {
		data, err := os.ReadFile(m.path)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("module%d", i)
		a.add(name, 0o100644, 0, 0, data)
		fmt.Fprintf(&list, "%s %s\n", name, m.params)
	}
	a.add("modules", 0o100644, 0, 0, []byte(list.String()))
	a.add("TRAILER!!!", 0, 0, 0, nil)
	return a.w.Flush()
}

type module struct{ path, params string }

// order returns the modules, each after its dependencies. It omits modules that are built into the
// kernel.
func order(kernel string, wanted []string) ([]module, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(kernel+"/lib/modules", func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(d.Name(), ".ko"); ok && err == nil {
			paths[plain(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	builtin, err := one(kernel + "/lib/modules/*/modules.builtin")
	if err != nil {
		return nil, err
	}
	in, err := os.ReadFile(builtin)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(in)) {
		paths[plain(strings.TrimSuffix(filepath.Base(strings.TrimSpace(line)), ".ko"))] = ""
	}
	var list []module
	var add func(name, params string) error
	add = func(name, params string) error {
		path, ok := paths[plain(name)]
		if !ok {
			return fmt.Errorf("the kernel in %s has no module %s", kernel, name)
		}
		if path == "" || slices.ContainsFunc(list, func(m module) bool { return m.path == path }) {
			return nil
		}
		needs, err := depends(path)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := add(n, ""); err != nil {
				return err
			}
		}
		list = append(list, module{path, params})
		return nil
	}
	for _, w := range wanted {
		name, params, _ := strings.Cut(w, " ")
		if err := add(name, params); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func plain(name string) string { return strings.ReplaceAll(name, "-", "_") }

// depends returns a module's dependencies from its section .modinfo: texts "key=value" that end in
// a zero byte.
func depends(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("%s has no .modinfo", path)
	}
	data, err := s.Data()
	if err != nil {
		return nil, err
	}
	for text := range bytes.SplitSeq(data, []byte{0}) {
		if list, ok := bytes.CutPrefix(text, []byte("depends=")); ok && len(list) > 0 {
			return strings.Split(string(list), ","), nil
		}
	}
	return nil, nil
}
