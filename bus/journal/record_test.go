package journal

// This file is the record format: what is encoded is decoded, and nothing else.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"
)

// combinations lists one record for each combination of fields.
func combinations() (list []Record) {
	for i := range 512 {
		r := Record{Time: 12345, Kind: KindEvent, Flags: 3, ID: 7, Expiry: NoExpiry, Topic: []byte("home/a")}
		if i&1 != 0 {
			r.Cause = 1 << 40
		}
		if i&2 != 0 {
			r.Stamp = -5
		}
		if i&4 != 0 {
			r.KeptTopic, r.Kept = []byte("$plugin/a/b"), []byte("a kept value")
		}
		if i&8 != 0 {
			r.KeptTopic, r.Kept = []byte("$plugin/a/c"), nil
		}
		if i&16 != 0 {
			r.Source, r.Props = []byte("client"), []byte{0x01, 1}
		}
		if i&32 != 0 {
			r.Payload = []byte("payload")
		}
		if i&64 != 0 {
			r.Lane = []byte("0123456789abcdef/a")
		}
		if i&128 != 0 {
			r.Number = 1 << 50
		}
		if i&256 != 0 {
			r.At = -12345
		}
		list = append(list, r)
	}
	return list
}

// plain is r with each empty slice nil, and without a sequence.
func plain(r Record) Record {
	for _, b := range []*[]byte{&r.Source, &r.Topic, &r.Props, &r.Payload, &r.KeptTopic, &r.Kept, &r.Lane} {
		if *b = bytes.Clone(*b); len(*b) == 0 {
			*b = nil
		}
	}
	r.Seq = 0
	return r
}

func TestARecordIsDecodedAsItWasEncoded(t *testing.T) {
	got := combinations()[4+64+128+256] // the fields of an earlier record are forgotten
	for i, r := range combinations() {
		b := appendRecord([]byte("before"), &r, 99)[len("before"):]
		if err := decodeRecord(b, &got, true); err != nil || got.Seq != 99 || !reflect.DeepEqual(plain(got), plain(r)) {
			t.Errorf("record %d: got %+v, err %v, want %+v", i, got, err, r)
		}
		for n := range len(b) { // a torn record is not a shorter one
			if err := decodeRecord(b[:n], &got, true); err == nil {
				t.Errorf("record %d: %d of %d bytes are decoded", i, n, len(b))
			}
		}
	}
}

