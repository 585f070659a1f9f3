package file

// This file makes the line of an event: text, JSON or CSV.

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxLine is the maximum length of a line, in bytes.
const maxLine = 1 << 20

// line returns the line of an event with its end, or in mode replace the content.
func (a *Action) line(args Args) ([]byte, error) {
	var b []byte
	switch {
	case len(a.o.Columns) > 0:
		values := make([]string, len(a.o.Columns))
		for i, name := range a.o.Columns {
			values[i] = args.Columns[name]
		}
		b = csvLine(values)
		if a.o.Mode == "replace" {
			b = slices.Concat(a.head, b)
		}
	case args.JSON != nil:
		var out bytes.Buffer
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		if err := e.Encode(args.JSON); err != nil {
			return nil, fmt.Errorf("json: %w", err)
		}
		b = out.Bytes()
	default:
		b = []byte(args.Text)
		if a.o.Mode == "append" && !bytes.HasSuffix(b, []byte("\n")) {
			b = append(b, '\n')
		}
	}
	if len(b) > maxLine {
		return nil, fmt.Errorf("the line has %d bytes, more than the maximum of 1 MiB", len(b))
	}
	return b, nil
}

// csvLine returns a record of RFC 4180 with \n as its line end.
func csvLine(values []string) []byte {
	if len(values) == 1 && values[0] == "" {
		return []byte("\"\"\n") // readers skip empty lines
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(values) // a buffer takes everything
	w.Flush()
	return b.Bytes()
}

// maxHead is how much of a file is read for the names of its columns, in bytes.
const maxHead = 64 << 10

// sameColumns reports whether the first record of f is the names of the columns.
func (a *Action) sameColumns(f *os.File) (bool, error) {
	start := make([]byte, len(a.head))
	switch _, err := f.ReadAt(start, 0); {
	case err == nil && bytes.Equal(start, a.head):
		return true, nil
	case err != nil && !errors.Is(err, io.EOF):
		return false, err
	}
	// A spreadsheet may have saved it with a byte order mark, other line ends or other quotes.
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxHead))
	if err != nil {
		return false, err
	}
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(b), "\ufeff")))
	r.FieldsPerRecord = -1
	names, err := r.Read()
	return err == nil && slices.Equal(names, a.o.Columns), nil
}
