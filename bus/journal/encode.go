package journal

// This file is the encoding of records outside of the journal, for a program that sends them to
// another one. It is that of the segments, so that each record has its sequence and a checksum.

import "fmt"

// Encode appends r, with its sequence, to b. DecodeAll reads what several calls appended. A record that
// Append would refuse as too large must not be encoded.
func Encode(b []byte, r *Record) []byte { return appendRecord(b, r, r.Seq) }

// EncodedSize is the number of bytes that Encode appends.
func EncodedSize(r *Record) int {
	n := recordHeader + len(r.Source) + len(r.Topic) + len(r.Props) + len(r.Payload)
	if r.Cause != 0 {
		n += 8
	}
	if r.Stamp != 0 {
		n += 8
	}
	if len(r.KeptTopic) > 0 {
		n += keptHeader + len(r.KeptTopic) + len(r.Kept)
	}
	if r.foreign() {
		n += laneHeader + len(r.Lane)
	}
	return n
}

// DecodeAll calls each for all records of b, in their order. It verifies lengths and checksums: the
// error of a record that is damaged, or of a newer version, names its offset. A record's slices are
// views of b, and the record is valid during the call. An error of each is returned as it is.
func DecodeAll(b []byte, each func(*Record) error) error {
	var r Record
	for off := 0; off < len(b); {
		if err := decodeRecord(b[off:], &r, true); err != nil {
			return fmt.Errorf("record at offset %d of %d: %w", off, len(b), err)
		}
		off += recordLen(b[off:])
		if err := each(&r); err != nil {
			return err
		}
	}
	return nil
}
