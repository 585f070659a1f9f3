// This file encodes and decodes frames, and the tagged values in them.

package pulse

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	headSize = 20      // length, channel, offset (2), flags
	maxFrame = 1 << 20 // of a body
	maxText  = 64 << 10
	maxList  = 4096
	none     = 1<<32 - 1 // no index; and the channel of packets that are not sound
)

// The tags of values.
const (
	tagString  = 't'
	tagNull    = 'N' // a null string, and the end of properties
	tagU32     = 'L'
	tagU8      = 'B'
	tagU64     = 'R'
	tagS64     = 'r'
	tagSpec    = 'a'
	tagBytes   = 'x'
	tagTrue    = '1'
	tagFalse   = '0'
	tagUsec    = 'U'
	tagMap     = 'm'
	tagVolumes = 'v'
	tagList    = 'P'
	tagFormat  = 'f'
)

// limits sets a reader's deadline, as a net.Conn does.
type limits interface{ SetReadDeadline(t time.Time) error }

// readFrame reads the body of one frame. It waits any time for the beginning, and a short time for
// the remainder. The caller owns the slice.
func readFrame(r *bufio.Reader, c limits) ([]byte, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, err
	}
	if c != nil {
		_ = c.SetReadDeadline(time.Now().Add(frameTimeout))
		defer c.SetReadDeadline(time.Time{})
	}
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("in the middle of a frame: %w", err)
	}
	length, channel, flags := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[16:])
	switch {
	case length > maxFrame:
		return nil, fmt.Errorf("a frame of %d bytes, more than %d", length, maxFrame)
	case channel != none:
		return nil, errors.New("sound data, which was not requested")
	case flags != 0:
		return nil, fmt.Errorf("a frame in shared memory (flags %#x), which was not negotiated", flags)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("in the middle of a frame: %w", err)
	}
	return body, nil
}

// reading decodes values from a body. After an error all values are zero, and err keeps the error.
type reading struct {
	b   []byte
	at  int
	err error
}

func (r *reading) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("byte %d: "+format, append([]any{r.at}, args...)...)
	}
}

// more reports whether bytes are left.
func (r *reading) more() bool { return r.err == nil && r.at < len(r.b) }

// take returns n bytes. When fewer are left it returns a few zeros.
func (r *reading) take(n int) []byte {
	if r.err == nil && (n < 0 || n > len(r.b)-r.at) {
		r.fail("%d bytes are missing", n-(len(r.b)-r.at))
	}
	if r.err != nil {
		return make([]byte, min(max(n, 0), 8))
	}
	b := r.b[r.at : r.at+n]
	r.at += n
	return b
}

// tag consumes the tag of a value, which must be this one.
func (r *reading) tag(want byte) {
	if got := r.take(1)[0]; r.err == nil && got != want {
		r.at--
		r.fail("a value of type %q instead of %q", got, want)
	}
}

func (r *reading) raw32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }

func (r *reading) u32() uint32 { r.tag(tagU32); return r.raw32() }
func (r *reading) u8() byte    { r.tag(tagU8); return r.take(1)[0] }
func (r *reading) usec()       { r.tag(tagUsec); r.take(8) }
func (r *reading) spec()       { r.tag(tagSpec); r.take(6) }

func (r *reading) bool() bool {
	switch got := r.take(1)[0]; got {
	case tagTrue:
		return true
	case tagFalse:
		return false
	default:
		r.fail("a value of type %q instead of a boolean", got)
		return false
	}
}

// text decodes a string; a null string is empty.
func (r *reading) text() string {
	switch got := r.take(1)[0]; got {
	case tagNull:
		return ""
	case tagString:
	default:
		r.fail("a value of type %q instead of a text", got)
		return ""
	}
	for i, c := range r.b[r.at:min(len(r.b), r.at+maxText+1)] {
		if c == 0 {
			return string(r.take(i + 1)[:i])
		}
	}
	r.fail("a text without an end, or of more than %d bytes", maxText)
	return ""
}

// channelMap skips the positions of channels.
func (r *reading) channelMap() { r.tag(tagMap); r.take(int(r.take(1)[0])) }

// volumes decodes one number for each channel.
func (r *reading) volumes() []uint32 {
	r.tag(tagVolumes)
	n := int(r.take(1)[0])
	var out []uint32
	for range n {
		if v := r.raw32(); r.err == nil {
			out = append(out, v)
		}
	}
	return out
}

// properties decodes a list of properties, without those that are not text.
func (r *reading) properties() map[string]string {
	r.tag(tagList)
	out := map[string]string{}
	for range maxList {
		if r.err != nil {
			return nil
		}
		if r.at < len(r.b) && r.b[r.at] == tagNull {
			r.at++
			return out
		}
		key := r.text()
		n := r.u32()
		r.tag(tagBytes)
		if m := r.raw32(); r.err == nil && (n != m || n > maxText) {
			r.fail("a property of %d or %d bytes", n, m)
		}
		if value := r.take(int(n)); r.err == nil && len(value) > 0 && value[len(value)-1] == 0 {
			out[key] = strings.TrimRight(string(value), "\x00")
		}
	}
	r.fail("more than %d properties", maxList)
	return nil
}

// format skips the encoding of samples.
func (r *reading) format() { r.tag(tagFormat); r.u8(); r.properties() }

// writing encodes values.
type writing struct{ b []byte }

// command begins a command, with the tag of its answer.
func command(op, tag uint32) *writing {
	w := &writing{make([]byte, headSize, 128)}
	binary.BigEndian.PutUint32(w.b[4:], none)
	return w.u32(op).u32(tag)
}

func (w *writing) u32(n uint32) *writing {
	w.b = binary.BigEndian.AppendUint32(append(w.b, tagU32), n)
	return w
}

func (w *writing) bool(on bool) *writing {
	if on {
		w.b = append(w.b, tagTrue)
	} else {
		w.b = append(w.b, tagFalse)
	}
	return w
}

// text encodes a string; an empty one is null. A zero byte can't be encoded, so the text is cut
// there.
func (w *writing) text(s string) *writing {
	if s, _, _ = strings.Cut(s, "\x00"); s == "" {
		w.b = append(w.b, tagNull)
		return w
	}
	w.b = append(append(append(w.b, tagString), s...), 0)
	return w
}

func (w *writing) bytes(b []byte) *writing {
	w.b = append(binary.BigEndian.AppendUint32(append(w.b, tagBytes), uint32(len(b))), b...)
	return w
}

func (w *writing) volumes(v []uint32) *writing {
	w.b = append(w.b, tagVolumes, byte(len(v)))
	for _, n := range v {
		w.b = binary.BigEndian.AppendUint32(w.b, n)
	}
	return w
}

// property encodes a list with one property.
func (w *writing) property(key, value string) *writing {
	w.b = append(w.b, tagList)
	b := append([]byte(value), 0)
	w.text(key).u32(uint32(len(b))).bytes(b)
	w.b = append(w.b, tagNull)
	return w
}

// frame returns the complete frame.
func (w *writing) frame() []byte {
	binary.BigEndian.PutUint32(w.b, uint32(len(w.b)-headSize))
	return w.b
}
