// Package serial is the kind `serial`: input of a serial port as events, and events as output.
//
// What the source promises:
//
//   - An event for each frame: a line, a fixed number of bytes, or the bytes between two silences.
//     A frame that is too long is cut. Invalid input (garbage, a wrong checksum, half a line when
//     the port is unplugged) makes no event. Both are counted as lost, with a reason. So are the
//     bytes that the kernel reports as dropped, where its driver counts them.
//   - The source waits for an absent port, and finds it again after it was unplugged, at whatever
//     path it appears: by a name in /dev/serial/by-id or by its USB ids.
//   - A reload keeps the port open and half a line in its buffer, as long as the port's settings
//     don't change. Changed settings open the port again.
//
// What the action promises: an event is acknowledged when its bytes have left the machine's buffer.
// Bytes that could not be sent in time are discarded from the buffer and the event is retried, so
// that the device may receive a beginning twice.
//
// A source and an action of one plugin file that name a port with the same words share it, opened
// once. No other program can open it meanwhile, except as root.
package serial

import (
	_ "embed"
	"fmt"
	"time"

	"github.com/postbus/postbus/devices/internal/tty"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var sample string

// about is what the source does, for the documentation.
const about = "Reads a serial port: an event for each line, for each frame of a fixed length, or for the bytes between two silences. A frame is text, JSON, an NMEA sentence of a GPS receiver " +
	"(the checksum is verified, the position is in degrees), or bytes as hexadecimal or base64. The port may be named by its USB ids or by its name in `/dev/serial/by-id` and may be unplugged and " +
	"plugged in again. Garbage, and frames that are too long or have a wrong checksum, are counted. With the action `serial` in the same file the port is shared. It runs on every platform (USB ids and by-id " +
	"names on Linux); postbus must be in the group `dialout`."

// Options of the source.
type Options struct {
	Port     tty.Name `key:"port" doc:"the port: a path, as /dev/ttyUSB0 or COM3; its name in /dev/serial/by-id; or a USB device, as usb:0403:6001 or usb:0403:6001:SERIAL" need:"yes"`
	Baud     int      `key:"baud" doc:"bits per second" min:"50" max:"4000000"`
	DataBits int      `key:"data_bits" doc:"bits of a character" min:"5" max:"8"`
	Parity   string   `key:"parity" doc:"parity bit of a character" oneof:"none|even|odd|mark|space"`
	StopBits int      `key:"stop_bits" doc:"stop bits of a character" min:"1" max:"2"`
	DTR      bool     `key:"dtr" doc:"whether the line DTR is on while the port is open; off keeps some boards from resetting, but it is on for a few milliseconds in any case"`
	RTS      bool     `key:"rts" doc:"whether the line RTS is on while the port is open"`
	RS485    bool     `key:"rs485" doc:"whether the driver switches an RS-485 transceiver to sending by RTS, as HATs for the Raspberry Pi need; not for adapters that switch by themselves; Linux only, and rts is ignored"`

	Framing   string        `key:"framing" doc:"where a frame ends: at a delimiter (lines), after a number of bytes (fixed), or at a silence (gap)" oneof:"lines|fixed|gap"`
	Delimiter Bytes         `key:"delimiter" doc:"lines: what ends a line; with \"\\n\" a preceding \"\\r\" belongs to it; hex:0d0a is bytes"`
	Length    int           `key:"length" doc:"fixed: how many bytes a frame has" min:"1" max:"65536"`
	Start     Bytes         `key:"start" doc:"fixed: the first bytes of every frame, as hex:424d; bytes before it are dropped and counted"`
	Gap       time.Duration `key:"gap" doc:"gap: the silence that ends a frame; fixed: the silence after which the next byte begins a frame; 0s: never" min:"0s" max:"1m"`
	MaxFrame  int64         `key:"max_frame" doc:"maximum length of a frame of lines and gap; longer frames are cut" unit:"size" min:"1B" max:"1MiB"`
	SkipFirst bool          `key:"skip_first" doc:"lines: whether the bytes before the first delimiter after opening are dropped, because they may be the end of a line"`

	Format   string `key:"format" doc:"what a frame is: text (which may be JSON), only json, only nmea, or bytes that become hex or base64" oneof:"text|json|nmea|hex|base64"`
	Checksum string `key:"checksum" doc:"nmea: whether every sentence needs a checksum, or one is verified only if there is one" oneof:"needed|if-there"`

	Decode decode.Encoding `key:"decode" doc:"with format: text, the encoding of the frame, whose value is in event.json; csv: a list of records, each a list of texts; none: it is not decoded; of a line, csv is one record" oneof:"json|cbor|msgpack|csv|none"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{Baud: 9600, DataBits: 8, Parity: "none", StopBits: 1, DTR: true, RTS: true, Framing: "lines", Delimiter: "\n", Gap: 100 * time.Millisecond,
		MaxFrame: 64 << 10, Format: "text", Checksum: "needed", Decode: decode.JSON}
}

// Check checks the options against each other.
func (o Options) Check() []error {
	var errs []error
	wrong := func(key, reason, hint string) { errs = append(errs, kind.Wrong(key, reason, hint)) }
	fixed := o.Framing == "fixed"
	switch {
	case fixed && o.Length == 0:
		wrong("length", "fixed needs a length", "write length: 32")
	case !fixed && o.Length != 0:
		wrong("length", "length is for framing: fixed", "write framing: fixed, or leave length out")
	case fixed && len(o.Start) > o.Length:
		wrong("start", fmt.Sprintf("a start of %d bytes is longer than a frame of %d", len(o.Start), o.Length), "start is the first bytes of the frame")
	case !fixed && o.Start != "":
		wrong("start", "start is for framing: fixed", "write framing: fixed, or leave start out")
	}
	if o.Framing == "lines" && o.Delimiter == "" {
		wrong("delimiter", "the delimiter is empty", `write delimiter: "\n"`)
	}
	if o.Framing == "gap" && o.Gap < time.Millisecond {
		wrong("gap", "a gap must be at least a millisecond", "write gap: 20ms")
	}
	if o.SkipFirst && o.Framing != "lines" {
		wrong("skip_first", "skip_first is for framing: lines", "leave it out")
	}
	if (o.Format == "nmea" || o.Format == "json") && o.Framing == "fixed" {
		wrong("format", o.Format+" has no fixed length", "write framing: lines")
	}
	switch {
	case o.Format != "text" && !o.Decode.IsJSON():
		wrong("decode", "decode applies to format: text only", "leave out format, or decode")
	case o.Framing == "lines" && o.Decode.Binary():
		wrong("decode", fmt.Sprintf("a line cannot hold %s, which may contain the delimiter", o.Decode), "write framing: gap or framing: fixed")
	}
	return errs
}

// Claims is what only one plugin can hold: the port, as it is written.
func (o Options) Claims() []string { return []string{o.Port.Claim()} }

// Access is the port that the source uses.
func (o Options) Access() []string { return []string{o.Port.Access()} }

func (o Options) setting() tty.Setting {
	return tty.Setting{Baud: o.Baud, DataBits: o.DataBits, StopBits: o.StopBits, Parity: o.Parity, DTR: o.DTR, RTS: o.RTS, RS485: o.RS485}
}

// eventFields documents the fields of an event.
type eventFields struct {
	Text        string `key:"text" doc:"the frame as text, without its delimiter; bytes that are not UTF-8 are replaced; with format hex or base64 the bytes in that form"`
	JSON        any    `key:"json" doc:"the decoded frame, see decode; nil if it cannot be decoded; nil with format nmea, hex and base64"`
	DecodeError string `key:"decode_error" doc:"why the frame is not CBOR, MessagePack or CSV, if decode says that it is; otherwise nil"`
	Bytes       any    `key:"bytes" doc:"the bytes as received, when they are not UTF-8, and with format hex or base64"`
	Port        string `key:"port" doc:"the port's path, as /dev/ttyUSB0"`

	Talker     string   `key:"talker" doc:"nmea: the talker, as GP, GN or II; P for a manufacturer's own sentences"`
	Sentence   string   `key:"sentence" doc:"nmea: the type of the sentence, as GGA or RMC"`
	Fields     []string `key:"fields" doc:"nmea: the fields of the sentence, after its type"`
	Lat        float64  `key:"lat" doc:"nmea: latitude in degrees, negative in the south; nil without a fix; from RMC, GGA, GNS and GLL, as lon"`
	Lon        float64  `key:"lon" doc:"nmea: longitude in degrees, negative in the west; nil without a fix"`
	Valid      bool     `key:"valid" doc:"nmea: whether there is a fix, with lat and lon; from RMC, GGA, GNS and GLL, otherwise nil"`
	Fix        int      `key:"fix" doc:"nmea: quality of the fix: 0 none, 1 GPS, 2 differential, 4 and 5 RTK; from GGA, otherwise nil"`
	Speed      float64  `key:"speed" doc:"nmea: speed over ground in metres per second; from RMC and VTG, otherwise nil"`
	Course     float64  `key:"course" doc:"nmea: course over ground in degrees from north; from RMC and VTG, otherwise nil"`
	Altitude   float64  `key:"altitude" doc:"nmea: altitude above sea level in metres; from GGA and GNS, otherwise nil"`
	Satellites int      `key:"satellites" doc:"nmea: number of satellites in use; from GGA and GNS, otherwise nil"`
	HDOP       float64  `key:"hdop" doc:"nmea: horizontal dilution of precision; from GGA and GNS, otherwise nil"`
	Time       string   `key:"time" doc:"nmea: the receiver's time, RFC 3339; in GGA, GNS and GLL with the date of the last RMC or ZDA, nil before the first one"`
}
