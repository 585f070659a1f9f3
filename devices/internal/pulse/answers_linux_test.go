// This file tests decoding: answers of pulseaudio 16.1 and pipewire-pulse 0.3.65, and invalid ones.

package pulse

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// recorded returns an answer in testdata: the bytes after the tag of its command.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".hex")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b[10:] // without the command and the tag
}

func TestRecordedAnswers(t *testing.T) {
	for _, c := range []struct{ server, name, sink, source string }{{"pulseaudio", "pulseaudio 16.1", "0", "1"}, {"pipewire", "PulseAudio (on PipeWire 0.3.65) 15.0.0", "40", "44"}} {
		t.Run(c.server, func(t *testing.T) {
			r := &reading{b: recorded(t, c.server+"-server")}
			if s := r.server(); s.Name+" "+s.Version != c.name || s.Sink != "one" || s.Source != "mic" || r.err != nil {
				t.Errorf("%+v %v", s, r.err)
			}
			r = &reading{b: recorded(t, c.server+"-sink")}
			if d := r.device(false); fmt.Sprint(d) != "{"+c.sink+" one Speakers [26214 36044] false false}" || r.err != nil {
				t.Errorf("%+v %v", d, r.err)
			}
			r = &reading{b: recorded(t, c.server+"-source")}
			if d := r.device(true); fmt.Sprint(d) != "{"+c.source+" mic Mic [65536 65536] true false}" || r.err != nil {
				t.Errorf("%+v %v", d, r.err)
			}
			r = &reading{b: recorded(t, c.server+"-recordings")}
			var names []string
			for _, o := range r.recordings(maxVersion) {
				names = append(names, fmt.Sprint(o.Properties["application.name"], " ", o.Source, " ", o.Client, " ", o.Corked))
			}
			slices.Sort(names)
			if want := []string{"Mon " + c.sink + " true false", "Recorder " + c.source + " true false"}; r.err != nil || !slices.Equal(names, want) {
				t.Errorf("%q %v", names, r.err)
			}
		})
	}
}

// TestCutAnswers checks that a truncated answer is an error, wherever it is cut; of a list,
// anywhere except between two entries.
func TestCutAnswers(t *testing.T) {
	whole := recorded(t, "pulseaudio-recordings")
	good := 0
	for n := range whole {
		r := &reading{b: whole[:n]}
		if r.recordings(maxVersion); r.err == nil {
			good++
		}
	}
	if good != 2 { // none, and the first
		t.Errorf("%d cut lists were understood", good)
	}
	sink := recorded(t, "pulseaudio-sink")
	r := &reading{b: sink}
	r.device(false)
	for n := range r.at {
		if r := (&reading{b: sink[:n]}); r.device(false).Index != 0 || r.err == nil {
			t.Fatalf("a device of %d bytes was understood", n)
		}
	}
}

// TestOlderVersions checks that fields that a version doesn't have aren't expected.
func TestOlderVersions(t *testing.T) {
	w := &writing{}
	w.u32(1).text("x").u32(none).u32(2).u32(3)
	w.b = append(w.b, tagSpec, 3, 1, 0, 0, 0, 9, tagMap, 1, 0, tagUsec, 0, 0, 0, 0, 0, 0, 0, 0, tagUsec, 0, 0, 0, 0, 0, 0, 0, 0)
	w.text("").text("native").property("application.name", "Old")
	for version, tail := range map[uint32]func(){13: func() {}, 19: func() { w.bool(true) }, 22: func() {
		w.bool(true).volumes([]uint32{65536}).bool(false).bool(true).bool(true)
		w.b = append(w.b, tagFormat, tagU8, 1)
		w.property("a", "b")
	}} {
		before := len(w.b)
		tail()
		r := &reading{b: append(w.b, w.b...)}
		list := r.recordings(version)
		if r.err != nil || len(list) != 2 || list[1].Properties["application.name"] != "Old" || list[1].Corked != (version >= 19) {
			t.Errorf("version %d: %+v %v", version, list, r.err)
		}
		w.b = w.b[:before]
	}
}

