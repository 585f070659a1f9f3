package broker_test

// This file is the broker on a disk that refuses: it never acknowledges what it could not store,
// and recovers by itself.

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/bustest"
)

func TestAFullDiskNeverSaysYes(t *testing.T) {
	t.Parallel()
	disk := bustest.NewDisk(1)
	b, err := bus.Open(context.Background(), bus.Options{FS: disk, SegmentSize: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := serve(t, b, broker.Options{})
	reader := dial(t, addr, "reader", 100)
	reader.subscribe(t, "a/#")

	v5 := dial(t, addr, "v5", 100)
	publish := func(c net.Conn, version byte, id byte) {
		body := append(str(nil, "a/b"), 0, id)
		if version == v5Level {
			body = append(body, 0)
		}
		send(t, c, 0x32, append(body, make([]byte, 100)...))
	}
	publish(v5, v5Level, 1)
	if typ, body := v5.packet(t); typ != 0x40 || len(body) != 2 {
		t.Fatalf("with space: %x %x", typ, body)
	}
	accepted := 1
	disk.Fill(true)
	// Publishes that fit in the last segment are still accepted; then the answer is 0x97, or the
	// end of the connection for clients whose group failed.
	refused := false
	for id := byte(2); !refused; id++ {
		publish(v5, v5Level, id)
		typ, body, err := v5.read()
		switch {
		case err != nil:
			v5 = dial(t, addr, "v5", 100)
		case typ == 0x40 && len(body) == 2:
			accepted++
		case typ == 0x40 && body[2] == 0x97:
			refused = true
		default:
			t.Fatalf("%x %x", typ, body)
		}
	}
	if b.Ready() == nil {
		t.Fatal("the bus says that it is ready")
	}
	old := &raw{}
	old.Conn, err = net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	send(t, old, 0x10, str(append(str(nil, "MQTT"), 4, 2, 0, 60), "v3"))
	publish(old, 4, 1)
	answer := make([]byte, 16)
	_ = old.SetReadDeadline(time.Now().Add(time.Minute))
	n := 0
	for {
		m, err := old.Read(answer[n:])
		n += m
		if err != nil {
			break
		}
	}
	if n != 4 || answer[0] != 0x20 {
		t.Fatalf("an MQTT 3.1.1 client gets %x on a full disk", answer[:n])
	}
	for range accepted { // readers continue
		first, body := reader.packet(t)
		if first>>4 != 3 {
			t.Fatalf("packet %x", first)
		}
		id, _ := event(body)
		puback(t, reader, id)
	}
	disk.Fill(false)
	for deadline := time.Now().Add(time.Minute); ; {
		publish(v5, v5Level, 200)
		typ, body := v5.packet(t)
		if typ == 0x40 && len(body) == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("space is back, and still %x", body)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if first, _ := reader.packet(t); first>>4 != 3 {
		t.Fatalf("packet %x", first)
	}
}

const v5Level = 5
