// This file is the action: events that write registers and coils.

package modbus

import (
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// actionSample is a commented plugin file with the action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is what the action does, for the documentation.
const actionAbout = "Writes registers and coils of a Modbus device, over TCP, a serial line (RTU) or RTU over TCP. `registers` names and describes them, and `write` maps names to values. " +
	"An event is acknowledged when the device has confirmed the write. A value that a register can't hold, and a request that the device refuses permanently (no such function, address or value), becomes a dead " +
	"letter at once. A source `modbus` in the same file that names the same device shares the connection. It runs on every platform."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	TCP        Address       `key:"tcp" doc:"the device or gateway, as 192.168.1.7 or meter.lan:1502; the default port is 502"`
	RTUOverTCP Address       `key:"rtu_over_tcp" doc:"in place of tcp: a gateway that forwards the bytes of a serial line, as 192.168.1.7:4196"`
	Serial     *Serial       `key:"serial" doc:"in place of tcp: a serial line (RTU); the settings of a source in this file with the same port take precedence"`
	Unit       int           `key:"unit" doc:"unit number of the device; 0 on a serial line is a broadcast, which no device answers" min:"0" max:"255"`
	Timeout    time.Duration `key:"timeout" doc:"maximum time for an answer, and for connecting" min:"10ms" max:"1m"`
	Retries    int           `key:"retries" doc:"how often a request is repeated without a valid answer before the event is retried" min:"0" max:"10"`
	Pause      time.Duration `key:"pause" doc:"time between an answer and the next request, for devices that need it" min:"0s" max:"10s"`
	Multiple   bool          `key:"multiple" doc:"whether a single register or coil is written by the functions for several (16 and 15), as some devices require"`
	Registers  []Register    `key:"registers" doc:"the registers that can be written" need:"yes"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions {
	return ActionOptions{Unit: 1, Timeout: time.Second, Retries: 1}
}

func (o ActionOptions) setting() setting { return settingOf(o.TCP, o.RTUOverTCP, o.Serial) }

// Check checks the options against each other.
func (o ActionOptions) Check() []error {
	return append(o.setting().check(), checkRegisters(o.Registers, true)...)
}

// Claims is what only one plugin can hold: a serial line.
func (o ActionOptions) Claims() []string { return o.setting().claims() }

// Access is the address or port that the action uses.
func (o ActionOptions) Access() []string { return o.setting().access() }

// Args are the arguments for one event.
type Args struct {
	Write any `key:"write" doc:"the names of registers with their new values; nil leaves a register unchanged" need:"yes"`
}

// Action writes to the devices on one connection.
type Action struct {
	o       ActionOptions
	link    *link
	release func()
	err     error // why the connection could not be shared
}

// NewAction makes an action of checked options. The first event connects, unless the source has
// connected.
func NewAction(o ActionOptions, env kind.Env) *Action {
	a := &Action{o: o}
	a.link, a.release, a.err = sharedLink(env, o.setting())
	return a
}

// requests returns the requests of an event, in the order of the file's registers.
func (a *Action) requests(write any) ([]request, error) {
	values, ok := write.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("write: %s is not a mapping of names and values", short(write))
	}
	var list []request
	var known []string
	for _, r := range a.o.Registers {
		known = append(known, r.Name)
		v := values[r.Name]
		if v == nil {
			continue
		}
		data, err := r.encode(v)
		if err != nil {
			return nil, fmt.Errorf("write: %s: %w", r.Name, err)
		}
		list = append(list, a.request(r, data))
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("write: there is no register %q; available: %s", name, strings.Join(known, ", "))
		}
	}
	return list, nil
}

func (a *Action) request(r Register, data []byte) request {
	q := request{unit: r.unit(a.o.Unit), address: r.Address, count: r.words(), data: data}
	switch many := r.words() > 1 || a.o.Multiple; {
	case !r.bits() && many:
		q.function = writeMany
	case !r.bits():
		q.function = writeRegister
	case many:
		q.function, q.data = writeCoils, make([]byte, (len(data)+7)/8)
		for i, bit := range data {
			q.data[i/8] |= bit << (i % 8)
		}
	default:
		q.function = writeCoil
		q.data = binary.BigEndian.AppendUint16(nil, uint16(data[0])*0xff00)
	}
	return q
}

// Do writes an event's values, one after the other. After a failure the remaining values aren't
// written; a retry starts from the first.
func (a *Action) Do(ctx context.Context, args Args) error {
	if a.err != nil {
		return a.err
	}
	list, err := a.requests(args.Write)
	if err != nil {
		return kind.Permanent(err)
	}
	h := askOptions{a.o.setting(), a.o.Timeout, a.o.Retries, a.o.Pause}
	for _, q := range list {
		if _, err := a.link.ask(ctx, q, h); err != nil { // an exception knows whether it is permanent
			return err
		}
	}
	return nil
}

// Close releases the connection, which stays open while a source uses it.
func (a *Action) Close() error {
	if a.release != nil {
		a.release()
		a.release = nil
	}
	return nil
}
