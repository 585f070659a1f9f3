package bench

// This file is Mapped: a mapper between two topics of a broker (a plugin of postbus, Node-RED,
// Telegraf) receives JSON events, must drop every tenth, and publish the others on another topic.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// MappedOptions are the topics. The mapper must forward events with celsius >= 0, with their
// members n and t unchanged.
type MappedOptions struct {
	Options
	In  string // topic name; default bench/in/kitchen
	Out string // topic filter; default bench/out/#
}

// MappedResult is what Mapped measured.
type MappedResult struct {
	Target       string  `json:"target"`
	Sent         uint64  `json:"sent"`
	PublishRate  float64 `json:"published_per_s"`
	MappedRate   float64 `json:"mapped_per_s"`     // received events, from the first to the last
	ThroughRate  float64 `json:"through_per_s"`    // sent events, until all of them had passed the mapper
	WrongRate    uint64  `json:"not_filtered"`     // received although the mapper should have dropped it
	Received     uint64  `json:"received"`         // repetitions included
	Missed       uint64  `json:"missed"`           // not received although it should have been
	Repeated     uint64  `json:"repeated"`         //
	Disordered   uint64  `json:"disordered"`       // received after a newer one
	Latency      Latency `json:"latency"`          // from sending to receipt, at full load
	Broker       *Usage  `json:"mapper,omitempty"` // of the process that --pid names
	GeneratorCPU float64 `json:"generator_cpu_seconds,omitempty"`
}

const (
	mappedBase  = 1_000_000_000         // n counts from here, so that it has ten digits
	mappedStamp = 1_000_000_000_000_000 // and t, in microseconds, from here
	leftOut     = 10                    // one of this many events is below zero
)

// mappedEvent is a packet whose digits are rewritten for each event.
type mappedEvent struct {
	packet            []byte
	idAt, nAt, tAt, c int
}

func newMappedEvent(topic string) mappedEvent {
	body := fmt.Sprintf(`{"n":%d,"t":%d,"room":"kitchen","celsius": 21.4567}`, mappedBase, int64(mappedStamp))
	p, idAt, payloadAt := appendPublish(nil, topic, 1, len(body))
	copy(p[payloadAt:], body)
	return mappedEvent{p, idAt, payloadAt + bytes.Index([]byte(body), []byte(`"n":`)) + 4,
		payloadAt + bytes.Index([]byte(body), []byte(`"t":`)) + 4, payloadAt + bytes.Index([]byte(body), []byte(` 21`))}
}

func (e *mappedEvent) write(b []byte, n uint64, id uint16) []byte {
	at := len(b)
	b = append(b, e.packet...)
	p := b[at:]
	p[e.idAt], p[e.idAt+1] = byte(id>>8), byte(id)
	strconv.AppendUint(p[e.nAt:e.nAt], mappedBase+n, 10)
	strconv.AppendInt(p[e.tAt:e.tAt], mappedStamp+clock()/1000, 10)
	if n%leftOut == 0 {
		p[e.c] = '-'
	}
	return b
}

// member parses the integer after a key; a float with an integer value is accepted.
func member(payload []byte, key string) (int64, bool) {
	i := bytes.Index(payload, []byte(key))
	if i < 0 {
		return 0, false
	}
	tail := bytes.TrimLeft(payload[i+len(key):], " :")
	end := bytes.IndexAny(tail, ",} ")
	if end < 0 {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(tail[:end]), 64)
	return int64(f), err == nil
}

// Mapped publishes for Duration (default 10 s) and waits until all expected events have arrived.
func Mapped(ctx context.Context, o MappedOptions) (MappedResult, error) {
	if o.In == "" {
		o.In = "bench/in/kitchen"
	}
	if o.Out == "" {
		o.Out = "bench/out/#"
	}
	if o.Duration == 0 {
		o.Duration = 10 * time.Second
	}
	var err error
	if o.Options, err = o.Options.prepare(); err != nil {
		return MappedResult{}, err
	}
	r := MappedResult{Target: o.Target}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sub, _, err := o.target.connect(ctx, o.clientID("s", 0), true)
	if err != nil {
		return r, err
	}
	defer sub.disconnect()
	if err := sub.subscribe(1, o.Out); err != nil {
		return r, err
	}
	pub, _, err := o.target.connect(ctx, o.clientID("p", 0), true)
	if err != nil {
		return r, err
	}
	defer pub.disconnect()
	usage, err := startWatch(ctx, o.PID)
	if err != nil {
		return r, err
	}
	cpu := ownCPU()
	m := &mapped{r: &r}
	var reading sync.WaitGroup
	var rerr error
	reading.Go(func() { rerr = m.read(sub, o.Idle) })
	perr := m.publish(ctx, pub, o)
	m.finished.Store(clock())
	reading.Wait()
	r.GeneratorCPU = ownCPU() - cpu
	broker, werr := usage.stop()
	r.Broker = broker
	m.judge()
	return r, ended(ctx, errors.Join(perr, rerr, werr))
}

