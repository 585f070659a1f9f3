package plugins

// This file ends loops. Each event carries the number of plugins that it has passed through; after
// too many it is not processed. Events that leave the bus (to a command, another broker, a client)
// start from 0 when they return.

import (
	"fmt"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/expr"
)

// maxHops is the maximum number of plugins that process an event one after the other. Real chains
// are short; a loop that doubles its events each time has made 65,536 by then. AWS Lambda ends
// recursion at a similar number.
const maxHops = 16

// hopsOf reads the number from an event of the source mqtt; other events have 0.
func hopsOf(fields map[string]any) int {
	switch n := fields["hops"].(type) {
	case int:
		return n
	case int64: // of a test in a file
		return int(n)
	}
	return 0
}

// loopError is the error of an event that has passed through too many plugins.
func loopError(fields map[string]any) error {
	n := hopsOf(fields)
	if n < maxHops {
		return nil
	}
	return fmt.Errorf("loop: this event has passed through %d plugins, the last is %s; add a when: that ends the loop",
		n, expr.Text(fields["source"]))
}

// hopsAfter is the number for the outcomes of an event. A plugin that reads its own events (own: true)
// may loop.
func hopsAfter(fields map[string]any, self string) byte {
	n := hopsOf(fields)
	if fields["source"] != self {
		n++
	}
	return byte(min(max(n, 1), bus.MaxHops))
}
