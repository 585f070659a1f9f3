package fleet

// This file is the format of a message on the hub: a group of records behind a header.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/postbus/postbus/bus/journal"
)

// Bounds of one group. A larger event is a group of its own.
const (
	groupEvents = 500
	groupBytes  = 256 << 10
	maxEvents   = 4096     // that a reader accepts
	maxMessage  = 64 << 20 // that a reader accepts, in bytes
)

// groupKind says what the records of a group are.
type groupKind uint8

const (
	groupOfEvents groupKind = 1 + iota // events of a lane, in the order of their numbers
	groupOfValues                      // retained values that a bus offers
	groupHello                         // no records: a bus asks all others to offer their values
	groupOfLanes                       // []laneEnd as JSON: what a bus has sent so far
)

// group is one message. Its subject names the bus and the lane.
type group struct {
	Kind  groupKind
	Final bool     // of values: it is the last group of its offer
	Epoch [16]byte // of the origin's journal
	Run   uint64   // of the exporter's process, random

	// Of events. The origin has sent every event of the lane with a number from Start on, up to Floor, in
	// earlier groups or lost it; between Floor and First there is none.
	Start, Floor, First, Last uint64
	// Done: every event of the share up to this number is on the hub, in an earlier message. Of values: the
	// same for every share.
	Done    uint64
	Sent    int64 // Unix nanoseconds of the origin's clock: an age is measured from Time of a record to it
	Records []byte
}

// The formats of messages. A bus that meets another one leaves the message for a newer version.
const groupFormat = 1

const groupHeader = 4 + 4 + 16 + 8 + 5*8 + 8 + 4

var (
	groupMagic = [3]byte{'P', 'B', 'F'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// errFormat is the error of a message that a newer version wrote.
var errFormat = errors.New("the message has a format that this version does not know")

// encode returns the message:
//
//	"PBF" · format u8 · kind u8 · flags u8 · 0 u16 · epoch 16 · run u64 · start u64 · floor u64 · first u64 ·
//	last u64 · done u64 · sent i64 · crc u32 · records
//
// The checksum is of the header; each record has one of its own.
func (g *group) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, groupHeader+len(g.Records))
	b = append(b, groupMagic[:]...)
	var flags byte
	if g.Final {
		flags = 1
	}
	b = append(b, groupFormat, byte(g.Kind), flags, 0, 0)
	b = append(b, g.Epoch[:]...)
	for _, v := range [...]uint64{g.Run, g.Start, g.Floor, g.First, g.Last, g.Done, uint64(g.Sent)} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return append(b, g.Records...)
}

// decodeHeader reads a message without checking its records, which are a view of b.
func decodeHeader(b []byte) (g group, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) < 4 || [3]byte(b[:3]) != groupMagic:
		return g, errors.New("the message is no group of a fleet")
	case b[3] != groupFormat:
		return g, fmt.Errorf("%w: format %d, known is %d", errFormat, b[3], groupFormat)
	case len(b) < groupHeader:
		return g, fmt.Errorf("the header has %d bytes of %d", len(b), groupHeader)
	case len(b) > maxMessage:
		return g, fmt.Errorf("the message has %d bytes, at most %d are accepted", len(b), maxMessage)
	case crc32.Checksum(b[:groupHeader-4], castagnoli) != le.Uint32(b[groupHeader-4:]):
		return g, errors.New("the checksum of the header does not match")
	}
	g.Kind, g.Final = groupKind(b[4]), b[5]&1 != 0
	copy(g.Epoch[:], b[8:])
	at := 24
	for _, v := range [...]*uint64{&g.Run, &g.Start, &g.Floor, &g.First, &g.Last, &g.Done} {
		*v, at = le.Uint64(b[at:]), at+8
	}
	g.Sent = int64(le.Uint64(b[at:]))
	g.Records = b[groupHeader:]
	switch g.Kind {
	case groupOfEvents:
		if g.Start == 0 || g.First < g.Start || g.First <= g.Floor || g.Last < g.First || g.Last > maxNumber {
			return g, fmt.Errorf("numbers %d, %d, %d to %d do not follow each other", g.Start, g.Floor, g.First, g.Last)
		}
	case groupOfValues, groupHello, groupOfLanes:
	default:
		return g, fmt.Errorf("kind %d: %w", g.Kind, errFormat)
	}
	return g, nil
}

// maxNumber bounds the numbers that are accepted, so that sums do not overflow.
const maxNumber = 1 << 62

// records decodes the group's records. Those of events must have rising numbers from First to Last.
func (g *group) records() ([]*journal.Record, error) {
	var list []*journal.Record
	before := g.First - 1
	err := journal.DecodeAll(g.Records, func(r *journal.Record) error {
		if len(list) == maxEvents {
			return fmt.Errorf("more than %d records", maxEvents)
		}
		if g.Kind == groupOfEvents && (r.Seq <= before || r.Seq > g.Last) {
			return fmt.Errorf("number %d follows %d in a group up to %d", r.Seq, before, g.Last)
		}
		before = r.Seq
		c := *r
		list = append(list, &c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if g.Kind == groupOfEvents && (len(list) == 0 || list[0].Seq != g.First || before != g.Last) {
		return nil, errors.New("the records are not those that the header names")
	}
	return list, nil
}