// mapped is a run: a publisher with its window, and a reader.
type mapped struct {
	r           *MappedResult
	sent, acked atomic.Uint64
	finished    atomic.Int64 // clock when all events were acknowledged
	seen        bitset
	highest     int64
	began       int64
	first, last int64
	lat         hist
}

func (m *mapped) publish(ctx context.Context, c *conn, o MappedOptions) error {
	e := newMappedEvent(o.In)
	m.began = clock()
	end := m.began + int64(o.Duration)
	var out []byte
	for stop := false; !stop || m.acked.Load() < m.sent.Load(); {
		out = out[:0]
		sent, acked := m.sent.Load(), m.acked.Load()
		stop = stop || clock() >= end || ctx.Err() != nil
		// With a rate, only as many as are due by now, so that the mapper isn't flooded.
		room := uint64(o.Window) - (sent - acked)
		if o.Rate > 0 {
			due := uint64(o.Rate * float64(clock()-m.began) / 1e9)
			room = min(room, max(due, sent)-sent)
		}
		for i := uint64(0); i < room && !stop; i++ {
			out = e.write(out, sent+i, uint16((sent+i)%60_000)+1)
		}
		if len(out) > 0 {
			m.sent.Add(room)
			if err := c.write(out); err != nil {
				return err
			}
		}
		if err := c.fill(); err != nil && !timedOut(err) {
			return err
		}
		for {
			p, ok, err := c.next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if p.kind() == typePuback {
				m.acked.Add(1)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	m.r.Sent = m.sent.Load()
	m.r.PublishRate = rate(m.r.Sent, m.began, clock())
	return nil
}

func (m *mapped) read(c *conn, idle time.Duration) error {
	var acks []byte
	for {
		if err := c.fill(); err != nil && !timedOut(err) {
			return err
		}
		acks = acks[:0]
		for {
			p, ok, err := c.next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if p.kind() != typePublish {
				continue
			}
			qos, id, payload, err := p.publish()
			if err != nil {
				return err
			}
			if qos == 1 {
				acks = appendAck(acks, typePuback, id)
			}
			m.take(payload, c.readAt)
		}
		if len(acks) > 0 {
			if err := c.write(acks); err != nil {
				return err
			}
		}
		if end := m.finished.Load(); end > 0 {
			due := m.r.Sent - (m.r.Sent+leftOut-1)/leftOut
			if m.seen.count >= due || clock()-max(end, m.last) > int64(idle) {
				return nil
			}
		}
	}
}

func (m *mapped) take(payload []byte, now int64) {
	m.r.Received++
	n, ok := member(payload, `"n"`)
	if !ok || n < mappedBase || uint64(n-mappedBase) >= maxSeq {
		return
	}
	n -= mappedBase
	if n%leftOut == 0 {
		m.r.WrongRate++
		return
	}
	if !m.seen.add(uint64(n)) {
		m.r.Repeated++
		return
	}
	if n < m.highest {
		m.r.Disordered++
	}
	m.highest = max(m.highest, n)
	if m.first == 0 {
		m.first = now
	}
	m.last = now
	if t, ok := member(payload, `"t"`); ok {
		m.lat.add(now - (t-mappedStamp)*1000)
	}
}

func (m *mapped) judge() {
	due := m.r.Sent - (m.r.Sent+leftOut-1)/leftOut
	m.r.Missed = due - min(due, m.seen.count)
	m.r.MappedRate = rate(m.seen.count, m.first, m.last)
	m.r.ThroughRate = rate(m.r.Sent, m.began, m.last)
	m.r.Latency = m.lat.summary()
}

// WriteText prints the result for people.
func (r MappedResult) WriteText(w io.Writer) error {
	t := table{w: w}
	t.printf("mapped %s: 1 publisher -> mapping -> 1 subscriber, QoS 1\n", r.Target)
	t.row("published", "%s msg/s (%s)", thousands(r.PublishRate), count(r.Sent))
	t.row("through the mapping", "%s msg/s", thousands(r.ThroughRate))
	t.row("arrived after", "%s", r.Latency)
	t.row("missed", "%s", count(r.Missed))
	t.row("repeated", "%s", count(r.Repeated))
	t.row("out of order", "%s", count(r.Disordered))
	if r.WrongRate > 0 {
		t.row("not left out", "%s", count(r.WrongRate))
	}
	t.usage(r.GeneratorCPU, r.Broker)
	return t.err
}