// Lengths that exceed the record are refused, also where the checksum is right.
func TestLengthsOfARecordAreChecked(t *testing.T) {
	r := combinations()[7+64]
	le := binary.LittleEndian
	kept := recordHeader + 16
	lane := kept + keptHeader + len(r.KeptTopic) + len(r.Kept)
	for name, damage := range map[string]func(b []byte){
		"kept topic": func(b []byte) { le.PutUint16(b[kept:], 0xffff) },
		"kept value": func(b []byte) { le.PutUint32(b[kept+2:], 0xffffffff) },
		"topic":      func(b []byte) { le.PutUint16(b[34:], 0xffff) },
		"properties": func(b []byte) { le.PutUint32(b[36:], le.Uint32(b[36:])|propsMask) },
		"lane":       func(b []byte) { b[lane+16] = 0xff },
		"no room for the lane": func(b []byte) {
			le.PutUint32(b[4:], uint32(lane+16))
		},
		"no room for the lengths": func(b []byte) {
			le.PutUint32(b[4:], uint32(kept+5))
		},
		"a field of a newer version": func(b []byte) { le.PutUint32(b[36:], le.Uint32(b[36:])|hasUnknown) },
	} {
		b := appendRecord(nil, &r, 1)
		damage(b)
		le.PutUint32(b, crc32.Checksum(b[4:recordLen(b)], castagnoli))
		if err := decodeRecord(b, new(Record), true); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

func TestARecordThatIsTooLargeIsRefused(t *testing.T) {
	l, err := Open(context.Background(), testDir(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	huge := make([]byte, MaxPayload+1)
	for want, r := range map[string]*Record{
		"properties of 268435456 bytes, at most 134217727": {Props: huge[:MaxPayload]},
		"payload of 268435450 and kept value of 7 bytes":   {Payload: huge[:MaxPayload-6], KeptTopic: []byte("$plugin/a"), Kept: huge[:7]},
		"kept topic of 65536 bytes, at most 65535":         {KeptTopic: huge[:MaxName+1]},
		"lane of 256 bytes, at most 255":                   {Lane: huge[:256]},
		"source of 65536":                                  {Source: huge[:MaxName+1]},
		"kept value of 7 bytes without a topic":            {Kept: huge[:7]},
	} {
		if _, err := l.Append(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// testDir returns a directory of the test.
func testDir(t *testing.T) FS {
	t.Helper()
	fs, err := DirFS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// A record with a field of a newer version is not damaged: the start stops, and nothing is touched.
func TestAFieldOfANewerVersionStopsTheStart(t *testing.T) {
	newer := func(b []byte, at int) {
		le := binary.LittleEndian
		r := b[at:][:recordLen(b[at:])]
		le.PutUint32(r[36:], le.Uint32(r[36:])|hasUnknown)
		le.PutUint32(r, crc32.Checksum(r[4:], castagnoli))
	}
	for name, write := range map[string]func(l *Log) (file string, at int){
		"segment": func(l *Log) (string, int) {
			c, err := l.Append(&combinations()[5])
			if err != nil {
				t.Fatal(err)
			}
			<-c.Done()
			return segmentName(1), segmentHeader + groupHeader
		},
		"snapshot": func(l *Log) (string, int) {
			_, s, err := l.WriteSnapshot(1, func(emit func(*Record) (int64, error)) error {
				_, err := emit(&combinations()[5])
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			return snapshotName(1), 0
		},
	} {
		fs := testDir(t)
		l, err := Open(context.Background(), fs, Options{SegmentSize: 1 << 12})
		if err != nil {
			t.Fatal(err)
		}
		file, at := write(l)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := fs.Open(file, false)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := f.Size()
		b := make([]byte, size)
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		newer(b, at)
		f.WriteAt(b, 0)
		if l, err = Open(context.Background(), fs, Options{}); err == nil {
			_, _, err = l.ReadSnapshot(func(*Record, int64) error { return nil })
			l.Close()
		}
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error %v", name, err)
		}
		after := make([]byte, size)
		if _, err := f.ReadAt(after, 0); err != nil || !bytes.Equal(after, b) {
			t.Errorf("%s: the file was changed, err %v", name, err)
		}
		f.Close()
	}
}

// A program without lanes refuses a record with one, instead of taking the lane for a part of the event.
// Its mask of the unknown is the bit below those that it knew.
func TestARecordOfAnotherBusIsNewToAnOlderVersion(t *testing.T) {
	const unknownBefore = 1 << 28
	for i, r := range combinations() {
		fields := binary.LittleEndian.Uint32(appendRecord(nil, &r, 1)[36:])
		if newer := fields&unknownBefore != 0; newer != r.foreign() {
			t.Errorf("record %d: fields %x, of another bus %v", i, fields, r.foreign())
		}
		if fields&propsMask != uint32(len(r.Props)) {
			t.Errorf("record %d: fields %x", i, fields)
		}
	}
}

// FuzzRecord decodes anything: what is decoded lies in the bytes, and is the same when it is encoded
// again.
func FuzzRecord(f *testing.F) {
	for _, r := range combinations() {
		f.Add(appendRecord(nil, &r, 1)[8:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 1<<20 {
			return
		}
		b := binary.LittleEndian.AppendUint32(make([]byte, 4), uint32(8+len(body)))
		b = append(b, body...)
		binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
		var r, again Record
		if decodeRecord(b, &r, true) != nil {
			return
		}
		size := len(r.Lane) + len(r.Source) + len(r.Topic) + len(r.Props) + len(r.Payload) + len(r.KeptTopic) + len(r.Kept)
		if size > len(b) {
			t.Fatalf("%d bytes of %d", size, len(b))
		}
		if len(r.KeptTopic) == 0 {
			r.Kept = nil // which is no value
		}
		if err := decodeRecord(appendRecord(nil, &r, r.Seq), &again, true); err != nil || !reflect.DeepEqual(plain(r), plain(again)) {
			t.Fatal(fmt.Sprintf("%+v, then %+v", r, again), err)
		}
	})
}
