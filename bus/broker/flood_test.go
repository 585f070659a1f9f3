package broker_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/postbus/postbus/bus/broker"
)

// TestAFloodWaitsForItsTurn: while others have the turns, a connection that floods at QoS 0 waits, and one that
// does not is served. No event is lost.
func TestAFloodWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	const events, unhindered, honest = 1000, 64, 30
	b := openBus(t)
	addr, k := serve(t, b, broker.Options{})
	flood, calm, reader := dialWith(t, addr, "flood", nil), dialWith(t, addr, "calm", nil), dialWith(t, addr, "reader", nil)
	reader.subscribe(t, "calm")
	published := func() uint64 { return b.Stats().Published }
	before := published()
	release := k.HoldTurns()
	var input bytes.Buffer
	for range events {
		body := append(str(nil, "f"), 0)
		input.Write(append(varint([]byte{0x30}, len(body)), body...))
	}
	input.Write([]byte{0xC0, 0}) // PINGREQ
	if _, err := flood.Write(input.Bytes()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); published()-before < unhindered; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d events", published()-before)
		}
	}
	for i := range honest {
		send(t, calm, 0x32, append(str(nil, "calm"), 0, byte(i+1), 0))
		if first, _ := calm.packet(t); first != 0x40 {
			t.Fatalf("packet %x in place of PUBACK", first)
		}
		if first, _ := reader.packet(t); first&0xF0 != 0x30 {
			t.Fatalf("packet %x in place of the event", first)
		}
	}
	if n := published() - before; n != unhindered+honest {
		t.Errorf("%d events of the flood were handled without a turn, want %d", n-honest, unhindered)
	}
	release()
	if first, _ := flood.packet(t); first != 0xD0 {
		t.Fatalf("packet %x in place of PINGRESP", first)
	}
	if n := published() - before; n != events+honest {
		t.Errorf("%d events of %d", n-honest, events)
	}
	k.HoldTurns()() // which waits until all turns have been given back
}
