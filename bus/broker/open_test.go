package broker_test

// This file measures the cost of open QoS 2 publishes: those that have their PUBREC and wait for
// the client's PUBREL.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
)

// TestOpenPublishesCostLittleMemory has 20 clients hold as many open QoS 2 publishes as Receive
// Maximum allows. With a map entry for each they cost 50 MiB; a set of bits costs 9 KiB for each
// client.
func TestOpenPublishesCostLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("1.3 million publishes; not with -short")
	}
	const clients, publishes = 20, 65_535
	addr, _ := start(t, t.TempDir(), bus.Options{}, broker.Options{})
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	all := make([]*raw, clients)
	for i := range all {
		all[i] = dialWith(t, addr, fmt.Sprint("open", i), nil)
	}
	before := heap()
	for _, k := range all {
		done := make(chan error, 1)
		go func() { // the client bursts: it does not wait for PUBREC
			var b bytes.Buffer
			for id := 1; id <= publishes; id++ {
				b.Write([]byte{0x34, 8, 0, 1, 't', byte(id >> 8), byte(id), 0, 'o', 'n'})
			}
			_, err := k.Write(b.Bytes())
			done <- err
		}()
		for id := 1; id <= publishes; id++ {
			first, body := k.packet(t)
			if first != 0x50 || len(body) != 2 || int(binary.BigEndian.Uint16(body)) != id {
				t.Fatalf("packet %x %x instead of PUBREC %d", first, body, id)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	after := heap()
	t.Logf("%d open publishes: %.1f MiB", clients*publishes, float64(int64(after)-int64(before))/(1<<20))
	if grown := int64(after) - int64(before); grown > 12<<20 {
		t.Errorf("%d open publishes cost %d MiB", clients*publishes, grown>>20)
	}
	for _, k := range all { // and all of them can be released
		send(t, k, 0x62, []byte{0xFF, 0xFF})
		if first, body := k.packet(t); first != 0x70 || len(body) != 2 {
			t.Fatalf("packet %x %x instead of PUBCOMP", first, body)
		}
	}
}
