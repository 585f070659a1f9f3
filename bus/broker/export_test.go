package broker

// HoldTurns takes all turns of connections that flood, until release.
func (b *Broker) HoldTurns() (release func()) {
	for range cap(b.shares.turns) {
		b.shares.turns.Take()
	}
	return func() {
		for range cap(b.shares.turns) {
			b.shares.turns.End()
		}
	}
}
