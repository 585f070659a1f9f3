package bench

// This file is a broker with deliberate faults: it proves that the checks find what they claim to
// find. It keeps every event in one list; a session is a position in that list. With a file it
// survives kill -9.

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
)

// fault decides the fate of the n-th accepted event (from 1).
type fault func(n int) string // "", "drop", "repeat", "swap" (after the next event), "cut" (close, unacknowledged)

type fake struct {
	fault fault
	mute  bool // acknowledges nothing
	deny  byte // CONNACK return code
	nack  bool // refuses subscriptions
	// forget makes persistent sessions start empty.
	forget bool
	// The faults when a session's client returns, in addition to faults of single events.
	skips   bool // loses the events from its offline time
	rewinds bool // sends ten acknowledged events again
	noDup   bool // redelivers without DUP

	ln   net.Listener
	file *os.File
	wg   sync.WaitGroup

	mu       sync.Mutex
	more     sync.Cond
	events   [][]byte // PUBLISH bodies without the packet identifier: topic, payload
	late     []byte
	n        int
	sessions map[string]*fakeSession
	members  map[string]int // of each $share filter: event i goes to member i modulo their number
	open     map[*conn]bool
	closed   bool
}

type fakeSession struct {
	qos         int    // -1: no subscription
	group       string // its $share filter, or ""
	member      int    // in it, from 0
	start       int    // of the subscription
	next, acked int
	sent        int   // the highest next so far: events below it carry DUP
	flight      []int // unacknowledged events
	received    int   // how many of these the client has received: they await PUBCOMP
	owner       *conn
}

func newFake(t testing.TB, f *fake) (*fake, string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.serve(ln)
	t.Cleanup(f.close)
	return f, "tcp://" + ln.Addr().String()
}

func (f *fake) serve(ln net.Listener) {
	f.ln, f.more.L = ln, &f.mu
	if f.sessions == nil {
		f.sessions = map[string]*fakeSession{}
	}
	f.open, f.members = map[*conn]bool{}, map[string]int{}
	f.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.client(newConn(context.Background(), nc)) })
		}
	})
}

func (f *fake) close() {
	f.ln.Close()
	f.mu.Lock()
	f.closed = true
	for c := range f.open {
		c.close()
	}
	f.more.Broadcast()
	f.mu.Unlock()
	f.wg.Wait()
}

// client serves one connection.
func (f *fake) client(c *conn) {
	defer c.close()
	f.mu.Lock()
	f.open[c] = true
	f.mu.Unlock()
	var s *fakeSession
	defer func() {
		f.mu.Lock()
		delete(f.open, c)
		if s != nil && s.owner == c {
			s.owner = nil
		}
		f.more.Broadcast()
		f.mu.Unlock()
	}()
	var out []byte
	for {
		out = out[:0]
		for {
			p, ok, err := c.next()
			if err != nil {
				return
			}
			if !ok {
				break
			}
			if out, ok = f.packet(c, &s, p, out); !ok {
				return
			}
		}
		if len(out) > 0 && c.write(out) != nil {
			return
		}
		if err := c.fill(); err != nil && !timedOut(err) {
			return
		}
	}
}

func (f *fake) packet(c *conn, s **fakeSession, p packet, out []byte) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch p.kind() {
	case typeConnect:
		n := int(binary.BigEndian.Uint16(p.body[10:]))
		id, clean := string(p.body[12:12+n]), p.body[7]&2 != 0
		old := f.sessions[id]
		if old != nil && old.owner != nil {
			old.owner.close()
		}
		present := byte(1)
		if old == nil || clean || f.forget {
			old, present = &fakeSession{qos: -1}, 0
			f.sessions[id] = old
		}
		*s = old
		rels := f.resume(old)
		old.owner = c
		f.save('c', []byte(id))
		if c.write([]byte{typeConnack, 2, present, f.deny}) != nil {
			return nil, false
		}
		f.wg.Go(func() { f.deliver(c, old, rels) })
	case typeSubscribe & 0xF0:
		code := p.body[len(p.body)-1]
		(*s).qos = int(code)
		(*s).next, (*s).acked, (*s).start = len(f.events), len(f.events), len(f.events)
		if filter := string(p.body[4 : 4+binary.BigEndian.Uint16(p.body[2:])]); strings.HasPrefix(filter, "$share/") {
			(*s).group, (*s).member = filter, f.members[filter]
			f.members[filter]++
		}
		if f.nack {
			code = 0x80
		}
		var codes []byte
		for b := p.body[2:]; len(b) > 0; b = b[2+int(binary.BigEndian.Uint16(b))+1:] {
			codes = append(codes, code)
		}
		out = append(appendLength(append(out, typeSuback), 2+len(codes)), p.body[:2]...)
		return append(out, codes...), true
	case typePublish:
		return f.publish(p, out)
	case typePuback, typePubcomp: // the generator acknowledges in order
		if s := *s; s.owner == c && len(s.flight) > 0 {
			s.acked = s.flight[0] + 1
			s.flight, s.received = s.flight[1:], max(0, s.received-1)
		}
	case typePubrec:
		if s := *s; s.owner != c {
			return out, true
		} else if s.received < len(s.flight) {
			s.received++
		}
		return appendAck(out, typePubrel, binary.BigEndian.Uint16(p.body)), true
	case typePubrel & 0xF0:
		return appendAck(out, typePubcomp, binary.BigEndian.Uint16(p.body)), true
	case typePingreq:
		return append(out, typePingresp, 0), true
	case typeDisconnect:
		return out, false
	}
	return out, true
}

