package journal

// This file is the record format: a 40-byte header, then source, topic, properties and payload.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
)

// Kind says what a record means. The journal itself only knows KindEvent (its topic is summarised);
// all other kinds belong to the package that folds them.
type Kind uint8

// The kinds that the journal knows.
const (
	// KindEvent is a published event.
	KindEvent Kind = 1
	// KindConditional is an event that counts only if the fold accepts it, such as a last will.
	KindConditional Kind = 64
	// KindImported is an event of another bus, which counts only if the fold has not seen its number.
	KindImported Kind = 65
	// KindOffered is a retained value of another bus, which counts only if it is newer than what is here.
	KindOffered Kind = 66
)

// Event reports whether the record is an event, conditional or not.
func (k Kind) Event() bool { return k == KindEvent || k.Conditional() }

// Conditional reports whether the record is an event that the fold may refuse.
func (k Kind) Conditional() bool { return k >= KindConditional && k <= KindOffered }

// NextStamp in Record.Stamp makes Append replace it with a stamp that is higher than that of any
// earlier record, and not before Time.
const NextStamp int64 = -1

// LatestStamp is the beginning of the year 2200: the highest stamp that is given, and that is accepted of others.
const LatestStamp int64 = 7258118400_000_000_000

// NoExpiry in Record.Expiry means that the event never expires.
const NoExpiry uint32 = math.MaxUint32

// Limits of one record, in bytes.
const (
	MaxName    = math.MaxUint16 // Source and Topic
	MaxPayload = 256 << 20      // Props, Payload and Kept together
	MaxProps   = propsMask      // Props
	MaxLane    = math.MaxUint8  // Lane
)

// Record is one entry of the log. The slices of a record that a Reader returned are views that are
// valid until the reader's next call.
type Record struct {
	Seq     uint64 // of a record that was read; Append ignores it
	Time    int64  // Unix nanoseconds; set by Append when 0
	Kind    Kind
	Flags   uint8  // the owner's
	ID      uint16 // the owner's; an MQTT packet identifier
	Expiry  uint32 // seconds after Time, or NoExpiry
	Cause   uint64 // sequence of the record that caused this one; 0: none, or not known
	Stamp   int64  // Unix nanoseconds by which the last writer of a retained topic wins; 0: none
	Source  []byte // client or plugin
	Topic   []byte
	Props   []byte // MQTT 5 properties in wire encoding
	Payload []byte

	// A value that becomes durable together with the record, and its topic; no topic: none. What they
	// mean is the owner's: they are in no summary of topics.
	KeptTopic []byte
	Kept      []byte

	// Where an event of another bus comes from. All are zero for an event of this bus.
	Lane   []byte // the sequence of events that it belongs to; up to MaxLane bytes
	Number uint64 // its position in the lane
	At     int64  // Unix nanoseconds, by this bus's clock, when the other bus accepted it
}

// foreign reports whether the record has fields about another bus.
func (r *Record) foreign() bool { return len(r.Lane) > 0 || r.Number != 0 || r.At != 0 }

// Expired reports whether the record's expiry has passed at now. A clock that went back never
// expires a record.
func (r *Record) Expired(now time.Time) bool {
	return r.Expiry != NoExpiry && now.UnixNano()-r.Time > int64(r.Expiry)*int64(time.Second)
}

// check returns which field of a new record is too long.
func (r *Record) check() error {
	if len(r.Source) > MaxName || len(r.Topic) > MaxName || len(r.KeptTopic) > MaxName ||
		len(r.Props) > MaxProps || len(r.Props)+len(r.Payload)+len(r.Kept) > MaxPayload {
		return fmt.Errorf("record too large: source of %d, topic of %d and kept topic of %d bytes, at most %d each; properties of %d bytes, at most %d; with payload of %d and kept value of %d bytes, at most %d",
			len(r.Source), len(r.Topic), len(r.KeptTopic), MaxName, len(r.Props), MaxProps, len(r.Payload), len(r.Kept), MaxPayload)
	}
	if len(r.Lane) > MaxLane {
		return fmt.Errorf("record too large: lane of %d bytes, at most %d", len(r.Lane), MaxLane)
	}
	if len(r.KeptTopic) == 0 && len(r.Kept) > 0 {
		return fmt.Errorf("kept value of %d bytes without a topic", len(r.Kept))
	}
	return nil
}

