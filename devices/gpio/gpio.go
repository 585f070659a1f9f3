// Package gpio is the kind `gpio`: input lines as events, optionally counted, and output lines that
// events set.
//
// What the source promises:
//
//   - An event for each edge that the kernel numbered, with the kernel's time, in the kernel's
//     order. Edges that are faster than the bus wait in a buffer of 1,024. Edges lost beyond it are
//     found by the gaps in the kernel's numbers. Edges so close that the kernel merged them are
//     found by its count of interrupts, a moment after the burst (not with debounce). Both are
//     counted and reported in the next event. Edges faster than an interrupt are not detected: such
//     signals need a counter chip.
//   - A count includes edges that the buffer lost, because their number is known. It does not
//     include merged edges, which count as lost.
//   - A reload keeps the line: no edge between the old source and the new one is lost, as long as
//     both request the same lines. A changed pull, edge or debounce is applied to the held line.
//   - A removed chip ends the source within a second, although the kernel doesn't wake its readers.
//
// What the action promises: the line has its initial value from when the plugin is loaded, the
// requested level when the event is acknowledged, and its safe value when the plugin or postbus
// ends properly. After a crash the kernel leaves the line to the chip, and most chips keep the
// level.
//
// Lines are requested through the character device (its second version, Linux 5.10 and later),
// never through sysfs. The kernel's documentation of it is
// Documentation/userspace-api/gpio/chardev.rst.
package gpio

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var sample string

// about is what the source does, for the documentation.
const about = "Watches GPIO lines: an event for each edge, with the kernel's time, or a count and a frequency at an interval. Lines are named as the board's " +
	"maker named them (`GPIO17` on a Raspberry Pi), independent of the chip's number. Edges that are too fast for the bus or the kernel are counted and reported in `lost`. A reload " +
	"of the file keeps the line and loses no edge. Linux 5.10 and later; postbus must be in the group `gpio`."

const (
	maxLines   = 64   // of one request, and therefore of one source
	bufferSize = 1024 // edges that the kernel buffers; its default of 16 a line lost 935 of 1,000 fast edges
)

// Options of the source.
type Options struct {
	Line      Line          `key:"line" doc:"the line: its name, as GPIO17, or its number on the chip"`
	Lines     []Line        `key:"lines" doc:"several lines of one chip, in place of line"`
	Chip      Chip          `key:"chip" doc:"the chip: its label, as pinctrl-bcm2711, or gpiochip0; required if several chips have the name, or if line is a number and there are several chips"`
	Edge      string        `key:"edge" doc:"which changes are events; rising is from 0 to 1" oneof:"both|rising|falling"`
	Pull      string        `key:"pull" doc:"the resistor inside the chip, if it has one; keep leaves it unchanged" oneof:"keep|none|up|down"`
	ActiveLow bool          `key:"active_low" doc:"whether a low voltage is 1 and a high one 0"`
	Debounce  time.Duration `key:"debounce" doc:"how long a line must be stable before an edge counts; the kernel or the chip debounces" min:"0s" max:"1m"`
	Initial   bool          `key:"initial" doc:"whether the values at the start are events"`
	Count     *Count        `key:"count" doc:"count edges, and emit one event per interval in place of one per edge"`
}

// Count sets how edges are counted.
type Count struct {
	Every time.Duration `key:"every" doc:"time between two events" need:"yes" min:"10ms" max:"24h"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Edge: "both", Pull: "keep"} }

// lines returns the lines that the file names.
func (o Options) lines() []Line {
	if o.Line != "" {
		return []Line{o.Line}
	}
	return o.Lines
}

// Check checks the options against each other.
func (o Options) Check() []error {
	var errs []error
	switch {
	case o.Line == "" && len(o.Lines) == 0:
		errs = append(errs, kind.Wrong("lines", "no line is named", "write line: GPIO17; `postbus devices` lists them"))
	case o.Line != "" && len(o.Lines) > 0:
		errs = append(errs, kind.Wrong("lines", "line and lines are both set", "write one of them"))
	case len(o.Lines) > maxLines:
		errs = append(errs, kind.Wrong("lines", fmt.Sprintf("%d lines are more than the %d of one request", len(o.Lines), maxLines), "write two sources"))
	}
	for i, l := range o.Lines {
		if slices.Contains(o.Lines[:i], l) {
			errs = append(errs, kind.Wrong("lines", fmt.Sprintf("%s is listed twice", l), "leave one out"))
		}
	}
	if o.Count != nil && o.Initial {
		errs = append(errs, kind.Wrong("initial", "a count has no initial value", "leave out initial or count"))
	}
	return errs
}

// Claims is what only one plugin can hold: the lines, as they are written.
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

// Access is the devices that the source uses.
func (o Options) Access() []string { return access(o.Chip) }

func access(c Chip) []string {
	if strings.HasPrefix(string(c), "gpiochip") {
		return []string{"device:/dev/" + string(c)}
	}
	return []string{"device:/dev/gpiochip*"} // a label or nothing: the device is known only when the source starts
}

// eventFields documents the fields of an event.
type eventFields struct {
	Value   int     `key:"value" doc:"0 or 1: the level after the edge, inverted with active_low; nil with count"`
	Edge    string  `key:"edge" doc:"rising, falling, or initial for the value at the start; nil with count"`
	Line    string  `key:"line" doc:"the line's name, or its number when it has none"`
	Offset  int     `key:"offset" doc:"the line's number on the chip"`
	Chip    string  `key:"chip" doc:"the chip's label"`
	Seq     int64   `key:"seq" doc:"number of the edge among those of all lines of this source, from the kernel; 0 for initial, nil with count"`
	LineSeq int64   `key:"line_seq" doc:"number of the edge on this line, from the kernel; 0 for initial"`
	Time    string  `key:"time" doc:"when the kernel saw the edge, RFC 3339 with nanoseconds; with count the end of the interval"`
	Lost    int64   `key:"lost" doc:"edges between the previous event and this one that were too fast for the bus or the kernel; always 0 with count"`
	Count   int64   `key:"count" doc:"edges since the previous event; only with count"`
	Total   int64   `key:"total" doc:"edges since the source started, also across reloads; only with count"`
	Hz      float64 `key:"hz" doc:"edges per second, measured from edge to edge; nil until two edges were seen; only with count"`
}

// Source is the lines of one plugin. An instance runs once: New, Open, Stream, Close.
type Source struct {
	o        Options
	env      kind.Env
	consumer string
	dev      string // the folder with the chips: /dev
	r        *request
	fresh    bool // the request is new, not taken over
	watch    *watch
	releases []func()
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	s := &Source{o: o, env: env, dev: "/dev"}
	if lines := o.lines(); len(lines) > 0 {
		s.consumer = consumer(env, lines[0])
	}
	return s
}

// consumer is the name of a line's holder that the kernel shows to other programs, at most 31
// bytes. It is unique for each request, because the count of interrupts is found by it.
func consumer(env kind.Env, line Line) string {
	name, end := "postbus "+env.ID(), " "+string(line)
	end = end[:min(len(end), 20)]
	return name[:min(len(name), 31-len(end))] + end
}
