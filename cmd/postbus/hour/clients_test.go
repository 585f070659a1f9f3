package hour

// This file is what all clients have in common: how they reach the bus, and how they leave.

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// trouble is what the clients know of the test: when they may come and go.
type trouble struct {
	ctx      context.Context
	ledger   *ledger
	places   map[string]string // addresses, by network
	house    *house            // passwords and certificates
	churn    time.Duration     // how long a connection lasts about
	every    time.Duration     // between two events of a publisher, about
	quiet    atomic.Bool       // clients stay connected, and nobody publishes
	refused  atomic.Uint64     // logins that the rules refused
	logins   atomic.Uint64
	takeover atomic.Uint64
	drops    atomic.Uint64
	done     sync.WaitGroup
}

// wait waits for d, or until the test ends.
func (t *trouble) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// profile is a client's name, and how it connects to the bus.
type profile struct {
	name    string
	network string
	version byte
	user    string // with a password; with a certificate on tls
}

func (t *trouble) login(w profile, durable bool) login {
	l := login{network: w.network, address: t.places[w.network], version: w.version, client: w.name, durable: durable}
	if w.network == "tls" {
		l.tls = t.house.clientTLS(w.user)
	} else {
		l.user, l.password = w.user, t.house.password(w.user)
	}
	return l
}

// connect logs in as soon as the bus lets it; nil at the end of the test.
func (t *trouble) connect(w profile, durable bool) *link {
	for pause := 20 * time.Millisecond; t.ctx.Err() == nil; pause = min(2*pause, 300*time.Millisecond) {
		c, err := connect(t.ctx, t.login(w, durable))
		if err == nil {
			t.logins.Add(1)
			return c
		}
		if _, ok := err.(*refusal); ok {
			t.refused.Add(1)
		}
		t.wait(pause/2 + rand.N(pause))
	}
	return nil
}

// part ends a connection in one of three ways, and returns it if it stays open: its client comes back
// and takes its own session over.
func (t *trouble) part(r *rand.Rand, c *link) (open *link) {
	switch r.IntN(3) {
	case 0:
		_ = c.ack0()
		c.Close()
	case 1:
		t.drops.Add(1)
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		c.Close()
	default:
		t.takeover.Add(1)
		return c
	}
	return nil
}

// ack0 sends DISCONNECT.
func (c *link) ack0() error { return c.send([]byte{leave, 0}) }

// visitor is a client without a durable session, which is not in the ledger: it comes, listens, says something
// and leaves. Visitors share identifiers, so that they take each other over.
func (t *trouble) visitor(r *rand.Rand, w profile) {
	defer t.done.Done()
	for t.ctx.Err() == nil {
		c := t.connect(w, false)
		if c == nil {
			return
		}
		err := c.subscribe(byte(r.IntN(2)), []string{"ev/5/#"})
		stay := time.AfterFunc(time.Duration(r.Int64N(int64(t.churn)))+1, func() { c.Close() })
		for err == nil {
			var first byte
			var body []byte
			if first, body, err = c.read(); err != nil || first&0xF0 != pubPack {
				continue
			}
			var d delivery
			if d, err = parse(c.version, first, body); err == nil && d.qos > 0 {
				err = c.ack(puback, d.id)
			}
			if err == nil {
				err = c.send(publish(c.version, "visit/"+w.name, payload(0, 0), 0, 0, false, 0))
			}
		}
		stay.Stop()
		c.Close()
		t.wait(time.Duration(r.Int64N(int64(t.churn/4)) + 1))
	}
}
