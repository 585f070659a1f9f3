package fleet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus/journal"
)

// eventsOf is a group with events of these numbers.
func eventsOf(numbers ...uint64) *group {
	g := &group{Kind: groupOfEvents, Epoch: [16]byte{1, 2, 3}, Run: 7, Start: 1, Done: 9, Sent: 1_700_000_000_000_000_000}
	for _, n := range numbers {
		g.Records = journal.Encode(g.Records, &journal.Record{Seq: n, Kind: journal.KindEvent, Expiry: journal.NoExpiry, Flags: 1,
			Source: []byte("lamp"), Topic: []byte("home/lamp"), Payload: fmt.Append(nil, n)})
	}
	if len(numbers) > 0 {
		g.First, g.Last = numbers[0], numbers[len(numbers)-1]
	}
	return g
}

func TestGroupRoundTrip(t *testing.T) {
	hello := &group{Kind: groupHello, Epoch: [16]byte{15: 9}, Run: ^uint64(0), Sent: -1, Records: []byte{}}
	values := eventsOf(9, 3)
	values.Kind, values.Final, values.First, values.Last, values.Start = groupOfValues, true, 0, 0, 0
	lanes := &group{Kind: groupOfLanes, Records: []byte(`[{"lane":"a","start":1,"last":2}]`)}
	far := eventsOf(maxNumber-1, maxNumber)
	far.Start, far.Floor = 4, maxNumber-2
	for name, g := range map[string]*group{"events": eventsOf(4, 5, 9), "one": eventsOf(4), "hello": hello, "values": values, "lanes": lanes, "the largest numbers": far} {
		got, err := decodeHeader(g.encode())
		if err != nil || !reflect.DeepEqual(got, *g) {
			t.Errorf("%s: %+v, %v\nwant %+v", name, got, err, *g)
		}
	}
	for kind, want := range map[*group]string{eventsOf(4, 5, 9): "4 5 9", values: "9 3", hello: ""} {
		list, err := kind.records()
		var numbers []string
		for _, r := range list {
			numbers = append(numbers, fmt.Sprint(r.Seq))
			if string(r.Payload) != fmt.Sprint(r.Seq) || string(r.Topic) != "home/lamp" {
				t.Errorf("record %d is %+v", r.Seq, r)
			}
		}
		if got := strings.Join(numbers, " "); got != want || err != nil {
			t.Errorf("records %s, %v, want %s", got, err, want)
		}
	}
}

// checked sets the checksum of a header that was changed.
func checked(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[groupHeader-4:], crc32.Checksum(b[:groupHeader-4], castagnoli))
	return b
}

func TestGroupsThatAreRefused(t *testing.T) {
	changed := func(f func(g *group)) []byte {
		g := eventsOf(4, 5, 9)
		f(g)
		return g.encode()
	}
	good := eventsOf(4, 5, 9).encode()
	edit := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":            {nil, "no group"},
		"an acknowledgement": {[]byte(`{"stream":"PBF_home","seq":134}`), "no group"},
		"a cut header":       {good[:groupHeader-1], "the header has 83 bytes of 84"},
		"a flipped bit":      {edit(func(b []byte) { b[30] ^= 4 }), "checksum of the header"},
		"no start":           {changed(func(g *group) { g.Start = 0 }), "do not follow"},
		"a start behind":     {changed(func(g *group) { g.Start = 5 }), "do not follow"},
		"a floor within":     {changed(func(g *group) { g.Floor = 4 }), "do not follow"},
		"a last before":      {changed(func(g *group) { g.Last = 3 }), "do not follow"},
		"an enormous last":   {changed(func(g *group) { g.Last = maxNumber + 1 }), "do not follow"},
		"too large":          {checked(append(bytes.Clone(good[:groupHeader]), make([]byte, maxMessage)...)), "at most 67108864"},
	} {
		if _, err := decodeHeader(c.data); err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, errFormat) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// A message of a newer version has an error of its own: the stream is read again after an upgrade.
	for name, data := range map[string][]byte{
		"another format": edit(func(b []byte) { b[3]++ }),
		"another kind":   checked(edit(func(b []byte) { b[4] = byte(groupOfLanes) + 1 })),
	} {
		if _, err := decodeHeader(data); !errors.Is(err, errFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRecordsThatAreRefused(t *testing.T) {
	with := func(first, last uint64, numbers ...uint64) *group {
		g := eventsOf(numbers...)
		g.First, g.Last = first, last
		return g
	}
	many := make([]uint64, maxEvents+1)
	for i := range many {
		many[i] = uint64(i + 1)
	}
	damaged := eventsOf(4, 5)
	damaged.Records[len(damaged.Records)-3] ^= 1
	cut := eventsOf(4, 5)
	cut.Records = cut.Records[:len(cut.Records)-1]
	for name, c := range map[string]struct {
		g    *group
		want string
	}{
		"none":            {with(4, 9), "not those that the header names"},
		"another first":   {with(3, 9, 4, 9), "not those that the header names"},
		"before first":    {with(5, 9, 4, 9), "number 4 follows 4"},
		"another last":    {with(4, 9, 4, 8), "not those that the header names"},
		"behind last":     {with(4, 9, 4, 10), "number 10 follows 4"},
		"equal numbers":   {with(4, 9, 4, 4, 9), "number 4 follows 4"},
		"falling numbers": {with(4, 9, 4, 8, 7, 9), "number 7 follows 8"},
		"too many":        {eventsOf(many...), "more than 4096 records"},
		"damaged":         {damaged, ""},
		"cut":             {cut, ""},
	} {
		if list, err := c.g.records(); err == nil || !strings.Contains(err.Error(), c.want) || list != nil {
			t.Errorf("%s: %d records, %v, want %q", name, len(list), err, c.want)
		}
	}
}

// FuzzGroup: whatever a message holds, reading it ends with an error or with records that fit its header. The checksum
// of the header is made right in half of the runs, else hardly any gets past it.
func FuzzGroup(f *testing.F) {
	for _, g := range []*group{eventsOf(4, 5, 9), {Kind: groupHello}, {Kind: groupOfLanes, Records: []byte("[]")}, {Kind: groupOfValues, Final: true, Records: eventsOf(2, 1).Records}} {
		f.Add(g.encode(), true)
		f.Add(g.encode(), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, right bool) {
		if right && len(b) >= groupHeader {
			copy(b, groupMagic[:])
			b[3] = groupFormat
			checked(b)
		}
		g, err := decodeHeader(b)
		if err != nil {
			return
		}
		again, err := decodeHeader(g.encode())
		if err != nil || !reflect.DeepEqual(again, g) {
			t.Fatalf("%+v became %+v, %v", g, again, err)
		}
		list, err := g.records()
		if err != nil {
			return
		}
		if g.Kind != groupOfEvents {
			return
		}
		if len(list) == 0 || len(list) > maxEvents || list[0].Seq != g.First || list[len(list)-1].Seq != g.Last || g.First <= g.Floor || g.Start > g.First {
			t.Fatalf("%d records of %+v", len(list), g)
		}
		for i := range list[1:] {
			if list[i+1].Seq <= list[i].Seq {
				t.Fatalf("number %d behind %d", list[i+1].Seq, list[i].Seq)
			}
		}
	})
}
