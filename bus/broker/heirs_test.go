package broker_test

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestOneConnectionWaitsForItsIdentifier: while the disk stalls, a client connects again and again. The newest
// connection waits for the one that opens the session; the others end at once, and get their memory back.
func TestOneConnectionWaitsForItsIdentifier(t *testing.T) {
	t.Parallel()
	addr, _, stall, resume := onStallingDisk(t)
	before := dialWith(t, addr, "again", nil)
	stall()
	connect := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		send(t, c, 0x10, str(append(append(str(nil, "MQTT"), 5, 0, 0, 60), 5, 0x11, 0, 0, 1, 0), "again"))
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		return c
	}
	opens := connect()
	for { // until the one before has ended
		if _, _, err := before.read(); err != nil {
			break
		}
	}
	waits := connect()
	for i := range 30 {
		next := connect()
		if _, err := io.ReadAll(waits); err != nil { // a refusal, and the end
			t.Fatalf("connection %d still waits: %v", i, err)
		}
		waits = next
	}
	resume()
	if _, err := io.ReadAll(opens); err != nil {
		t.Error("the one that opened the session:", err)
	}
	ack := make([]byte, 4)
	if _, err := io.ReadFull(waits, ack); err != nil || ack[0] != 0x20 || ack[3] != 0 {
		t.Errorf("the newest: %x, %v", ack, err)
	}
}
