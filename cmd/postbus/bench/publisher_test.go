package bench

import (
	"context"
	"net"
	"testing"
	"time"
)

// A publisher that lost its connection resends unacknowledged events: in order, with DUP and the
// same packet identifier, before anything new [MQTT-4.4.0-1].
func TestResendAfterLostConnection(t *testing.T) {
	o, err := Options{QoS: 1, Publishers: 1, Window: 10, Count: 20}.prepare()
	if err != nil {
		t.Fatal(err)
	}
	p := newPublisher(o, 0)
	type sent struct {
		id  uint16
		seq uint64
		dup bool
	}
	// life reads n events, acknowledges those that ack chooses, and closes the connection.
	life := func(n int, ack func(seq uint64) bool) (got []sent, err error) {
		near, far := net.Pipe()
		broker, client := newConn(context.Background(), far), newConn(t.Context(), near)
		over := make(chan error)
		go func() { over <- p.run(t.Context(), t.Context(), client, plan{count: 20}) }()
		for len(got) < n {
			pk, ok, err := broker.next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				if err := broker.fill(); err != nil && !timedOut(err) {
					t.Fatal(err)
				}
				continue
			}
			_, id, payload, err := pk.publish()
			if err != nil {
				t.Fatal(err)
			}
			m, _ := parseMark(payload)
			got = append(got, sent{id, m.seq, pk.head&flagDup != 0})
			if ack(m.seq) {
				broker.write(appendAck(nil, typePuback, id))
			}
		}
		if ack(19) { // the last connection
			err = <-over
		}
		broker.close()
		client.close()
		if !ack(19) {
			err = <-over
		}
		return got, err
	}
	first, err := life(10, func(seq uint64) bool { return seq < 5 && seq != 2 })
	if err == nil {
		t.Fatal("a lost connection went unnoticed")
	}
	second, err := life(16, func(uint64) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	ids := map[uint64]uint16{}
	for i, s := range first {
		if s.seq != uint64(i) || s.dup {
			t.Errorf("first life, event %d: %+v", i, s)
		}
		ids[s.seq] = s.id
	}
	if second[0].seq != 2 {
		t.Errorf("resending begins with %+v", second[0])
	}
	// Events 10 and 11 fitted the window too: they may have been in transit when the connection
	// broke.
	for i, s := range second {
		if i > 0 && s.seq <= second[i-1].seq {
			t.Errorf("%+v after %+v", s, second[i-1])
		}
		if id, again := ids[s.seq]; again && (!s.dup || id != s.id) || s.seq >= 12 && s.dup {
			t.Errorf("second life: %+v, first identifier %d", s, id)
		}
	}
	if p.acked.count != 20 {
		t.Errorf("%d acknowledged", p.acked.count)
	}
}

func TestRateIsKept(t *testing.T) {
	t.Parallel()
	_, url := newFake(t, &fake{})
	r, err := Throughput(t.Context(), Options{Target: url, Publishers: 3, Subscribers: 1, QoS: 1, Rate: 3000, Duration: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if r.PublishRate < 2700 || r.PublishRate > 3200 {
		t.Errorf("%.0f msg/s", r.PublishRate)
	}
}

// The generator's speed when the broker costs nearly nothing: a sink that answers from a table.
func BenchmarkCeiling(b *testing.B) {
	for _, c := range []struct {
		name             string
		qos, subscribers int
	}{
		{"QoS 1 publish only", 1, 0},
		{"QoS 0 to 1", 0, 1},
		{"QoS 1 to 1", 1, 1},
		{"QoS 0 to 50", 0, 50},
	} {
		b.Run(c.name, func(b *testing.B) {
			_, url := newFake(b, &fake{})
			r, err := Throughput(b.Context(), Options{Target: url, Subscribers: c.subscribers, QoS: c.qos, Count: max(4, b.N)})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(r.headline(), "msg/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
