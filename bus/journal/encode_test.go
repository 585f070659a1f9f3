package journal

// This file is records outside of the journal, and the stamps that Append gives.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRecordsAreDecodedAsTheyWereEncoded(t *testing.T) {
	var b []byte
	for i, r := range combinations() {
		r.Seq = uint64(i) + 1
		before := len(b)
		b = Encode(b, &r)
		if n := len(b) - before; n != EncodedSize(&r) {
			t.Fatalf("record %d has %d bytes, EncodedSize says %d", i, n, EncodedSize(&r))
		}
	}
	n := 0
	err := DecodeAll(b, func(r *Record) error {
		if r.Seq != uint64(n)+1 || !reflect.DeepEqual(plain(*r), plain(combinations()[n])) {
			t.Fatalf("record %d is %+v", n, r)
		}
		n++
		return nil
	})
	if err != nil || n != len(combinations()) {
		t.Fatalf("%d records, err %v", n, err)
	}
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	r := combinations()[127]
	one := Encode(nil, &r)
	two := Encode(bytes.Clone(one), &r)
	count := func(b []byte) (n int, err error) {
		err = DecodeAll(b, func(*Record) error { n++; return nil })
		return n, err
	}
	for i := range two {
		b := bytes.Clone(two)
		b[i] ^= 0x40
		if n, err := count(b); err == nil || n > 1 || !strings.Contains(err.Error(), fmt.Sprintf("offset %d of %d", n*len(one), len(two))) {
			t.Errorf("byte %d: %d records, err %v", i, n, err)
		}
		if n, err := count(two[:i]); i != 0 && i != len(one) && err == nil {
			t.Errorf("%d of %d bytes: %d records without an error", i, len(two), n)
		}
	}
	newer := bytes.Clone(one)
	le := binary.LittleEndian
	le.PutUint32(newer[36:], le.Uint32(newer[36:])|hasUnknown)
	le.PutUint32(newer, checksum(newer))
	if _, err := count(newer); !errors.Is(err, ErrFormat) {
		t.Errorf("a field of a newer version: %v", err)
	}
	mine := errors.New("mine")
	if err := DecodeAll(two, func(*Record) error { return mine }); err != mine {
		t.Errorf("error of the caller: %v", err)
	}
}

// FuzzDecodeAll decodes anything: it ends, what it finds lies in the bytes, and is the same when it is
// encoded again.
func FuzzDecodeAll(f *testing.F) {
	var all []byte
	for i, r := range combinations() {
		if i%37 == 0 {
			all = Encode(all, &r)
			f.Add(Encode(nil, &r), true)
		}
	}
	f.Add(all, false)
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if len(b) > 1<<20 {
			return
		}
		if n := recordLen(b); repair && n > 0 && n <= len(b) { // behind the first checksum
			binary.LittleEndian.PutUint32(b, checksum(b[:n]))
		}
		end := 0
		err := DecodeAll(b, func(r *Record) error {
			n := recordLen(b[end:])
			if again := Encode(nil, r); len(again) > n {
				t.Fatalf("%d bytes are encoded as %d", n, len(again))
			}
			end += n
			return nil
		})
		if err == nil && end != len(b) {
			t.Fatalf("%d of %d bytes, and no error", end, len(b))
		}
	})
}

// checksum is the one that a record of these bytes needs.
func checksum(b []byte) uint32 { return crc32.Checksum(b[4:], castagnoli) }

