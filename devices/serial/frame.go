// This file cuts a port's input into frames: lines, fixed lengths, or the bytes between two
// silences.

package serial

import (
	"bytes"
	"time"
)

// The reasons that the source gives for losses.
const (
	lostLong    = "a frame was longer than max_frame and was cut"
	lostFirst   = "the end of a line that began before the port was opened"
	lostPart    = "the port was unplugged within a frame"
	lostShort   = "a silence within a frame of fixed length"
	lostGarbage = "bytes that belong to no frame"
	lostJSON    = "a frame is not JSON"
	lostNMEA    = "a line is not a NMEA sentence"
	lostSum     = "an NMEA sentence has a wrong checksum"
	lostNoSum   = "an NMEA sentence has no checksum"
)

// framing is the way in which frames are cut.
type framing struct {
	kind      string // lines, fixed or gap
	delimiter string
	length    int
	start     string
	gap       time.Duration
	max       int
	skipFirst bool
}

func (o Options) framing() framing {
	return framing{o.Framing, string(o.Delimiter), o.Length, string(o.Start), o.Gap, int(o.MaxFrame), o.SkipFirst}
}

// framer buffers bytes that are not a complete frame yet: at most a frame and the bytes of the last
// feed.
type framer struct {
	framing
	lost     func(n int, reason string)
	buf      []byte
	scanned  int  // bytes of buf before which there is no delimiter
	used     int  // how many bytes of buf the last returned frame uses
	cut      bool // the frame was cut: the remainder follows
	skipping bool // until the next delimiter or silence: the remainder of a cut frame
	garbage  bool // the bytes before belonged to no frame, and were reported
}

func newFramer(f framing, lost func(n int, reason string)) *framer {
	return &framer{framing: f, lost: lost}
}

// feed appends received bytes.
func (f *framer) feed(b []byte) { f.buf = append(f.buf, b...) }

// drop removes n bytes from the front. It moves the remaining bytes only when much space is free,
// because a chunk has many frames.
func (f *framer) drop(n int) {
	f.buf = f.buf[n:]
	f.scanned = max(0, f.scanned-n)
	if len(f.buf) == 0 {
		f.buf = nil
	}
}

// next returns the next frame. It returns the same frame again until consume is called. silent says
// that nothing was received for the time of gap. cut says that the frame was too long. The frame is
// valid until feed or consume.
func (f *framer) next(silent bool) (frame []byte, cut, ok bool) {
	switch f.kind {
	case "fixed":
		frame, ok = f.fixed(silent)
	case "gap":
		frame, cut, ok = f.burst(silent)
	default:
		frame, cut, ok = f.line()
	}
	return frame, cut, ok
}

// consume removes the frame that next returned.
func (f *framer) consume() {
	f.drop(f.used)
	f.skipping = f.skipping || f.cut
	f.used, f.cut = 0, false
}

// line returns the next line that is not empty.
func (f *framer) line() (line []byte, cut, ok bool) {
	for {
		i := bytes.Index(f.buf[f.scanned:], []byte(f.delimiter))
		if i < 0 {
			f.scanned = max(0, len(f.buf)-len(f.delimiter)+1)
			switch {
			case f.skipping:
				f.drop(f.scanned)
				return nil, false, false
			case len(f.buf) >= f.max+max(2, len(f.delimiter)): // two bytes with the \r
				f.cut, f.used = true, f.max
				return f.buf[:f.max], true, true
			}
			return nil, false, false
		}
		end := f.scanned + i
		line, f.used = f.buf[:end], end+len(f.delimiter)
		f.scanned = end // the end of an untaken frame is known
		if f.delimiter == "\n" {
			line = bytes.TrimSuffix(line, []byte("\r"))
		}
		switch {
		case f.skipping:
			f.skipping = false
		case f.skipFirst:
			f.skipFirst = false
			if len(line) > 0 {
				f.lost(1, lostFirst)
			}
		case len(line) > f.max:
			return line[:f.max], true, true
		case len(line) > 0:
			return line, false, true
		}
		f.consume()
	}
}

// fixed returns the next frame of the fixed length.
func (f *framer) fixed(silent bool) ([]byte, bool) {
	if f.start != "" {
		i := bytes.Index(f.buf, []byte(f.start))
		if i < 0 { // the last bytes may be the beginning of a start sequence
			for i = max(0, len(f.buf)-len(f.start)+1); !bytes.HasPrefix([]byte(f.start), f.buf[i:]); i++ {
			}
		}
		if i > 0 {
			f.drop(i)
			if !f.garbage {
				f.garbage = true
				f.lost(1, lostGarbage)
			}
		}
	}
	if len(f.buf) >= f.length {
		f.used, f.garbage = f.length, false
		return f.buf[:f.length], true
	}
	if silent && len(f.buf) > 0 {
		f.drop(len(f.buf))
		f.lost(1, lostShort)
	}
	return nil, false
}

// burst returns the bytes before a silence.
func (f *framer) burst(silent bool) (frame []byte, cut, ok bool) {
	if f.skipping {
		f.drop(len(f.buf))
		f.skipping = !silent
		return nil, false, false
	}
	switch {
	case len(f.buf) > f.max:
		f.cut, f.used = true, f.max
		return f.buf[:f.max], true, true
	case silent && len(f.buf) > 0:
		f.used = len(f.buf)
		return f.buf, false, true
	}
	return nil, false, false
}

// pause returns how long to wait for more bytes before calling next with silent; 0 is forever.
func (f *framer) pause() time.Duration {
	if f.kind == "lines" || len(f.buf) == 0 && !f.skipping {
		return 0
	}
	return f.gap
}

// end says that the port was unplugged. Remaining bytes are no frame.
func (f *framer) end() {
	if f.kind == "gap" && f.skipping { // it was counted when it was cut
		return
	}
	if len(f.buf) > 0 {
		f.lost(1, lostPart)
	}
}
