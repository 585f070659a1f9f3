package bus

// This file bounds how many goroutines read the past at a time: history, a long backlog, many retained
// values.
//
// Only the processor limits such a pump, or a request over HTTP. Fifty of them would make every other
// goroutine wait for the processor. Therefore they read only in their turns, and there are as many turns
// as half of the processors, so that the other half serves live events. They wait in the order in which
// they came, and a turn is short. A pump that is not far behind needs none.

import "runtime"

// turnBatches is how many batches a pump sends in one turn. Together with the size of a batch, it
// bounds a turn to a millisecond or two.
const turnBatches = 16

// turns is a fair semaphore: goroutines that wait to send on a channel are served in their order.
type turns chan struct{}

// newTurns returns turns for half of the processors. A simulation has one turn, so that a seed
// repeats on every machine.
func newTurns(simulated bool) turns {
	if simulated {
		return make(turns, 1)
	}
	return make(turns, max(1, runtime.GOMAXPROCS(0)/2))
}

// take waits for a turn. The caller must hold no lock, and must not wait for anybody else before it ends
// the turn.
func (t turns) take() { t <- struct{}{} }

// end passes the turn to the goroutine that has waited longest, and the processor to a goroutine that is
// ready to run.
func (t turns) end() {
	<-t
	runtime.Gosched()
}
