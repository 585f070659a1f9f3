package modbus

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// device is a small Modbus device, which shares no code with the client except the checksum: some
// units with registers and coils, and possible faults of the transport.
type device struct {
	mu      sync.Mutex
	words   map[int]uint16 // holding and input registers, by unit<<20 | table<<16 | address
	bits    map[int]bool
	refuse  map[int]byte // exceptions, by address
	silent  map[byte]bool
	log     []string
	n       int // requests so far
	mangle  func(n int, good []byte) []chunk
	closing func(n int) bool
}

// chunk is bytes that are sent after a delay.
type chunk struct {
	after time.Duration
	bytes []byte
}

func newDevice() *device {
	return &device{words: map[int]uint16{}, bits: map[int]bool{}, refuse: map[int]byte{}, silent: map[byte]bool{}}
}

const (
	holding = 3
	input   = 4
)

func at(unit, table, address int) int { return unit<<20 | table<<16 | address }

func (d *device) set(unit, table, address int, values ...uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, v := range values {
		d.words[at(unit, table, address+i)] = v
	}
}

func (d *device) setBits(unit, table, address int, values ...bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, v := range values {
		d.bits[at(unit, table, address+i)] = v
	}
}

func (d *device) word(unit, address int) uint16 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.words[at(unit, holding, address)]
}

func (d *device) bit(unit, address int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bits[at(unit, 1, address)]
}

func (d *device) with(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// requests returns the requests since the last call.
func (d *device) requests() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	log := d.log
	d.log = nil
	return log
}

// answer executes a request. Nil: no answer.
func (d *device) answer(unit byte, pdu []byte) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	if len(pdu) < 5 {
		return []byte{pdu[0] | 0x80, 3}
	}
	f, address, count := pdu[0], int(binary.BigEndian.Uint16(pdu[1:])), int(binary.BigEndian.Uint16(pdu[3:]))
	d.log = append(d.log, fmt.Sprintf("%d:%d %d+%d", unit, f, address, count))
	if d.silent[unit] {
		return nil
	}
	many := 1
	if f < 5 || f > 6 {
		many = count
	}
	for i := range many {
		if code := d.refuse[address+i]; code != 0 {
			return []byte{f | 0x80, code}
		}
	}
	u := int(unit)
	switch f {
	case 1, 2:
		out := make([]byte, (count+7)/8)
		for i := range count {
			if d.bits[at(u, int(f), address+i)] {
				out[i/8] |= 1 << (i % 8)
			}
		}
		return append([]byte{f, byte(len(out))}, out...)
	case 3, 4:
		if count < 1 || count > 125 {
			return []byte{f | 0x80, 3}
		}
		out := []byte{f, byte(2 * count)}
		for i := range count {
			out = binary.BigEndian.AppendUint16(out, d.words[at(u, int(f), address+i)])
		}
		return out
	case 5:
		if count != 0 && count != 0xff00 {
			return []byte{f | 0x80, 3}
		}
		d.bits[at(u, 1, address)] = count != 0
		return pdu
	case 6:
		d.words[at(u, holding, address)] = uint16(count)
		return pdu
	case 15:
		for i := range count {
			d.bits[at(u, 1, address+i)] = pdu[6+i/8]>>(i%8)&1 == 1
		}
		return pdu[:5]
	case 16:
		for i := range count {
			d.words[at(u, holding, address+i)] = binary.BigEndian.Uint16(pdu[6+2*i:])
		}
		return pdu[:5]
	}
	return []byte{f | 0x80, 1}
}

// send sends a good answer, or the faulty one in its place.
func (d *device) send(w io.Writer, good []byte) error {
	d.mu.Lock()
	mangle, n := d.mangle, d.n
	d.mu.Unlock()
	chunks := []chunk{{0, good}}
	if mangle != nil {
		chunks = mangle(n, good)
	}
	for _, c := range chunks {
		time.Sleep(c.after)
		if _, err := w.Write(c.bytes); err != nil {
			return err
		}
	}
	return nil
}

// serveTCP answers a client until it disconnects, with the header of TCP.
func (d *device) serveTCP(c io.ReadWriteCloser) {
	defer c.Close()
	for {
		head := make([]byte, 7)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		pdu := make([]byte, int(binary.BigEndian.Uint16(head[4:]))-1)
		if _, err := io.ReadFull(c, pdu); err != nil {
			return
		}
		out := d.answer(head[6], pdu)
		if d.ends() {
			return
		}
		if out == nil {
			continue
		}
		binary.BigEndian.PutUint16(head[4:], uint16(len(out)+1))
		if d.send(c, append(head, out...)) != nil {
			return
		}
	}
}

func (d *device) ends() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closing != nil && d.closing(d.n)
}

// serveRTU answers on a line. A request with a wrong checksum has no answer, nor has a broadcast.
func (d *device) serveRTU(c io.ReadWriter) {
	for {
		b := make([]byte, 8)
		if _, err := io.ReadFull(c, b[:7]); err != nil {
			return
		}
		length := 8
		if b[1] == 15 || b[1] == 16 {
			length = 9 + int(b[6])
		}
		b = append(b[:7], make([]byte, length-7)...)
		if _, err := io.ReadFull(c, b[7:]); err != nil {
			return
		}
		if binary.LittleEndian.Uint16(b[length-2:]) != crc(b[:length-2]) {
			d.with(func() { d.log = append(d.log, fmt.Sprintf("damaged: % x", b)) })
			continue
		}
		out := d.answer(b[0], b[1:length-2])
		if b[0] == 0 || out == nil {
			continue
		}
		frame := append([]byte{b[0]}, out...)
		if d.send(c, binary.LittleEndian.AppendUint16(frame, crc(frame))) != nil {
			return
		}
	}
}

// host is the device on a network; it can stop and start again at the same address.
type host struct {
	t       *testing.T
	d       *device
	rtu     bool
	address string
	l       net.Listener
	mu      sync.Mutex
	conns   map[net.Conn]bool
	joined  int // connections so far
	serving sync.WaitGroup
}

func newHost(t *testing.T, d *device, rtu bool) *host {
	t.Helper()
	h := &host{t: t, d: d, rtu: rtu, address: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	h.up()
	t.Cleanup(h.down)
	return h
}

func (h *host) up() {
	h.t.Helper()
	l, err := net.Listen("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.l, h.address = l, l.Addr().String()
	h.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.conns[c] = true
			h.joined++
			h.mu.Unlock()
			h.serving.Go(func() {
				if h.rtu {
					h.d.serveRTU(c)
					c.Close()
				} else {
					h.d.serveTCP(c)
				}
			})
		}
	})
}

func (h *host) down() {
	h.l.Close()
	h.cut()
	h.serving.Wait()
}

// cut closes the connections.
func (h *host) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		c.Close()
		delete(h.conns, c)
	}
}

func (h *host) connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.joined
}
