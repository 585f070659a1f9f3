package bench

// This file is an event's payload: run (4 bytes), publisher (4), sequence (8), time sent (8),
// padding.

import "encoding/binary"

const (
	headSize    = 24
	seqOffset   = 8
	stampOffset = 16
)

// mark is the part of a payload that identifies an event.
type mark struct {
	run, publisher uint32
	seq            uint64 // counts from 0 for each publisher
	stamp          int64  // clock when it was sent
}

func (m mark) put(payload []byte) {
	binary.BigEndian.PutUint32(payload, m.run)
	binary.BigEndian.PutUint32(payload[4:], m.publisher)
	binary.BigEndian.PutUint64(payload[seqOffset:], m.seq)
	binary.BigEndian.PutUint64(payload[stampOffset:], uint64(m.stamp))
}

func parseMark(payload []byte) (m mark, ok bool) {
	if len(payload) < headSize {
		return m, false
	}
	return mark{
		run:       binary.BigEndian.Uint32(payload),
		publisher: binary.BigEndian.Uint32(payload[4:]),
		seq:       binary.BigEndian.Uint64(payload[seqOffset:]),
		stamp:     int64(binary.BigEndian.Uint64(payload[stampOffset:])),
	}, true
}
