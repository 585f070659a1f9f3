package admission

import "runtime"

// gate bounds the handshakes that compute at a time, so that a flood of them leaves processors to the
// clients that have logged in: each takes a fraction of a millisecond, and thousands may wait.
type gate struct{ turns chan struct{} }

func newGate() *gate { return &gate{make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))} }

func (g *gate) enter() { g.turns <- struct{}{} }
func (g *gate) leave() { <-g.turns }
