// Package gpio is the kind `gpio`: input lines as events, counted if you like, and output lines that are set by events.
//
// What the source promises:
//
//   - An event for each edge the kernel numbered, with the kernel's time, in the kernel's order. Edges that come faster
//     than the bus takes them wait in a buffer of 1,024. What is lost beyond it is found by the gaps in the kernel's
//     numbers, and what is so close that the kernel made one edge of it by its count of interrupts, a moment after the
//     burst (not with debounce). Both are counted and said in the next event. What is faster than an interrupt nobody
//     sees: such signals need a counter chip.
//   - A count has what the buffer lost, as its number is known; not what the kernel merged, which is counted as lost.
//   - A reload keeps the line: no edge between the old source and the new one is lost, as long as the same lines are
//     asked for. Another pull, edge or debounce is set on the line as it is held.
//   - A chip that is pulled out ends the source within a second, although the kernel doesn't wake its readers.
//
// What the action promises: the line has its initial value from when the plugin is loaded, the level an event asked
// for when the event is acknowledged, and its safe value when the plugin or postbus ends properly. After a crash the
// kernel leaves the line to the chip, and most chips keep the level.
//
// Lines are had through the character device (its second version, Linux 5.10 and later), never through sysfs. The
// kernel's documentation of it is Documentation/userspace-api/gpio/chardev.rst.
package gpio

import (
	_ "embed"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/option"
)

// Sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var Sample string

// About is what the source does, for the documentation.
const About = "Watches GPIO lines: an event for each edge, with the kernel's time, or every so often a count and a frequency. Lines are named as the board's " +
	"maker named them (`GPIO17` on a Raspberry Pi), whatever the number of the chip. Edges that came too fast for the bus or the kernel are counted and said in `lost`. A reload " +
	"of the file keeps the line and loses no edge. Linux 5.10 and later; postbus must be in the group `gpio`."

const (
	maxLines   = 64   // of one request, and so of one source
	bufferSize = 1024 // edges that the kernel keeps; its own choice, 16 a line, lost 935 of 1,000 fast ones
)

// Options of the source.
type Options struct {
	Line      Line          `key:"line" doc:"the line: its name, as GPIO17, or its number on the chip"`
	Lines     []Line        `key:"lines" doc:"several lines of one chip, in place of line"`
	Chip      Chip          `key:"chip" doc:"the chip: its label, as pinctrl-bcm2711, or gpiochip0; needed when a name is on several chips, or for a number when there are several chips"`
	Edge      string        `key:"edge" doc:"which changes are events; rising is from 0 to 1" oneof:"both|rising|falling"`
	Pull      string        `key:"pull" doc:"the resistor inside the chip, where it has one; keep leaves it as it is" oneof:"keep|none|up|down"`
	ActiveLow bool          `key:"active_low" doc:"whether a low voltage is 1 and a high one 0"`
	Debounce  time.Duration `key:"debounce" doc:"how long a line must be stable before it is an edge; the kernel or the chip sees to it" min:"0s" max:"1m"`
	Initial   bool          `key:"initial" doc:"whether the values at the start are events too"`
	Count     *Count        `key:"count" doc:"count edges, and make an event every so often in place of one for each"`
}

// Count is how edges are counted.
type Count struct {
	Every time.Duration `key:"every" doc:"time between two events" need:"yes" min:"10ms" max:"24h"`
}

// Defaults returns the options of a file that sets none.
func Defaults() Options { return Options{Edge: "both", Pull: "keep"} }

// lines is what the file names.
func (o Options) lines() []Line {
	if o.Line != "" {
		return []Line{o.Line}
	}
	return o.Lines
}