func (f *fake) publish(p packet, out []byte) ([]byte, bool) {
	qos, id, payload, err := p.publish()
	if err != nil {
		return nil, false
	}
	topic := 2 + int(binary.BigEndian.Uint16(p.body))
	event := append(bytes.Clone(p.body[:topic]), payload...)
	f.n++
	what := ""
	if f.fault != nil {
		what = f.fault(f.n)
	}
	late := f.late
	f.late = nil
	switch what {
	case "cut":
		return nil, false
	case "drop":
	case "repeat":
		f.events = append(f.events, event, event)
	case "swap":
		f.late = event
	default:
		f.events = append(f.events, event)
		f.save('e', event)
	}
	if late != nil {
		f.events = append(f.events, late)
	}
	f.more.Broadcast()
	switch {
	case f.mute:
	case qos == 1:
		out = appendAck(out, typePuback, id)
	case qos == 2:
		out = appendAck(out, typePubrec, id)
	}
	return out, true
}

// resume sets a session's position for its returning client, and returns the PUBRELs that are sent
// first.
func (f *fake) resume(s *fakeSession) (rels []byte) {
	s.sent = max(s.sent, s.next)
	if f.skips {
		s.acked, s.flight = len(f.events), nil
	}
	if f.rewinds {
		s.acked, s.received = max(s.start, s.acked-10), 0
	}
	s.flight = s.flight[:min(s.received, len(s.flight))]
	s.received = len(s.flight)
	s.next = s.acked
	for _, i := range s.flight {
		rels = appendAck(rels, typePubrel, fakeID(i))
		s.next = i + 1
	}
	return rels
}

func fakeID(i int) uint16 { return uint16(i%65535) + 1 }

// deliver sends rels and the session's undelivered events while c owns it.
func (f *fake) deliver(c *conn, s *fakeSession, rels []byte) {
	if len(rels) > 0 && c.write(rels) != nil {
		return
	}
	var out []byte
	for {
		f.mu.Lock()
		for s.owner == c && !f.closed && (s.qos < 0 || s.next == len(f.events)) {
			f.more.Wait()
		}
		if s.owner != c || f.closed {
			f.mu.Unlock()
			return
		}
		out = out[:0]
		for ; s.next < len(f.events) && len(out) < bufferSize; s.next++ {
			if s.group != "" && s.next%f.members[s.group] != s.member {
				continue
			}
			event := f.events[s.next]
			topic := 2 + int(binary.BigEndian.Uint16(event))
			length := len(event)
			if s.qos > 0 {
				length += 2
			}
			head := typePublish | byte(s.qos)<<1
			if s.qos > 0 && s.next < s.sent && !f.noDup {
				head |= flagDup
			}
			out = append(appendLength(append(out, head), length), event[:topic]...)
			if s.qos > 0 {
				s.flight = append(s.flight, s.next)
				out = binary.BigEndian.AppendUint16(out, fakeID(s.next))
			} else {
				s.acked = s.next + 1
			}
			out = append(out, event[topic:]...)
		}
		f.mu.Unlock()
		if c.write(out) != nil {
			return
		}
	}
}

// save appends to the file, so that acknowledged events survive SIGKILL.
func (f *fake) save(kind byte, data []byte) {
	if f.file != nil {
		f.file.Write(append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data))), data...))
	}
}

// load is the inverse of save; every session starts again at the first event.
func (f *fake) load(path string) error {
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	f.sessions = map[string]*fakeSession{}
	for len(b) >= 5 {
		n := int(binary.BigEndian.Uint32(b[1:]))
		if len(b) < 5+n {
			break
		}
		if data := b[5 : 5+n]; b[0] == 'e' {
			f.events = append(f.events, data)
		} else {
			f.sessions[string(data)] = &fakeSession{qos: 1}
		}
		b = b[5+n:]
	}
	f.file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return err
}
