package plugins

// This file ends loops. Each event says through how many plugins it came; one that came through too many
// goes no further. What leaves the bus (a command, another broker, a client) begins anew.

import (
	"context"
	"fmt"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/expr"
)

// maxHops is how many plugins can work on an event one after the other. Chains that people build are short; a loop that
// doubles its events each time has made 65,536 by then. AWS Lambda ends recursion at about as many.
const maxHops = 16

// hopsOf reads what the source mqtt says of its event; others begin at 0.
func hopsOf(fields map[string]any) int {
	switch n := fields["hops"].(type) {
	case int:
		return n
	case int64: // of a test in a file
		return int(n)
	}
	return 0
}

// goesRound is the error of an event that came through too many plugins.
func goesRound(fields map[string]any) error {
	n := hopsOf(fields)
	if n < maxHops {
		return nil
	}
	return fmt.Errorf("a loop: this event came through %d plugins already, %s was the last; add a when: that ends it", n, expr.Text(fields["source"]))
}

// hops is what is said of that which comes of an event. A plugin that asked for its own events (own: true) may go round.
func (m *mapper) hops(fields map[string]any) byte {
	n := hopsOf(fields)
	if fields["source"] != m.source {
		n++
	}
	return byte(min(max(n, 1), bus.MaxHops))
}

type hopsKey struct{}

// withHops has what an action publishes count as coming from its order's event.
func withHops(ctx context.Context, hops byte) context.Context {
	return context.WithValue(ctx, hopsKey{}, hops)
}

func orderHops(ctx context.Context) byte {
	n, _ := ctx.Value(hopsKey{}).(byte)
	return n
}
