package broker_test

// This file is a disk that stalls while clients burst. Reading stops, the waiting bytes are
// bounded, and everything is answered once the disk is back, including packets that are stuck
// behind the burst.

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

// stalling is a file system whose Sync waits while the test holds the gate.
type stalling struct {
	journal.FS
	gate *sync.Mutex
}

type stallingFile struct {
	journal.File
	gate *sync.Mutex
}

func (s stalling) Open(name string, create bool) (journal.File, error) {
	f, err := s.FS.Open(name, create)
	return stallingFile{f, s.gate}, err
}

func (f stallingFile) Sync() error {
	f.gate.Lock()
	defer f.gate.Unlock()
	return f.File.Sync()
}

// onStallingDisk serves a bus whose disk stalls between stall and resume. If the test fails in between, its
// end resumes, so that the bus can end.
func onStallingDisk(t *testing.T) (addr string, b *bus.Bus, stall, resume func()) {
	t.Helper()
	gate := new(sync.Mutex)
	b, err := bus.Open(context.Background(), bus.Options{FS: stalling{bustest.NewDisk(1), gate}})
	if err != nil {
		t.Fatal(err)
	}
	addr, _ = serve(t, b, broker.Options{})
	stalled := false
	stall = func() { gate.Lock(); stalled = true }
	resume = func() {
		if stalled {
			stalled = false
			gate.Unlock()
		}
	}
	t.Cleanup(resume)
	return addr, b, stall, resume
}

func TestAStalledDiskStopsReading(t *testing.T) {
	t.Parallel()
	addr, b, stall, resume := onStallingDisk(t)
	const (
		clients   = 3
		publishes = 1000
		size      = 16 << 10 // more than the sockets between them can hold
		earlier   = 60_000   // the identifier of a publish that is open before the disk stalls
	)
	all := make([]*raw, clients)
	for i := range all {
		all[i] = dialWith(t, addr, fmt.Sprint("burst", i), nil)
		send(t, all[i], 0x34, append(str(nil, "t"), earlier>>8, earlier&255, 0))
		if first, _ := all[i].packet(t); first != 0x50 {
			t.Fatalf("packet %x instead of PUBREC", first)
		}
	}
	stall()
	before := b.Stats().Published
	wrote := make(chan error, clients)
	for _, k := range all {
		go func() {
			var burst bytes.Buffer
			for id := uint16(1); id <= publishes; id++ {
				body := append(binary.BigEndian.AppendUint16(str(nil, "t"), id), 0)
				body = append(body, make([]byte, size)...)
				burst.Write(append(varint([]byte{0x34}, len(body)), body...))
			}
			burst.Write([]byte{0x62, 2, earlier >> 8, earlier & 255}) // PUBREL after the whole burst
			_, err := k.Write(burst.Bytes())
			wrote <- err
		}()
	}
	// The connections that flood have twice 512 KiB in the queue together; more for a moment, until each
	// knows of the others. Without that bound it were the journal's 4 MiB.
	const least, most = 20 * clients, 70 * clients
	for deadline := time.Now().Add(20 * time.Second); b.Stats().Published-before < least; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d events were read before the disk stopped reading", b.Stats().Published-before)
		}
	}
	if n := b.Stats().Published - before; n > most {
		t.Errorf("%d events of %d bytes wait for the disk", n, size)
	}
	// There is room left for a connection that does not flood.
	calm := dialWith(t, addr, "calm", nil)
	send(t, calm, 0x30, append(str(nil, "t"), 0))
	send(t, calm, 0xC0, nil)
	if first, _ := calm.packet(t); first != 0xD0 {
		t.Errorf("packet %x in place of PINGRESP", first)
	}
	select {
	case err := <-wrote:
		t.Errorf("a client was read to its end while the disk stalled: %v", err)
	default:
	}
	resume()
	for i, k := range all {
		for id := 1; id <= publishes; id++ {
			if first, body := k.packet(t); first != 0x50 || int(binary.BigEndian.Uint16(body)) != id {
				t.Fatalf("client %d: packet %x %x instead of PUBREC %d", i, first, body, id)
			}
		}
		if first, body := k.packet(t); first != 0x70 || len(body) != 2 || binary.BigEndian.Uint16(body) != earlier {
			t.Fatalf("client %d: packet %x %x instead of PUBCOMP", i, first, body)
		}
	}
	for range all {
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	}
}
