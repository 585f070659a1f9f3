// Package lines cuts a stream into lines of bounded length, for the kinds that read sockets, pipes
// and files. It serves the clients of a stream socket, each line an event (Server), and sends lines
// over a connection that reconnects when broken (Sender).
//
// What a Reader promises: a line is at most Max bytes. A longer line is cut there, the remainder is
// skipped, and Cut counts it. A final line without a newline is a line. Memory is one line and a 4
// KiB buffer. A read that a deadline interrupted loses nothing: the next read continues at the same
// position. A stream that begins with the byte order mark of UTF-16 is cut and decoded as such.
package lines

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/postbus/postbus/plugins/payload"
)

// MaxLine is the usual bound of a line, in bytes.
const MaxLine = 64 << 10

// Reader reads lines. Only one goroutine may use it.
type Reader struct {
	b          *bufio.Reader
	max        int
	line       []byte
	cut        int
	unfinished bool // line is the beginning of a line that is not complete
	over       bool // it exceeds max already
	again      bool // Next returns last once more
	last       []byte
	long       bool // last was cut

	read  int           // bytes consumed of the stream
	pos   int           // bytes consumed of the stream, modulo 2 from the second on
	head  [2]byte       // the stream's first bytes
	units payload.Units // as the first bytes declare
	half  bool          // the low byte of a possible newline is consumed, the high one is not
	prev  byte          // the last consumed byte
}

// NewReader reads lines of at most max bytes from r; MaxLine when max is 0.
func NewReader(r io.Reader, max int) *Reader {
	l := &Reader{b: bufio.NewReader(r)}
	l.Limit(max)
	return l
}

// Limit changes the bound of later lines.
func (r *Reader) Limit(max int) {
	if max <= 0 {
		max = MaxLine
	}
	r.max = max
}

// Next returns the next line without its "\n" or "\r\n", valid until the next call. At the end the
// error is io.EOF. A read error is returned after the data before it, except
// os.ErrDeadlineExceeded: that is returned at once, and the next call continues within the line.
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
		part, ended, err := r.piece()
		r.unfinished = r.unfinished || len(part) > 0
		end := r.end()
		limit := r.max + 2 // room for the line's end
		if r.units != payload.Bytes {
			limit = 2 * (limit + 1) // room for the mark
		}
		if room := limit - len(r.line); room > 0 {
			r.line = append(r.line, part[:min(room, len(part))]...)
		}
		r.over = r.over || len(r.line) >= limit && !bytes.HasSuffix(r.line, end)
		switch {
		case err == nil && !ended:
			continue
		case errors.Is(err, os.ErrDeadlineExceeded) || err != nil && !r.unfinished:
			return nil, err
		}
		r.unfinished = false
		r.last = r.line
		if r.units != payload.Bytes {
			r.last = r.units.Decode(r.line)
		}
		r.last = bytes.TrimSuffix(bytes.TrimSuffix(r.last, []byte("\n")), []byte("\r"))
		if r.long = r.over || len(r.last) > r.max; r.long {
			r.cut++
			r.last = r.last[:min(len(r.last), r.max)]
		}
		return r.last, nil
	}
}

// end returns the longest line end, as the stream encodes it.
func (r *Reader) end() []byte {
	if r.units == payload.Bytes {
		return []byte("\r\n")
	}
	return append(r.units.Unit('\r'), r.units.Unit('\n')...)
}

// piece returns the next part of a line, valid until the next call; ended marks the last part. In
// UTF-16 a byte with a newline's value may be half of another character: its position in the stream
// tells which half it is.
func (r *Reader) piece() (part []byte, ended bool, err error) {
	if r.half {
		high, err := r.b.ReadByte()
		if err != nil {
			return nil, false, err
		}
		r.half = false
		r.pos++
		r.prev = high
		return []byte{high}, high == 0, nil
	}
	part, err = r.b.ReadSlice('\n')
	ended = err == nil
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	if len(part) == 0 {
		return part, ended, err
	}
	if r.pos < len(r.head) {
		if copy(r.head[r.pos:], part) == len(r.head)-r.pos {
			r.units = payload.UnitsOf(r.head[:])
		}
	}
	r.read += len(part)
	before := r.prev
	if len(part) > 1 {
		before = part[len(part)-2]
	}
	r.prev = part[len(part)-1]
	if r.pos += len(part); r.pos > 2 {
		r.pos = 2 + r.pos%2
	}
	even := r.pos%2 == 0 // the last byte was the second of its unit
	switch {
	case !ended || r.units == payload.Bytes:
	case r.units == payload.HighFirst:
		ended = even && before == 0
	default:
		r.half, ended = !even, false
	}
	return part, ended, err
}

// Again makes the next call of Next return the last line once more, and count it as cut if it was.
func (r *Reader) Again() { r.again = true }

// Unfinished reports whether an incomplete line was read.
func (r *Reader) Unfinished() bool { return r.unfinished }

// Waiting returns how many lines, including an unfinished one, were read and not returned yet.
func (r *Reader) Waiting() int {
	data, _ := r.b.Peek(r.b.Buffered()) // all that are buffered
	n := bytes.Count(data, []byte("\n"))
	if rest := data[bytes.LastIndexByte(data, '\n')+1:]; len(rest) > 0 || n == 0 && r.unfinished {
		n++
	}
	if r.again {
		n++
	}
	return n
}

// Cut returns how many lines exceeded the bound since the last call.
func (r *Reader) Cut() int {
	n := r.cut
	r.cut = 0
	return n
}

// Buffered returns how many bytes were read and not returned yet.
func (r *Reader) Buffered() int { return r.b.Buffered() }

// Text returns a line as text, by the rules of package payload.
func Text(line []byte) string { return payload.Text(line) }
