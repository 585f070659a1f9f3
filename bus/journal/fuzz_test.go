package journal_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

// eventWithKept is event; every other one has a kept value.
func eventWithKept(i int) *journal.Record {
	r := event(i)
	if i%2 == 0 {
		r.KeptTopic, r.Kept = []byte("$plugin/a"), fmt.Appendf(nil, "kept %d", i)
	}
	return r
}

// checkKept demands that a record has its kept value, the whole of it.
func checkKept(t *testing.T, r *journal.Record) {
	t.Helper()
	var i int
	if _, err := fmt.Sscanf(string(r.Payload), "payload %d", &i); err != nil {
		t.Fatalf("payload %q", r.Payload)
	}
	if want := eventWithKept(i); string(r.KeptTopic) != string(want.KeptTopic) || string(r.Kept) != string(want.Kept) {
		t.Fatalf("%s has %s %q", r.Payload, r.KeptTopic, r.Kept)
	}
}

// FuzzSegment damages a segment in any way: it opens, what is read is in order and undamaged, and
// the journal continues.
func FuzzSegment(f *testing.F) {
	const name = "00000000000000000001.seg"
	disk := func(t testing.TB) (*bustest.Disk, []byte) {
		d := bustest.NewDisk(1)
		l := open(t, d, journal.Options{SegmentSize: 1 << 12})
		for i := range 20 {
			c, err := l.Append(eventWithKept(i))
			if err != nil {
				t.Fatal(err)
			}
			if i%10 == 9 { // two groups
				<-c.Done()
			}
		}
		d = d.Kill()
		l.Close()
		file, err := d.Open(name, false)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4<<10)
		n, _ := file.ReadAt(b, 0)
		return d, b[:n]
	}
	f.Add([]byte{}, uint16(0), uint16(0))
	f.Add([]byte{0, 0, 0, 0}, uint16(100), uint16(200))
	f.Add([]byte("PBG1"), uint16(64), uint16(0))
	f.Fuzz(func(t *testing.T, patch []byte, at, cut uint16) {
		d, b := disk(t)
		off := int(at) % len(b)
		n := copy(b[off:], patch)
		if cut > 0 {
			b = b[:int(cut)%len(b)]
		}
		file, err := d.Open(name, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		l, err := journal.Open(context.Background(), d, journal.Options{SegmentSize: 1 << 12})
		if err != nil {
			t.Fatalf("damage at %d, %d bytes: %v", off, n, err)
		}
		defer l.Close()
		got := payloads(t, l, 1)
		if len(got) > 20 {
			t.Fatalf("%d records of 20", len(got))
		}
		r := l.Reader(1)
		defer r.Release()
		for rec := new(journal.Record); ; {
			if ok, err := r.Next(rec); err != nil || !ok {
				break
			}
			checkKept(t, rec)
		}
		put(t, l, 100, 101)
		if after := payloads(t, l, 1); len(after) != len(got)+1 || after[len(got)] != "payload 100" {
			t.Fatalf("after one more: %q", after)
		}
	})
}

// FuzzSnapshot damages a snapshot: the one before it counts, or none.
func FuzzSnapshot(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint16(10))
	f.Add(binary.LittleEndian.AppendUint32(nil, 1<<31), uint16(4))
	f.Fuzz(func(t *testing.T, patch []byte, at uint16) {
		d := bustest.NewDisk(1)
		l := open(t, d, journal.Options{SegmentSize: 1 << 12})
		defer l.Close()
		_, snap, err := l.WriteSnapshot(7, func(emit func(*journal.Record) (int64, error)) error {
			for i := range 5 {
				if _, err := emit(eventWithKept(i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		snap.Close()
		file, err := d.Open("00000000000000000007.snap", false)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := file.Size()
		if _, err := file.WriteAt(patch, int64(at)%size); err != nil {
			t.Fatal(err)
		}
		n := 0
		seq, _, err := l.ReadSnapshot(func(r *journal.Record, _ int64) error { n++; checkKept(t, r); return nil })
		if err != nil || seq == 7 && n != 5 || seq != 7 && n != 0 {
			t.Fatalf("snapshot %d with %d records: %v", seq, n, err)
		}
	})
}
