// Package fair lets few goroutines at a time do what takes much processor time, in the order in which they
// came, so that the others are not delayed however many want to.
package fair

// Turns is a fair semaphore: goroutines that wait to send on a channel are served in their order. It holds a
// value for each turn that is taken.
type Turns chan struct{}

// New makes n turns, but at least one.
func New(n int) Turns { return make(Turns, max(1, n)) }

// Take waits for a turn. The caller must hold no lock, and must not wait for anybody else before it ends
// the turn.
func (t Turns) Take() { t <- struct{}{} }

// End passes the turn to the goroutine that has waited longest.
func (t Turns) End() { <-t }
