// Package lines cuts a stream into lines of bounded length, for the kinds that read sockets, pipes and
// files.
//
// What it promises: a line is at most Max bytes; a longer one is cut there, the rest is skipped, and
// Cut counts it. A final line without a newline is a line. Memory is one line and a 4 KiB buffer.
package lines

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"
)

// MaxLine is the usual bound of a line, in bytes.
const MaxLine = 64 << 10

// Reader reads lines. It is for one goroutine.
type Reader struct {
	b    *bufio.Reader
	max  int
	line []byte
	cut  int
}

// NewReader reads lines of at most max bytes from r; MaxLine when max is 0.
func NewReader(r io.Reader, max int) *Reader {
	if max <= 0 {
		max = MaxLine
	}
	return &Reader{b: bufio.NewReader(r), max: max}
}

// Next returns the next line without its "\n" or "\r\n", valid until the next call. At the end the error
// is io.EOF; a read error is returned after what came before it.
func (r *Reader) Next() ([]byte, error) {
	r.line = r.line[:0]
	over, any := false, false
	for {
		part, err := r.b.ReadSlice('\n')
		any = any || len(part) > 0
		if room := r.max + 2 - len(r.line); room > 0 { // two more for the line's end
			r.line = append(r.line, part[:min(room, len(part))]...)
		}
		over = over || len(r.line) >= r.max+2 && !bytes.HasSuffix(r.line, []byte("\r\n"))
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !any:
			return nil, err
		}
		line := bytes.TrimSuffix(bytes.TrimSuffix(r.line, []byte("\n")), []byte("\r"))
		if over || len(line) > r.max {
			r.cut++
			line = line[:r.max]
		}
		return line, nil
	}
}

// Cut is how many lines were longer than the bound since the last call.
func (r *Reader) Cut() int {
	n := r.cut
	r.cut = 0
	return n
}

// Buffered is how many bytes were read and not returned yet.
func (r *Reader) Buffered() int { return r.b.Buffered() }

// Text is a line as text: what is not UTF-8 is replaced.
func Text(line []byte) string {
	if utf8.Valid(line) {
		return string(line)
	}
	return string(bytes.ToValidUTF8(line, []byte("\uFFFD")))
}

// JSON is the line's value when it is one JSON value, else nil.
func JSON(line []byte) any {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || !bytes.ContainsRune([]byte(`{["-0123456789tfn`), rune(line[0])) {
		return nil
	}
	var v any
	if json.Unmarshal(line, &v) != nil {
		return nil
	}
	return v
}