// Check looks across the options.
func (o Options) Check() []error {
	var errs []error
	switch {
	case o.Line == "" && len(o.Lines) == 0:
		errs = append(errs, option.Wrong("lines", "no line is named", "write line: GPIO17; `postbus devices` lists them"))
	case o.Line != "" && len(o.Lines) > 0:
		errs = append(errs, option.Wrong("lines", "line and lines are both set", "write one of them"))
	case len(o.Lines) > maxLines:
		errs = append(errs, option.Wrong("lines", fmt.Sprintf("%d lines are more than the %d of one request", len(o.Lines), maxLines), "write two sources"))
	}
	for i, l := range o.Lines {
		if slices.Contains(o.Lines[:i], l) {
			errs = append(errs, option.Wrong("lines", fmt.Sprintf("%s is there twice", l), "leave one out"))
		}
	}
	if o.Count != nil && o.Initial {
		errs = append(errs, option.Wrong("initial", "a count has no initial value", "leave out initial or count"))
	}
	return errs
}

// Claims is what can be held once: the lines, as they are written.
func (o Options) Claims() []string {
	var claims []string
	for _, l := range o.lines() {
		claims = append(claims, claim(o.Chip, l))
	}
	return claims
}

func claim(c Chip, l Line) string {
	if c == "" {
		c = "*"
	}
	return "gpio:" + string(c) + "/" + string(l)
}

// Access is what the source touches.
func (o Options) Access() []string { return access(o.Chip) }

func access(c Chip) []string {
	if strings.HasPrefix(string(c), "gpiochip") {
		return []string{"device:/dev/" + string(c)}
	}
	return []string{"device:/dev/gpiochip*"} // a label or nothing: which it is shows when it starts
}

// Event documents the fields of an event.
type Event struct {
	Value   int     `key:"value" doc:"0 or 1: the level after the edge, turned round with active_low; nil in a count"`
	Edge    string  `key:"edge" doc:"rising, falling, or initial for the value at the start; nil in a count"`
	Line    string  `key:"line" doc:"the line's name, or its number when it has none"`
	Offset  int     `key:"offset" doc:"the line's number on the chip"`
	Chip    string  `key:"chip" doc:"the chip's label"`
	Seq     int64   `key:"seq" doc:"number of the edge among those of all lines of this source, from the kernel; 0 for initial, nil in a count"`
	LineSeq int64   `key:"line_seq" doc:"number of the edge on this line, from the kernel; 0 for initial"`
	Time    string  `key:"time" doc:"when the kernel saw the edge, RFC 3339 with nanoseconds; in a count the end of the interval"`
	Lost    int64   `key:"lost" doc:"edges between the event before and this one that came too fast for the bus or for the kernel; always 0 in a count"`
	Count   int64   `key:"count" doc:"edges since the event before; only in a count"`
	Total   int64   `key:"total" doc:"edges since the source started; a reload goes on counting; only in a count"`
	Hz      float64 `key:"hz" doc:"edges a second, measured from edge to edge; nil when there was but one yet; only in a count"`
}

// Env is what the source needs of the bus.
type Env interface {
	Log() *slog.Logger
	Lost(n int, reason string)
	Hold(key string, open func() (io.Closer, error)) (held io.Closer, release func(), err error)
}

// Source is the lines of one plugin. It is used once: New, Open, Stream, Close.
type Source struct {
	o        Options
	env      Env
	consumer string
	dev      string // where the chips are: /dev
	r        *request
	fresh    bool // the request is new, and not handed over
	watch    *watch
	releases []func()
}

// New makes a source; the options were checked.
func New(o Options, env Env) *Source {
	s := &Source{o: o, env: env, dev: "/dev"}
	if lines := o.lines(); len(lines) > 0 {
		s.consumer = consumer(env, lines[0])
	}
	return s
}

// consumer is what others see who ask for a line that is held, in the kernel's 31 bytes. It is another one for each request:
// the count of interrupts is found by it.
func consumer(env any, line Line) string {
	name, end := "postbus", " "+string(line)
	if e, ok := env.(interface{ ID() string }); ok {
		name += " " + e.ID()
	}
	end = end[:min(len(end), 20)]
	return name[:min(len(name), 31-len(end))] + end
}
