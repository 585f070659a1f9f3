package bus

// This file bounds how many goroutines read the past at a time: history, a long backlog, many retained
// values.
//
// Only the processor limits such a pump, or a request over HTTP. Fifty of them would make every other
// goroutine wait for the processor. Therefore they read only in their turns, and there are as many turns
// as half of the processors, so that the other half serves live events. They wait in the order in which
// they came, and a turn is short. A pump that is not far behind needs none.

import (
	"runtime"

	"github.com/postbus/postbus/bus/internal/fair"
)

// turnBatches is how many batches a pump sends in one turn. Together with the size of a batch, it
// bounds a turn to a millisecond or two.
const turnBatches = 16

// newTurns returns turns for half of the processors. A simulation has one turn, so that a seed
// repeats on every machine.
func newTurns(simulated bool) fair.Turns {
	if simulated {
		return fair.New(1)
	}
	return fair.New(runtime.GOMAXPROCS(0) / 2)
}

// endTurn ends a turn, and passes the processor to a goroutine that is ready to run.
func (b *Bus) endTurn() {
	b.turns.End()
	runtime.Gosched()
}
