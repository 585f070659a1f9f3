package bus

// This file reports to a sink which identifiers are in flight, so that it can check an
// acknowledgement before it passes it on.

// InFlight reports whether a delivery with the packet identifier was sent in this attachment and is
// not acknowledged yet.
func (s *Session) InFlight(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findLocked(id) != nil
}