func TestHostileValues(t *testing.T) {
	long := strings.Repeat("a", maxText+1)
	for name, c := range map[string]struct {
		b    []byte
		read func(r *reading)
		want string
	}{
		"nothing":                     {nil, func(r *reading) { r.u32() }, "byte 0: 1 bytes are missing"},
		"another type":                {[]byte{tagU8, 1}, func(r *reading) { r.u32() }, `byte 0: a value of type 'B' instead of 'L'`},
		"a number as text":            {[]byte{tagU32, 0, 0, 0, 1}, func(r *reading) { r.text() }, "instead of a text"},
		"a number as boolean":         {[]byte{tagU32, 0, 0, 0, 1}, func(r *reading) { r.bool() }, "instead of a boolean"},
		"a text without an end":       {[]byte("tabc"), func(r *reading) { r.text() }, "without an end"},
		"a long text":                 {append([]byte("t"+long), 0), func(r *reading) { r.text() }, "more than 65536 bytes"},
		"volumes that are missing":    {[]byte{tagVolumes, 255, 0, 0}, func(r *reading) { r.volumes() }, "bytes are missing"},
		"a map that is missing":       {[]byte{tagMap, 255, 0, 0}, func(r *reading) { r.channelMap() }, "253 bytes are missing"},
		"a property of 4 GiB":         {append((&writing{[]byte{tagList}}).text("k").u32(none).b, tagBytes, 255, 255, 255, 255), func(r *reading) { r.properties() }, "a property of 4294967295"},
		"a property of two lengths":   {append((&writing{[]byte{tagList}}).text("k").u32(2).b, tagBytes, 0, 0, 0, 1, 0), func(r *reading) { r.properties() }, "a property of 2 or 1 bytes"},
		"properties without an end":   {append([]byte{tagList}, bytes.Repeat((&writing{}).property("k", "v").b[1:16], maxList)...), func(r *reading) { r.properties() }, "more than 4096 properties"},
		"properties that are nothing": {[]byte{tagList}, func(r *reading) { r.properties() }, "bytes are missing"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &reading{b: c.b}
			c.read(r)
			if r.err == nil || !strings.Contains(r.err.Error(), c.want) {
				t.Error(r.err)
			}
		})
	}
}

func FuzzAnswers(f *testing.F) {
	for _, server := range []string{"pulseaudio", "pipewire"} {
		for i, what := range []string{"server", "sink", "source", "recordings"} {
			f.Add(recorded(f, server+"-"+what), byte(i), byte(maxVersion))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, what, version byte) {
		r := &reading{b: b}
		switch what % 4 {
		case 0:
			r.server()
		case 1, 2:
			if d := r.device(what%4 == 2); len(d.Volumes) > 255 || len(d.Description) > maxText {
				t.Errorf("%d volumes, a description of %d bytes", len(d.Volumes), len(d.Description))
			}
		case 3:
			if list := r.recordings(uint32(version)); len(list) > maxList || r.err == nil && r.at != len(b) {
				t.Errorf("%d recordings; %d of %d bytes were read", len(list), r.at, len(b))
			}
		}
		if r.at > len(b) {
			t.Errorf("%d of %d bytes were read", r.at, len(b))
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(command(opReply, 1).u32(32).frame())
	f.Add(append(command(opEvent, none).u32(0x10).u32(1).frame(), command(opError, 2).u32(5).frame()...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &Client{waiting: map[uint32]chan answer{}, hear: func(Kind) {}}
		w := make(chan answer, 1)
		c.waiting[1] = w
		for r := bufio.NewReader(bytes.NewReader(b)); ; {
			body, err := readFrame(r, nil)
			if err != nil || c.take(&reading{b: body}) != nil {
				break
			}
		}
		if len(c.waiting)+len(w) != 1 {
			t.Error("an answer was lost")
		}
	})
}
