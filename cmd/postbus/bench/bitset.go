package bench

// This file is a set of sequence numbers: one bit each, in pages that exist only once they contain
// one.

import "math/bits"

const (
	pageBits = 1 << 16
	maxSeq   = 1 << 32 // a sequence beyond it is a damaged payload
)

type bitset struct {
	pages []*[pageBits / 64]uint64
	count uint64
}

// add adds i (below maxSeq) and reports whether it is new.
func (s *bitset) add(i uint64) bool {
	n := int(i / pageBits)
	for n >= len(s.pages) {
		s.pages = append(s.pages, nil)
	}
	if s.pages[n] == nil {
		s.pages[n] = new([pageBits / 64]uint64)
	}
	word, bit := &s.pages[n][i%pageBits/64], uint64(1)<<(i%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	s.count++
	return true
}

// missingFrom counts the members of s that are not in got.
func (s *bitset) missingFrom(got *bitset) (n uint64) {
	for i, page := range s.pages {
		if page == nil {
			continue
		}
		for j, word := range page {
			if i < len(got.pages) && got.pages[i] != nil {
				word &^= got.pages[i][j]
			}
			n += uint64(bits.OnesCount64(word))
		}
	}
	return n
}
