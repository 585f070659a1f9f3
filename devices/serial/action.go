// This file is the action, which writes an event to the port.

package serial

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/postbus/postbus/devices/internal/tty"
	"github.com/postbus/postbus/plugins/kind"
)

// actionSample is a commented plugin file with the action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is what the action does, for the documentation.
const actionAbout = "Writes to a serial port: `text` or `json` with a terminator after it, or the bytes of `hex` or `base64` as they are. With a source `serial` in the same file, whose `port` is written the same way, " +
	"the port is shared and the source's settings apply; otherwise the first event opens it and it stays open. An event is acknowledged when its bytes have left the machine's buffer. It runs on every " +
	"platform; postbus must be in the group `dialout`."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	Port       tty.Name      `key:"port" doc:"the port, as the source has it: a path, a name in /dev/serial/by-id, or usb:0403:6001" need:"yes"`
	Baud       int           `key:"baud" doc:"bits per second; this and the settings below apply only if no source of this file uses the port" min:"50" max:"4000000"`
	DataBits   int           `key:"data_bits" doc:"bits of a character" min:"5" max:"8"`
	Parity     string        `key:"parity" doc:"parity bit of a character" oneof:"none|even|odd|mark|space"`
	StopBits   int           `key:"stop_bits" doc:"stop bits of a character" min:"1" max:"2"`
	DTR        bool          `key:"dtr" doc:"whether the line DTR is on while the port is open"`
	RTS        bool          `key:"rts" doc:"whether the line RTS is on while the port is open"`
	RS485      bool          `key:"rs485" doc:"whether the driver switches an RS-485 transceiver to sending by RTS, as HATs for the Raspberry Pi need; not for adapters that switch by themselves; Linux only, and rts is ignored"`
	Terminator Bytes         `key:"terminator" doc:"bytes written after text and json; hex:0d is bytes"`
	Settle     time.Duration `key:"settle" doc:"how long to wait after opening the port before writing, because some boards reset then" min:"0s" max:"30s"`
	Drain      bool          `key:"drain" doc:"whether an event is done only when its bytes have left the machine, and not already when they are in its buffer"`
	Timeout    time.Duration `key:"timeout" doc:"maximum time for writing" min:"100ms" max:"10m"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions {
	return ActionOptions{Baud: 9600, DataBits: 8, Parity: "none", StopBits: 1, DTR: true, RTS: true, Terminator: "\n", Drain: true, Timeout: 10 * time.Second}
}

func (o ActionOptions) setting() tty.Setting {
	return tty.Setting{Baud: o.Baud, DataBits: o.DataBits, StopBits: o.StopBits, Parity: o.Parity, DTR: o.DTR, RTS: o.RTS, RS485: o.RS485}
}

// Claims is what only one plugin can hold: the port, as it is written.
func (o ActionOptions) Claims() []string { return []string{o.Port.Claim()} }

// Access is the port that the action uses.
func (o ActionOptions) Access() []string { return []string{o.Port.Access()} }

// Args are the arguments for one event. Exactly one is set.
type Args struct {
	Text   string `key:"text" doc:"text to write, followed by the terminator"`
	JSON   any    `key:"json" doc:"a value to write as JSON in one line, followed by the terminator"`
	Hex    string `key:"hex" doc:"bytes to write unchanged: two hexadecimal digits each, optionally with blanks between them"`
	Base64 string `key:"base64" doc:"bytes to write unchanged, in base64"`
}

// bytes returns the bytes to write.
func (a Args) bytes(terminator Bytes) ([]byte, error) {
	set := 0
	for _, is := range []bool{a.Text != "", a.JSON != nil, a.Hex != "", a.Base64 != ""} {
		if is {
			set++
		}
	}
	switch {
	case set > 1:
		return nil, kind.Permanent(errors.New("text, json, hex and base64 exclude each other"))
	case a.JSON != nil:
		data, err := json.Marshal(a.JSON)
		if err != nil {
			return nil, kind.Permanent(fmt.Errorf("json: %w", err))
		}
		return append(data, terminator...), nil
	case a.Hex != "":
		data, err := hex.DecodeString(strings.Join(strings.Fields(a.Hex), ""))
		if err != nil {
			return nil, kind.Permanent(fmt.Errorf("hex: %w", err))
		}
		return data, nil
	case a.Base64 != "":
		data, err := base64.StdEncoding.DecodeString(a.Base64)
		if err != nil {
			return nil, kind.Permanent(fmt.Errorf("base64: %w", err))
		}
		return data, nil
	case a.Text == "":
		return nil, kind.Permanent(errors.New("there is nothing to write: set text, json, hex or base64"))
	}
	return []byte(a.Text + string(terminator)), nil
}

// Action writes to one port.
type Action struct {
	o       ActionOptions
	port    *shared
	release func()
	err     error // why the port could not be shared
}

// NewAction makes an action of checked options. The first event opens the port, unless the source
// has opened it.
func NewAction(o ActionOptions, env kind.Env) *Action {
	a := &Action{o: o}
	a.port, a.release, a.err = sharedPort(env, o.Port)
	return a
}

// Do writes once. It looks again for a port that was unplugged since the last event.
func (a *Action) Do(ctx context.Context, args Args) error {
	if a.err != nil {
		return a.err
	}
	data, err := args.bytes(a.o.Terminator)
	if err != nil {
		return err
	}
	for again := false; ; again = true {
		l, err := a.port.get(a.o.Port, a.o.setting())
		if err != nil {
			return err
		}
		if d := a.o.Settle - time.Since(l.Opened); d > 0 && kind.Sleep(ctx, d) != nil {
			return ctx.Err()
		}
		err = a.port.write(ctx, l, data, a.o.Timeout, a.o.Drain)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("writing to %s: the port did not accept %d bytes within %s", l.Path, len(data), a.o.Timeout)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		a.port.drop(l)
		if again || !tty.Away(err) {
			return fmt.Errorf("writing to %s: %w", l.Path, cause(err))
		}
	}
}

// Close releases the port, which stays open while a source uses it.
func (a *Action) Close() error {
	if a.release != nil {
		a.release()
		a.release = nil
	}
	return nil
}
