// This file is a kernel request for lines, by the second version of the character-device interface.

package gpio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setting is the configuration of held lines.
type setting struct {
	flags    uint64
	debounce time.Duration
	values   uint64 // of outputs: bit n is line n of the request
}

// config converts a setting to the kernel's structure.
func (s setting) config(lines int) unix.GPIOV2LineConfig {
	c := unix.GPIOV2LineConfig{Flags: s.flags}
	mask := uint64(1)<<lines - 1 // of 64 lines: 0 - 1, which is all
	attr := func(id uint32, value uint64) {
		c.Attrs[c.Num_attrs] = unix.GPIOV2LineConfigAttribute{Attr: unix.GPIOV2LineAttribute{Id: id, Flags: value}, Mask: mask}
		c.Num_attrs++
	}
	if s.debounce > 0 {
		// The kernel's union begins with a 32-bit number here: on a big-endian machine that is the
		// upper half.
		var union [8]byte
		binary.NativeEndian.PutUint32(union[:], uint32(s.debounce.Microseconds()))
		attr(unix.GPIO_V2_LINE_ATTR_ID_DEBOUNCE, binary.NativeEndian.Uint64(union[:]))
	}
	if s.flags&flagOutput != 0 {
		attr(unix.GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES, s.values)
	}
	return c
}

// request is a set of held lines. Between two sources of a reload it has no reader, and the kernel
// keeps the edges.
type request struct {
	f     *os.File
	chip  string // label
	lines []found
	set   setting
	buf   [64 * 48]byte

	// The fields below are left to the next source.
	pending    []edge         // read, but not posted
	tallies    map[int]*tally // by the line's offset
	audit      audit
	edges      int64 // that the kernel has numbered
	unreported int64 // merged edges that no event has reported

	close sync.Once
}

// hold requests lines of a chip. The chip may be closed afterwards.
func (c *chip) hold(lines []found, s setting, consumer string) (*request, error) {
	var q unix.GPIOV2LineRequest
	for i, l := range lines {
		q.Offsets[i] = uint32(l.offset)
	}
	copy(q.Consumer[:31], consumer)
	q.Num_lines, q.Event_buffer_size, q.Config = uint32(len(lines)), bufferSize, s.config(len(lines))
	if err := ioctl(c.f.Fd(), unix.GPIO_V2_GET_LINE_IOCTL, unsafe.Pointer(&q)); err != nil {
		return nil, c.refused(lines, err)
	}
	if err := unix.SetNonblock(int(q.Fd), true); err != nil {
		unix.Close(int(q.Fd))
		return nil, fmt.Errorf("requesting %s of %s: %w", lineList(lines), c.name, err)
	}
	r := &request{f: os.NewFile(uintptr(q.Fd), "gpio "+lineList(lines)), chip: c.label, lines: lines, set: s, tallies: map[int]*tally{}}
	for _, l := range lines {
		r.tallies[l.offset] = &tally{}
	}
	r.audit = newAudit(text(q.Consumer[:]), len(lines), s.debounce > 0 || s.flags&(flagRising|flagFalling) == 0)
	return r, nil
}

// Close releases the lines. It may be called twice.
func (r *request) Close() (err error) {
	r.close.Do(func() { err = r.f.Close() })
	return err
}

func (r *request) control(request uint, arg unsafe.Pointer) error {
	raw, err := r.f.SyscallConn() // f.Fd would make reads uninterruptible
	if err != nil {
		return err
	}
	var ierr error
	if err := raw.Control(func(fd uintptr) { ierr = ioctl(fd, request, arg) }); err != nil {
		return err
	}
	return ierr
}

// change reconfigures the held lines.
func (r *request) change(s setting) error {
	if s == r.set {
		return nil
	}
	c := s.config(len(r.lines))
	if err := r.control(ioctlSetConfig, unsafe.Pointer(&c)); err != nil {
		return fmt.Errorf("changing %s: %w", lineList(r.lines), err)
	}
	r.set = s
	r.audit.off = r.audit.off || s.debounce > 0
	return nil
}

// values returns the lines' logical values: bit n is line n of the request. It fails when the chip
// was removed.
func (r *request) values() (uint64, error) {
	v := unix.GPIOV2LineValues{Mask: uint64(1)<<len(r.lines) - 1}
	err := r.control(unix.GPIO_V2_LINE_GET_VALUES_IOCTL, unsafe.Pointer(&v))
	return v.Bits, err
}

// setValue sets an output, the only line of the request.
func (r *request) setValue(level int) error {
	v := unix.GPIOV2LineValues{Bits: uint64(level), Mask: 1}
	return r.control(unix.GPIO_V2_LINE_SET_VALUES_IOCTL, unsafe.Pointer(&v))
}

// read waits for edges until the file's deadline, and appends them to pending.
func (r *request) read() error {
	n, err := r.f.Read(r.buf[:])
	if err != nil {
		return err
	}
	skew, err := clock()
	if err != nil {
		return err
	}
	const size = int(unsafe.Sizeof(unix.GPIOV2LineEvent{}))
	for b := r.buf[:n]; len(b) >= size; b = b[size:] {
		at := time.Duration(binary.NativeEndian.Uint64(b))
		r.pending = append(r.pending, edge{
			at:      skew.Add(at),
			clock:   at,
			rising:  binary.NativeEndian.Uint32(b[8:]) == unix.GPIO_V2_LINE_EVENT_RISING_EDGE,
			offset:  int(binary.NativeEndian.Uint32(b[12:])),
			seq:     binary.NativeEndian.Uint32(b[16:]),
			lineSeq: binary.NativeEndian.Uint32(b[20:]),
		})
	}
	return nil
}

// clock returns the zero of the kernel's monotonic clock, by the current wall clock.
func clock() (time.Time, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return time.Time{}, err
	}
	return time.Now().Round(0).Add(-time.Duration(ts.Nano())), nil
}

func (r *request) name(offset int) string {
	for _, l := range r.lines {
		if l.offset == offset {
			return l.name
		}
	}
	return fmt.Sprint(offset)
}

// slot holds a request that a reload hands over, under the claim of one of its lines.
type slot struct{ r *request }

// Close releases the request in the slot.
func (s *slot) Close() error {
	if s.r == nil {
		return nil
	}
	return s.r.Close()
}

var errNotSlot = errors.New("the line is held by another part of this plugin")
