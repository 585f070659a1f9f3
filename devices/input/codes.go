// This file is the names of keys: codes.txt is linux/input-event-codes.h of Linux 6.1, as "type
// number name".

package input

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed codes.txt
var codesText string

// id is a key for the kernel: a type and a number.
type id struct {
	typ  string
	code uint16
}

// types are the kernel's types that can be events.
var types = map[uint16]string{1: "key", 2: "rel", 3: "abs", 5: "sw"}

// codes maps names to keys and keys to names.
type codes struct {
	names   map[id]string
	numbers map[string]id
}

func readCodes() codes {
	c := codes{map[id]string{}, map[string]id{}}
	for line := range strings.Lines(codesText) {
		var typ, code uint16
		var name string
		if _, err := fmt.Sscan(line, &typ, &code, &name); err != nil {
			continue // a test checks the text
		}
		at := id{types[typ], code}
		c.numbers[name], c.names[at] = at, name // of two names the later one is the more specific: BTN_LEFT, not BTN_MOUSE
	}
	return c
}

func (c codes) known(name string) bool {
	_, ok := c.numbers[name]
	return ok
}

func (c codes) name(typ string, code uint16) string {
	if n, ok := c.names[id{typ, code}]; ok {
		return n
	}
	return fmt.Sprintf("%s_%d", strings.ToUpper(typ), code)
}