const (
	recordHeader = 40
	groupHeader  = 40
	groupHeader1 = 32         // of format 1, which has no position
	groupMagic   = 0x32474250 // "PBG2"
	groupMagic1  = 0x31474250 // "PBG1"
	keptHeader   = 6
	laneHeader   = 17
	maxRecord    = recordHeader + 16 + keptHeader + laneHeader + MaxLane + 3*MaxName + MaxPayload
)

// The upper bits of a record's properties length say which fields follow the header. Format 1 has
// none.
const (
	hasCause   = 1 << 31
	hasStamp   = 1 << 30
	hasKept    = 1 << 29
	hasLane    = 1 << 28
	hasUnknown = 1 << 27
	propsMask  = hasUnknown - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord encodes r with its sequence at the end of b:
//
//	crc u32 · length u32 · seq u64 · time i64 · kind u8 · flags u8 · id u16 · expiry u32 ·
//	source length u16 · topic length u16 · fields and props length u32 · [cause u64] · [stamp i64] ·
//	[kept topic length u16 · kept length u32 · kept topic · kept] ·
//	[number u64 · at i64 · lane length u8 · lane] · source · topic · props · payload
func appendRecord(b []byte, r *Record, seq uint64) []byte {
	at := len(b)
	le := binary.LittleEndian
	b = append(b, make([]byte, recordHeader)...)
	fields := uint32(len(r.Props))
	if r.Cause != 0 {
		fields |= hasCause
		b = le.AppendUint64(b, r.Cause)
	}
	if r.Stamp != 0 {
		fields |= hasStamp
		b = le.AppendUint64(b, uint64(r.Stamp))
	}
	if len(r.KeptTopic) > 0 {
		fields |= hasKept
		b = le.AppendUint16(b, uint16(len(r.KeptTopic)))
		b = le.AppendUint32(b, uint32(len(r.Kept)))
		b = append(b, r.KeptTopic...)
		b = append(b, r.Kept...)
	}
	if r.foreign() {
		fields |= hasLane
		b = le.AppendUint64(b, r.Number)
		b = le.AppendUint64(b, uint64(r.At))
		b = append(b, byte(len(r.Lane)))
		b = append(b, r.Lane...)
	}
	b = append(b, r.Source...)
	b = append(b, r.Topic...)
	b = append(b, r.Props...)
	b = append(b, r.Payload...)
	h := b[at:]
	le.PutUint32(h[4:], uint32(len(h)))
	le.PutUint64(h[8:], seq)
	le.PutUint64(h[16:], uint64(r.Time))
	h[24], h[25] = byte(r.Kind), r.Flags
	le.PutUint16(h[26:], r.ID)
	le.PutUint32(h[28:], r.Expiry)
	le.PutUint16(h[32:], uint16(len(r.Source)))
	le.PutUint16(h[34:], uint16(len(r.Topic)))
	le.PutUint32(h[36:], fields)
	le.PutUint32(h, crc32.Checksum(h[4:], castagnoli))
	return b
}

// recordLen reads the length of the record at the start of b; 0 when b is too short or the length
// cannot be one.
func recordLen(b []byte) int {
	if len(b) < recordHeader {
		return 0
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n < recordHeader || n > maxRecord {
		return 0
	}
	return int(n)
}

func recordSeq(b []byte) uint64 { return binary.LittleEndian.Uint64(b[8:]) }

// errNewer is the error of a record that is whole, and has fields of a newer version. Skipping it as
// damaged would lose it.
var errNewer = fmt.Errorf("record with fields that this version does not know: %w", ErrFormat)

var errLengths = errors.New("field lengths exceed the record")

// decodeRecord fills r with views of b, which holds exactly one record. With verify the checksum is
// compared; the lengths are checked always.
func decodeRecord(b []byte, r *Record, verify bool) error {
	n := recordLen(b)
	if n == 0 || n > len(b) {
		return fmt.Errorf("record header is damaged")
	}
	b = b[:n]
	le := binary.LittleEndian
	if verify && crc32.Checksum(b[4:], castagnoli) != le.Uint32(b) {
		return fmt.Errorf("checksum does not match")
	}
	src, top, fields := int(le.Uint16(b[32:])), int(le.Uint16(b[34:])), le.Uint32(b[36:])
	remaining := b[recordHeader:]
	if fields&hasUnknown != 0 {
		return errNewer
	}
	r.Cause, r.Stamp, r.KeptTopic, r.Kept = 0, 0, nil, nil
	r.Lane, r.Number, r.At = nil, 0, 0
	if fields&hasCause != 0 {
		if len(remaining) < 8 {
			return errLengths
		}
		r.Cause, remaining = le.Uint64(remaining), remaining[8:]
	}
	if fields&hasStamp != 0 {
		if len(remaining) < 8 {
			return errLengths
		}
		r.Stamp, remaining = int64(le.Uint64(remaining)), remaining[8:]
	}
	if fields&hasKept != 0 {
		if len(remaining) < keptHeader {
			return errLengths
		}
		name, size := int(le.Uint16(remaining)), le.Uint32(remaining[2:])
		remaining = remaining[keptHeader:]
		if uint64(name)+uint64(size) > uint64(len(remaining)) {
			return errLengths
		}
		r.KeptTopic, remaining = remaining[:name:name], remaining[name:]
		r.Kept, remaining = remaining[:size:size], remaining[size:]
	}
	if fields&hasLane != 0 {
		if len(remaining) < laneHeader {
			return errLengths
		}
		size := int(remaining[16])
		r.Number, r.At = le.Uint64(remaining), int64(le.Uint64(remaining[8:]))
		if remaining = remaining[laneHeader:]; size > len(remaining) {
			return errLengths
		}
		r.Lane, remaining = remaining[:size:size], remaining[size:]
	}
	pr := fields & propsMask
	if uint64(src)+uint64(top)+uint64(pr) > uint64(len(remaining)) {
		return errLengths
	}
	props := int(pr)
	r.Seq = le.Uint64(b[8:])
	r.Time = int64(le.Uint64(b[16:]))
	r.Kind, r.Flags = Kind(b[24]), b[25]
	r.ID = le.Uint16(b[26:])
	r.Expiry = le.Uint32(b[28:])
	r.Source, remaining = remaining[:src:src], remaining[src:]
	r.Topic, remaining = remaining[:top:top], remaining[top:]
	r.Props, r.Payload = remaining[:props:props], remaining[props:]
	return nil
}

// A group is what one write and one sync make durable. Its header proves more than itself: it is
// written only when every earlier group is durable, so that damage before it is real damage, not a
// torn write.
//
//	magic u32 · crc u32 · body length u32 · records u32 · first seq u64 · last durable seq u64 · position u64
//
// The position is that of the group at an orderer other than this disk; 0 where there is none.
func putGroupHeader(h []byte, body, count int, first, durable uint64) {
	le := binary.LittleEndian
	le.PutUint32(h, groupMagic)
	le.PutUint32(h[8:], uint32(body))
	le.PutUint32(h[12:], uint32(count))
	le.PutUint64(h[16:], first)
	le.PutUint64(h[24:], durable)
	le.PutUint32(h[4:], crc32.Checksum(h[8:groupHeader], castagnoli))
}

// groupHeaderLen returns the length of the group header at the start of b; 0 when there is none.
func groupHeaderLen(b []byte) int {
	le := binary.LittleEndian
	for _, h := range [...]struct {
		magic uint32
		size  int
	}{{groupMagic, groupHeader}, {groupMagic1, groupHeader1}} {
		if len(b) >= h.size && le.Uint32(b) == h.magic && le.Uint32(b[4:]) == crc32.Checksum(b[8:h.size], castagnoli) {
			return h.size
		}
	}
	return 0
}
