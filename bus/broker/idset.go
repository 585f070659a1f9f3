package broker

// idSet is a set of packet identifiers. A client may hold all 65,535 of them, which is the Receive
// Maximum. The set takes 9 KiB then, and a few hundred bytes for a client that numbers its
// publishes from 1.
type idSet struct {
	pages [64]*[16]uint64
}

func (s *idSet) has(id uint16) bool {
	p := s.pages[id>>10]
	return p != nil && p[id>>6&15]&(1<<(id&63)) != 0
}

func (s *idSet) add(id uint16) {
	p := s.pages[id>>10]
	if p == nil {
		p = new([16]uint64)
		s.pages[id>>10] = p
	}
	p[id>>6&15] |= 1 << (id & 63)
}

func (s *idSet) remove(id uint16) {
	if p := s.pages[id>>10]; p != nil {
		p[id>>6&15] &^= 1 << (id & 63)
	}
}
