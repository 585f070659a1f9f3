// This file is a register as the file names it, and its checks.

package modbus

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/postbus/postbus/plugins/kind"
)

// The maximum sizes of a request, by the specification.
const (
	maxWords      = 125  // of a read
	maxBits       = 2000 // of a read
	maxWriteWords = 123
	maxWriteBits  = 1968
)

// Register is a value of a device: one register or bit, or several adjacent ones.
type Register struct {
	Name    string  `key:"name" doc:"its name, in events or in write: letters, digits and _" need:"yes"`
	Unit    int     `key:"unit" doc:"unit number of its device, if it differs from that of the file" min:"0" max:"255"`
	Kind    string  `key:"kind" doc:"its table; holding when not set; coil and discrete are bits, discrete and input can't be written" oneof:"holding|input|coil|discrete"`
	Address int     `key:"address" doc:"its address as it is sent, from 0: 40001 in a manual is address 0 of holding" need:"yes" min:"0" max:"65535"`
	Type    string  `key:"type" doc:"its type; uint16 when not set, bool for coil and discrete; a register as bool is true unless it is 0" oneof:"bool|int16|uint16|int32|uint32|int64|uint64|float32|float64|string"`
	Order   string  `key:"order" doc:"byte order, where a is the most significant byte; abcd when not set; cdab has the low register first, badc the low byte" oneof:"abcd|cdab|badc|dcba"`
	Scale   float64 `key:"scale" doc:"the value is the content of the register times this; 1 when not set"`
	Offset  float64 `key:"offset" doc:"added after scale"`
	Count   int     `key:"count" doc:"for a string its number of registers; otherwise the number of consecutive values, which become a list" min:"0" max:"2000"`
}

var nameForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// bits reports whether it is in a table of bits.
func (r Register) bits() bool { return r.Kind == "coil" || r.Kind == "discrete" }

func (r Register) kind() string {
	if r.Kind == "" {
		return "holding"
	}
	return r.Kind
}

func (r Register) typ() string {
	switch {
	case r.bits():
		return "bool"
	case r.Type == "":
		return "uint16"
	}
	return r.Type
}

func (r Register) unit(otherwise int) byte {
	if r.Unit != 0 {
		return byte(r.Unit)
	}
	return byte(otherwise)
}

// size returns how many registers, or bits, one value has.
func (r Register) size() int {
	switch r.typ() {
	case "int32", "uint32", "float32":
		return 2
	case "int64", "uint64", "float64":
		return 4
	}
	return 1
}

// words returns how many registers, or bits, it has in all.
func (r Register) words() int { return r.size() * max(1, r.Count) }

func (r Register) scaled() bool { return r.Scale != 0 && r.Scale != 1 || r.Offset != 0 }

// checkRegisters checks registers that are to be read or written.
func checkRegisters(list []Register, write bool) []error {
	var errs []error
	var names []string
	for i, r := range list {
		wrong := func(key, hint, format string, args ...any) {
			if key != "" {
				key = "." + key
			}
			errs = append(errs, kind.Wrong(fmt.Sprintf("registers[%d]%s", i, key), fmt.Sprintf(format, args...), hint))
		}
		limit := maxWords
		switch {
		case r.bits() && write:
			limit = maxWriteBits
		case r.bits():
			limit = maxBits
		case write:
			limit = maxWriteWords
		}
		switch {
		case r.Name == "": // reported already
		case !nameForm.MatchString(r.Name):
			wrong("name", "write letters, digits and _", "%q is not a name", r.Name)
		case r.Name == "ok" || r.Name == "errors":
			wrong("name", "write another name", "%s is a field that every event has", r.Name)
		case slices.Contains(names, r.Name):
			wrong("name", "give each its own", "two registers are called %s", r.Name)
		}
		names = append(names, r.Name)
		if write && (r.Kind == "discrete" || r.Kind == "input") {
			wrong("kind", "write holding or coil", "%s can't be written", r.Kind)
		}
		if r.bits() && r.Type != "" && r.Type != "bool" {
			wrong("type", "leave it out", "a %s is a bool, and not %s", r.Kind, a(r.Type))
		}
		if r.bits() && r.Order != "" {
			wrong("order", "leave it out", "a bit has no order of bytes")
		}
		if r.scaled() && (r.typ() == "bool" || r.typ() == "string") {
			wrong("", "leave scale and offset out", "a %s can't be scaled", r.typ())
		}
		if r.words() > limit {
			wrong("count", "split it", "it has %d, more than the %d of one request", r.words(), limit)
		}
		if r.Address+r.words() > 1<<16 {
			wrong("address", "the last address is 65535", "%d addresses from %d on are too many", r.words(), r.Address)
		}
	}
	return errs
}