// Whatever the clock does, each stamp is higher than all before: also when several goroutines append,
// and after a higher one of another bus.
func TestStampsRise(t *testing.T) {
	l, err := Open(context.Background(), testDir(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	stamps := func(r Record) int64 {
		r.Kind, r.Topic = KindEvent, []byte("a")
		if _, err := l.Append(&r); err != nil {
			t.Fatal(err)
		}
		return r.Stamp
	}
	for i, c := range []struct{ time, stamp, want int64 }{
		{100, NextStamp, 100},
		{100, NextStamp, 101},
		{50, NextStamp, 102}, // the clock went back
		{-7, NextStamp, 103},
		{200, 0, 0},
		{200, 77, 77}, // of another bus
		{110, NextStamp, 110},
		{120, 500, 500},
		{120, NextStamp, 501},
		{900, NextStamp, 900},
	} {
		if got := stamps(Record{Time: c.time, Stamp: c.stamp}); got != c.want {
			t.Errorf("append %d: stamp %d, want %d", i, got, c.want)
		}
	}
	l.RaiseStamp(5000)
	l.RaiseStamp(10)
	if got := stamps(Record{Time: 901, Stamp: NextStamp}); got != 5001 {
		t.Errorf("after RaiseStamp: %d", got)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 100 {
				stamps(Record{Time: int64(1 + i%7), Stamp: NextStamp})
			}
		})
	}
	all.Wait()
	c, err := l.Append(&Record{Kind: KindEvent, Topic: []byte("end")})
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	r := l.Reader(12)
	defer r.Release()
	var rec Record
	for want := int64(5002); want < 5402; want++ { // in the order of the sequences
		if ok, err := r.Next(&rec); !ok || err != nil || rec.Stamp != want {
			t.Fatalf("sequence %d has stamp %d, want %d: %v %v", rec.Seq, rec.Stamp, want, ok, err)
		}
	}
}

// SeqWithin keeps to the size, and does not give up much more than it must. Latest is the greatest time.
func TestSeqWithinASize(t *testing.T) {
	l, err := Open(context.Background(), testDir(t), Options{SegmentSize: 300 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := l.SeqWithin(1 << 20); got != 1 {
		t.Errorf("of an empty journal: %d", got)
	}
	if got := l.Latest(); got != 0 {
		t.Errorf("latest of an empty journal: %d", got)
	}
	const records, size = 2000, 1024
	start := time.Now().UnixNano()
	for i := range records {
		c, err := l.Append(&Record{Kind: KindEvent, Topic: []byte("a"), Payload: make([]byte, size-recordHeader-1), Time: start + int64(i%1500)})
		if err != nil {
			t.Fatal(err)
		}
		if i%16 == 0 {
			<-c.Done()
		}
	}
	if err := l.Wait(context.Background(), records-1); err != nil {
		t.Fatal(err)
	}
	if got := l.Latest(); got != start+1499 {
		t.Errorf("latest %d, want %d", got, start+1499)
	}
	if got := l.SeqWithin(1 << 40); got != 1 {
		t.Errorf("everything fits: %d", got)
	}
	if got := l.SeqWithin(0); got != records+1 {
		t.Errorf("nothing fits: %d", got)
	}
	for want := int64(100 << 10); want < 2<<20; want += 70 << 10 {
		seq := l.SeqWithin(want)
		kept := (records + 1 - int64(seq)) * size
		if kept > want || want-kept > 140<<10 && seq > 1 {
			t.Errorf("within %d KiB: from %d on, %d KiB", want>>10, seq, kept>>10)
		}
	}
}

// A reader is told of records that Retain has deleted, and of nothing else.
func TestAReaderIsToldWhatWasDeleted(t *testing.T) {
	l, err := Open(context.Background(), testDir(t), Options{SegmentSize: 4 << 10, CacheSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 200 {
		c, err := l.Append(&Record{Kind: KindEvent, Topic: []byte("a"), Payload: make([]byte, 100)})
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
	}
	read := func(from uint64) (deleted string, first uint64) {
		r := l.Reader(from)
		defer r.Release()
		r.Deleted = func(from, to uint64) { deleted += fmt.Sprint(from, "-", to, " ") }
		var rec Record
		if ok, err := r.Next(&rec); !ok || err != nil {
			t.Fatal(ok, err)
		}
		return deleted, rec.Seq
	}
	if deleted, first := read(0); deleted != "" || first != 1 {
		t.Errorf("before: %q, first %d", deleted, first)
	}
	kept := l.Retain(100, 0, 0, time.Now().Add(time.Hour))
	if kept < 50 || kept > 100 {
		t.Fatalf("kept from %d on", kept)
	}
	for _, from := range []uint64{0, 1, 17, kept - 1} {
		if deleted, first := read(from); deleted != fmt.Sprint(max(from, 1), "-", kept-1, " ") || first != kept {
			t.Errorf("from %d: %q, first %d", from, deleted, first)
		}
	}
	if deleted, first := read(kept); deleted != "" || first != kept {
		t.Errorf("from the first: %q, first %d", deleted, first)
	}
}
