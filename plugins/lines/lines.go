// Package lines cuts a stream into lines of bounded length, for the kinds that read sockets, pipes and
// files. It serves the clients of a stream socket, each line an event (Server), and sends lines over a
// connection that is made again when it broke (Sender).
//
// What a Reader promises: a line is at most Max bytes; a longer one is cut there, the rest is skipped, and
// Cut counts it. A final line without a newline is a line. Memory is one line and a 4 KiB buffer. A read
// that was interrupted by a deadline loses nothing: the next goes on where it was.
package lines

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"unicode/utf8"
)

// MaxLine is the usual bound of a line, in bytes.
const MaxLine = 64 << 10

// Reader reads lines. It is for one goroutine.
type Reader struct {
	b          *bufio.Reader
	max        int
	line       []byte
	cut        int
	unfinished bool // line is the beginning of one, whose rest is still to come
	over       bool // it is longer than max already
	again      bool // Next returns last once more
	last       []byte
	long       bool // last was cut
}

// NewReader reads lines of at most max bytes from r; MaxLine when max is 0.
func NewReader(r io.Reader, max int) *Reader {
	l := &Reader{b: bufio.NewReader(r)}
	l.Limit(max)
	return l
}

// Limit changes the bound of the lines that come.
func (r *Reader) Limit(max int) {
	if max <= 0 {
		max = MaxLine
	}
	r.max = max
}

// Next returns the next line without its "\n" or "\r\n", valid until the next call. At the end the error
// is io.EOF; a read error is returned after what came before it, except os.ErrDeadlineExceeded: that is
// returned at once, and the next call goes on within the line.
func (r *Reader) Next() ([]byte, error) {
	if r.again {
		r.again = false
		if r.long {
			r.cut++
		}
		return r.last, nil
	}
	if !r.unfinished {
		r.line, r.over = r.line[:0], false
	}
	for {
		part, err := r.b.ReadSlice('\n')
		r.unfinished = r.unfinished || len(part) > 0
		if room := r.max + 2 - len(r.line); room > 0 { // two more for the line's end
			r.line = append(r.line, part[:min(room, len(part))]...)
		}
		r.over = r.over || len(r.line) >= r.max+2 && !bytes.HasSuffix(r.line, []byte("\r\n"))
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, os.ErrDeadlineExceeded) || err != nil && !r.unfinished:
			return nil, err
		}
		r.unfinished = false
		r.last = bytes.TrimSuffix(bytes.TrimSuffix(r.line, []byte("\n")), []byte("\r"))
		if r.long = r.over || len(r.last) > r.max; r.long {
			r.cut++
			r.last = r.last[:min(len(r.last), r.max)]
		}
		return r.last, nil
	}
}

// Again makes the next call of Next return the line of the last one once more, and count it as cut if it was.
func (r *Reader) Again() { r.again = true }

// Unfinished reports whether a line has begun that has not ended.
func (r *Reader) Unfinished() bool { return r.unfinished }

// Waiting is how many lines, also unfinished ones, were read and not returned yet.
func (r *Reader) Waiting() int {
	data, _ := r.b.Peek(r.b.Buffered()) // as many as there are
	n := bytes.Count(data, []byte("\n"))
	if rest := data[bytes.LastIndexByte(data, '\n')+1:]; len(rest) > 0 || n == 0 && r.unfinished {
		n++
	}
	if r.again {
		n++
	}
	return n
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

// JSON is the line's value when it is one JSON value, else nil. A byte order mark before it is passed over, as RFC 8259 allows.
func JSON(line []byte) any {
	line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\ufeff")))
	if len(line) == 0 || !bytes.ContainsRune([]byte(`{["-0123456789tfn`), rune(line[0])) {
		return nil
	}
	var v any
	if json.Unmarshal(line, &v) != nil {
		return nil
	}
	return v
}
