package plugins

// This file is "tables": values from files beside the plugin file, which expressions can read.

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/payload"
)

const (
	maxTables = 20
	maxTable  = 4 << 20 // bytes of a table's file
)

// tableKinds are the endings of tables.
var tableKinds = []string{".csv", ".json", ".yaml", ".yml"}

// tableFile is the state of a table's file when it was read.
type tableFile struct {
	name string // below the plugins folder
	at   time.Time
	size int64 // -1: it could not be read
}

// tables reads {NAME: FILE}.
func (f *fileReader) tables(n yamlnode.Node) {
	m, ok := n.Map()
	if !ok {
		return
	}
	if m.Len() > maxTables {
		n.FailKey("", "there are %d tables, at most %d are allowed", m.Len(), maxTables)
		return
	}
	tables := map[string]any{}
	var names []string
	for i := range m.Len() {
		name, v := m.Entry(i)
		file, ok := v.Text()
		if !ok {
			continue
		}
		names = append(names, name)
		switch {
		case !nameForm.MatchString(name):
			v.FailKey("letters, digits and _", "%q cannot be a name", name)
			continue
		case !slices.Contains(tableKinds, strings.ToLower(filepath.Ext(file))):
			v.Fail("its name ends in "+strings.Join(tableKinds, ", "), "%q has no known format", file)
			continue
		case !filepath.IsLocal(file):
			v.Fail("write a name such as rooms.csv", "%q is outside of the plugins folder", file)
			continue
		}
		data, seen, err := readTable(f.Dir, file)
		f.seen = append(f.seen, seen)
		var table any
		if err == nil {
			f.contents = append(f.contents, Hash(data))
			table, err = parseTable(file, data)
		}
		if err != nil {
			v.Fail(hintOf(err), "%s%v", file, err)
			continue
		}
		tables[name] = table
	}
	f.spec.tables = tables
	f.named("tables", names)
}

// readTable reads a table's file. Errors begin with a colon.
func readTable(dir, name string) (data []byte, seen tableFile, err error) {
	seen = tableFile{name: name, size: -1}
	file, st, err := openTable(dir, name)
	if err != nil {
		return nil, seen, err
	}
	defer file.Close()
	seen.at, seen.size = st.ModTime(), st.Size()
	if st.Size() > maxTable {
		return nil, seen, fmt.Errorf(": the file has %d bytes, at most %d (4MiB) are allowed", st.Size(), maxTable)
	}
	data, err = io.ReadAll(io.LimitReader(file, maxTable+1))
	if err != nil {
		return nil, seen, fmt.Errorf(": %w", reasonOf(err))
	}
	return data, seen, nil
}

// openTable opens a regular file below the plugins folder, which a symbolic link does not leave.
func openTable(dir, name string) (*os.File, os.FileInfo, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, fmt.Errorf(": the plugins folder can't be opened: %w", missing(err))
	}
	defer root.Close()
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // which does not wait at a pipe
	if err != nil {
		return nil, nil, &fileProblem{": the file can't be opened: " + missing(err).Error(), "its place is beside the plugin file, in the plugins folder"}
	}
	st, err := file.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf(": %w", reasonOf(err))
	}
	return file, st, nil
}

// missing is the cause of a file's error, in the same words on all systems if there is no such file.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("there is none of this name")
	}
	return reasonOf(err)
}

// changed reports whether the file is another one than when it was read.
func (t tableFile) changed(dir string) bool {
	file, st, err := openTable(dir, t.name)
	if err != nil {
		return t.size >= 0
	}
	file.Close()
	return st.Size() != t.size || !st.ModTime().Equal(t.at)
}

// tablesChanged reports whether a table of any plugin has another content than when it was read.
func (s *Supervisor) tablesChanged() bool {
	for _, k := range s.files {
		if slices.ContainsFunc(k.tables, func(t tableFile) bool { return t.changed(s.o.Dir) }) {
			return true
		}
	}
	return false
}

// parseTable reads the content of a table. Errors begin with a colon.
func parseTable(name string, data []byte) (any, error) {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv":
		return csvTable(data)
	case ".json":
		v, ok := payload.JSON(data)
		if !ok {
			return nil, jsonFault(data)
		}
		return v, nil
	case ".yaml", ".yml":
		d, err := yamlnode.Parse(name, data)
		if err == nil {
			if v, ok := plain(d.Root()); ok {
				return v, nil
			}
			err = d.Errors()
		}
		var list yamlnode.Errors
		if errors.As(err, &list) && len(list) > 0 {
			return nil, fmt.Errorf(":%d: %s", list[0].Line, list[0].Reason)
		}
		return nil, errors.New(": this is not YAML")
	}
	return nil, errors.New(": the format is not known")
}

// jsonFault says where data is not JSON.
func jsonFault(data []byte) error {
	var v any
	err := json.Unmarshal(data, &v)
	var at *json.SyntaxError
	if errors.As(err, &at) {
		return fmt.Errorf(":%d: %s", 1+bytes.Count(data[:min(int(at.Offset), len(data))], []byte("\n")), err)
	}
	return errors.New(": this is not JSON of at most 1 MiB and 1,000 levels")
}

// csvTable reads a table whose first line has the names of its columns. The first column has the key of each row.
func csvTable(data []byte) (map[string]any, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	r := csv.NewReader(bytes.NewReader(data))
	if head, _, _ := bytes.Cut(data, []byte("\n")); !bytes.ContainsRune(head, ',') && bytes.ContainsRune(head, ';') {
		r.Comma = ';' // of spreadsheets in countries with a decimal comma
	}
	r.TrimLeadingSpace = true
	head, err := r.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, &fileProblem{": the file is empty", "its first line has the names of the columns"}
	case err != nil:
		return nil, csvFault(err)
	}
	for i, name := range head {
		if slices.Contains(head[:i], name) {
			return nil, &fileProblem{fmt.Sprintf(":1: two columns have the heading %q", name), "rename one of them"}
		}
	}
	table := map[string]any{}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return table, nil
		}
		if err != nil {
			return nil, csvFault(err)
		}
		if _, twice := table[row[0]]; twice {
			line, _ := r.FieldPos(0)
			return nil, &fileProblem{fmt.Sprintf(":%d: there is a row for %q already", line, row[0]), "the first column has a key for each row"}
		}
		m := make(map[string]any, len(row))
		for i, cell := range row {
			m[head[i]] = cellValue(cell)
		}
		m[head[0]] = row[0]
		table[row[0]] = m
	}
}

func csvFault(err error) error {
	var at *csv.ParseError
	if errors.As(err, &at) {
		return fmt.Errorf(":%d:%d: %w", at.Line, at.Column, at.Err)
	}
	return fmt.Errorf(": %w", err)
}

// cellValue is the value of a cell: a number if it is written as in JSON, nil if it is empty.
func cellValue(cell string) any {
	if cell == "" {
		return nil
	}
	if c := cell[len(cell)-1]; c < '0' || c > '9' {
		return cell
	}
	if n, err := strconv.ParseInt(cell, 10, 64); err == nil && strconv.FormatInt(n, 10) == cell {
		return n
	}
	if v, ok := payload.JSON([]byte(cell)); ok {
		if _, is := number(v); is {
			return v
		}
	}
	return cell
}

// named adds a variable of the whole file, with the names below it.
func (f *fileReader) named(name string, below []string) {
	if f.scope.Named == nil {
		f.scope.Named = map[string]expr.Type{}
	}
	f.scope.Named[name] = expr.TypeMap
	f.member(name, below)
}
