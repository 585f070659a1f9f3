package bench

// A set of sequence numbers: one bit each, in pages that exist only once they hold one.

import "math/bits"

const (
	pageBits = 1 << 16
	maxSeq   = 1 << 32 // a sequence beyond is a damaged payload
)

type bitset struct {
	pages []*[pageBits / 64]uint64
	count uint64
}

// add says whether i (below maxSeq) is new.
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

// missingFrom counts what s holds and got does not.
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
