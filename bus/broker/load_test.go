package broker_test

// This file is the broker under load: Receive Maximum, takeovers, a consumer that does not read.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/internal/logtest"
)

// raw is a subscriber that decides itself when it reads and acknowledges.
type raw struct {
	net.Conn
	r *bufio.Reader
}

// dial connects as an MQTT 5 client that keeps its session, with a Receive Maximum.
func dial(t testing.TB, addr, id string, receiveMaximum uint16) *raw {
	t.Helper()
	props := []byte{0x11, 0, 0, 0xFF, 0xFF, 0x21, 0, 0}
	binary.BigEndian.PutUint16(props[6:], receiveMaximum)
	return dialWith(t, addr, id, props)
}

// dialWith connects as an MQTT 5 client with the given properties of CONNECT.
func dialWith(t testing.TB, addr, id string, props []byte) *raw {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	body := append(str(nil, "MQTT"), 5, 0, 0, 60)
	body = append(append(body, byte(len(props))), props...)
	body = str(body, id)
	send(t, c, 0x10, body)
	k := &raw{c, bufio.NewReaderSize(c, 64<<10)}
	if typ, p := k.packet(t); typ != 0x20 || p[1] != 0 {
		t.Fatalf("CONNACK %x %x", typ, p)
	}
	return k
}

func send(t testing.TB, w io.Writer, first byte, body []byte) {
	t.Helper()
	if _, err := w.Write(append(varint([]byte{first}, len(body)), body...)); err != nil {
		t.Fatal(err)
	}
}

func (k *raw) subscribe(t testing.TB, filter string) {
	t.Helper()
	send(t, k, 0x82, append(str([]byte{0, 1, 0}, filter), 1))
	for {
		if typ, _ := k.packet(t); typ == 0x90 {
			return
		}
	}
}

// packet reads one packet; a failure ends the test.
func (k *raw) packet(t testing.TB) (first byte, body []byte) {
	t.Helper()
	_ = k.SetDeadline(time.Now().Add(time.Minute)) // also for writes, until the next packet
	first, body, err := k.read()
	if err != nil {
		t.Fatal(err)
	}
	return first, body
}

func (k *raw) read() (first byte, body []byte, err error) {
	first, err = k.r.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(k.r)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(k.r, body)
	return first, body, err
}

// event splits a QoS 1 PUBLISH.
func event(body []byte) (id uint16, payload string) {
	n := int(binary.BigEndian.Uint16(body))
	rest := body[2+n:]
	id = binary.BigEndian.Uint16(rest)
	props := int(rest[2])
	return id, string(rest[3+props:])
}

func puback(t testing.TB, w io.Writer, id uint16) {
	t.Helper()
	send(t, w, 0x40, []byte{byte(id >> 8), byte(id)})
}

// flood publishes numbered events at QoS 1 from n clients, each events per client. It closes done
// when all are acknowledged.
func flood(t testing.TB, addr string, n int, each int) (done chan struct{}) {
	t.Helper()
	done = make(chan struct{})
	var left atomic.Int32
	left.Store(int32(n))
	for p := range n {
		c := client(t, addr, fmt.Sprintf("pub%d", p), true, nil)
		go func() {
			for i := range each {
				if tok := c.Publish(fmt.Sprintf("load/%d", p), 1, false, fmt.Sprintf("%d %d", p, i)); i%50 == 49 || i == each-1 {
					tok.Wait()
				}
			}
			if left.Add(-1) == 0 {
				close(done)
			}
		}()
	}
	return done
}

// order checks that each publisher's events arrive without a gap; it returns how many were new.
type order map[string]int

func (o order) take(t testing.TB, payload string) bool {
	t.Helper()
	var p string
	var i int
	if _, err := fmt.Sscan(payload, &p, &i); err != nil {
		t.Fatal(err)
	}
	switch want := o[p]; {
	case i < want:
		return false
	case i > want:
		t.Fatalf("publisher %s: event %d comes, %d was expected", p, i, want)
	}
	o[p]++
	return true
}

func TestReceiveMaximumIsRespectedUnderLoad(t *testing.T) {
	for rm := uint16(1); rm <= 5; rm++ {
		t.Run(fmt.Sprint("[MQTT-3.3.4-9] ", rm), func(t *testing.T) {
			t.Parallel()
			addr, _ := start(t, t.TempDir(), bus.Options{}, broker.Options{})
			k := dial(t, addr, "careful", rm)
			k.subscribe(t, "load/#")
			const publishers, each = 3, 600
			done := flood(t, addr, publishers, each)
			seen := order{}
			var flight []uint16
			for n := 0; n < publishers*each; {
				// Read until the broker has sent all that the window allows, then acknowledge.
				for len(flight) < int(rm) && n < publishers*each {
					first, body := k.packet(t)
					if first>>4 != 3 {
						t.Fatalf("packet %x", first)
					}
					id, payload := event(body)
					if seen.take(t, payload) {
						n++
					}
					flight = append(flight, id)
				}
				if k.r.Buffered() > 0 {
					t.Fatalf("more than %d events in flight", rm)
				}
				for _, id := range flight {
					puback(t, k, id)
				}
				flight = flight[:0]
			}
			<-done
		})
	}
}

func TestTakeoversUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, t.TempDir(), bus.Options{}, broker.Options{})
	k := dial(t, addr, "wanted", 20)
	k.subscribe(t, "load/#")
	const publishers, each = 3, 2000
	done := flood(t, addr, publishers, each)
	seen := order{}
	n, takeovers := 0, 0
	for n < publishers*each {
		first, body, err := k.read()
		if err != nil || first>>4 == 14 { // this test's own takeover, below
			t.Fatalf("connection lost: %x %v", first, err)
		}
		id, payload := event(body)
		if seen.take(t, payload) {
			n++
		}
		if n%3 > 0 { // some remain unacknowledged when the next connection begins
			puback(t, k, id)
		}
		if n%40 == 0 && takeovers < 150 {
			takeovers++
			k = dial(t, addr, "wanted", 20)
		} else if n%3 == 0 {
			puback(t, k, id)
		}
	}
	<-done
	if takeovers < 100 {
		t.Fatalf("only %d takeovers", takeovers)
	}
}

func TestAConsumerThatDoesNotReadIsNobodyElsesProblem(t *testing.T) {
	t.Parallel()
	addr, b := start(t, t.TempDir(), bus.Options{}, broker.Options{Inflight: 1000, OutputBuffer: 32 << 10})
	stuck := dial(t, addr, "stuck", 65535)
	stuck.subscribe(t, "load/#")
	other := dial(t, addr, "other", 65535)
	other.subscribe(t, "load/#")
	const publishers, each = 2, 1500
	done := flood(t, addr, publishers, each)
	drain := func(k *raw) {
		seen := order{}
		for n := 0; n < publishers*each; {
			_, body := k.packet(t)
			id, payload := event(body)
			if seen.take(t, payload) {
				n++
			}
			puback(t, k, id)
		}
	}
	drain(other)
	<-done // the publishers had all their acknowledgements while this client did not read
	lag := uint64(0)
	for _, s := range b.Sessions() {
		if s.Name == "stuck" {
			lag = s.Lag
		}
	}
	if lag != publishers*each {
		t.Fatalf("the stuck session lags %d events behind, of %d", lag, publishers*each)
	}
	drain(stuck)
}

// A client that has stopped reading does not keep its socket: the connection that takes its session
// over ends it, within a bound.
func TestAStuckConnectionEndsWhenItIsTakenOver(t *testing.T) {
	t.Parallel()
	b, err := bus.Open(context.Background(), bus.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	addr, k := serve(t, b, broker.Options{})
	ours, theirs := net.Pipe() // its writes block as soon as the other end does not read
	defer ours.Close()
	go k.Serve(theirs, "pipe", true)
	connect := str(append(str(nil, "MQTT"), 4, 0, 0, 0), "stuck")
	send(t, ours, 0x10, connect)
	stuck := &raw{ours, bufio.NewReader(ours)}
	if first, _ := stuck.packet(t); first != 0x20 {
		t.Fatalf("packet %x", first)
	}
	send(t, ours, 0x82, append(str([]byte{0, 1}, "load/#"), 1))
	if first, _ := stuck.packet(t); first != 0x90 {
		t.Fatalf("packet %x", first)
	}
	if _, err := b.Publish(context.Background(), bus.Event{Topic: "load/x", Payload: make([]byte, 10000), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	next := dial(t, addr, "stuck", 10)
	if first, _ := next.packet(t); first>>4 != 3 {
		t.Fatalf("packet %x", first)
	}
	_ = ours.SetDeadline(time.Now().Add(time.Minute))
	for {
		if _, err := ours.Write([]byte{0xC0, 0}); errors.Is(err, io.ErrClosedPipe) {
			return
		} else if err != nil {
			t.Fatalf("the stuck connection is still there: %v", err)
		}
	}
}

// TestARateHoldsWithinOneWrite: thirty events that arrive at once are not processed at once. The
// test checks the minimum time only, so that it also passes on a slow machine.
func TestARateHoldsWithinOneWrite(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, t.TempDir(), bus.Options{}, broker.Options{PublishRate: broker.Rate{Events: 20}})
	k := dial(t, addr, "eager", 100)
	var all bytes.Buffer
	for i := range 30 {
		send(t, &all, 0x32, append(append(str(nil, "t"), 0, byte(i+1), 0), 'x'))
	}
	began := time.Now()
	if _, err := k.Write(all.Bytes()); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if first, body := k.packet(t); first != 0x40 || body[1] != byte(i+1) {
			t.Fatalf("event %d: %x %x", i+1, first, body)
		}
	}
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("30 events, 20 of them a burst, took %s at 20 a second", took)
	}
}

// TestAUsersRate: all clients of a user share its rate, another user has its own, and a client that waits
// can be disconnected.
func TestAUsersRate(t *testing.T) {
	t.Parallel()
	b, err := bus.Open(context.Background(), bus.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	log := new(logtest.Buffer)
	addr, k := serve(t, b, broker.Options{UserRate: broker.Rate{Events: 20}, PublishRate: broker.Rate{Bytes: 1 << 20}, Logger: slog.New(slog.NewTextHandler(log, nil)),
		Authenticate: func(broker.Credentials) (broker.Identity, error) { return limited{}, nil }})
	in := func(user, id string) *wire {
		w := knock(t, addr, v5, fmt.Sprintf("CONNECT id=%s username=%s password=x", id, user))
		if got, err := w.read(answerTimeout); !strings.HasPrefix(got, "CONNACK 00") {
			t.Fatalf("%s: %q %v", id, got, err)
		}
		return w
	}
	publish := func(w *wire, n int) {
		var all []byte
		for i := range n {
			all = append(all, encode(fmt.Sprint("PUBLISH t x q1 id=", i+1), "", v5)...)
		}
		if _, err := w.Write(all); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if got, err := w.read(answerTimeout); got != fmt.Sprint("PUBACK ", i+1) {
				t.Fatalf("%q %v", got, err)
			}
		}
	}
	one, two, other := in("ann", "one"), in("ann", "two"), in("bob", "other")
	began := time.Now()
	sent := 0
	for range 20 { // a slow machine may be below the rate for a while
		publish(one, 15)
		publish(two, 15)
		if sent += 30; k.Delayed() > 0 {
			break
		}
	}
	if took, least := time.Since(began), time.Duration(sent-20)*time.Second/20; took < least*4/5 {
		t.Errorf("%d events of two clients, 20 of them a burst, took %s at 20 a second", sent, took)
	}
	before := k.Delayed()
	if before == 0 {
		t.Error("no event was counted as delayed")
	}
	publish(other, 15)
	if k.Delayed() != before {
		t.Error("another user waits, too")
	}
	if !strings.Contains(log.String(), "client slowed down by limits.user_publish_rate") {
		t.Errorf("%s", log.String())
	}
	// A client that is paused for seconds is disconnected at once.
	large := strings.Repeat("x", 1<<20-100)
	for i := range 8 {
		if _, err := other.Write(encode(fmt.Sprint("PUBLISH t ", large, " q1 id=", i+1), "", v5)); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(answerTimeout); !strings.Contains(log.String(), "limits.publish_size"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not slowed down")
		}
	}
	if !k.Disconnect("other") {
		t.Fatal("it has no connection")
	}
	for end := time.Now().Add(answerTimeout); k.Connections()["tcp"] != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is still connected: %v", k.Connections())
		}
	}
}

// TestARefusedPublishIsNoLossForWhomIsTold: otherwise any client could trigger an alert on losses.
func TestARefusedPublishIsNoLossForWhomIsTold(t *testing.T) {
	t.Parallel()
	addr, b := start(t, t.TempDir(), bus.Options{}, broker.Options{})
	k := dial(t, addr, "five", 100)
	send(t, k, 0x32, append(append(str(nil, "$SYS/x"), 0, 1, 0), 'x'))
	if first, body := k.packet(t); first != 0x40 || body[2] != 0x87 {
		t.Fatalf("%x %x", first, body)
	}
	if lost := b.Stats().Lost; len(lost) != 0 {
		t.Errorf("lost: %v", lost)
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	old := &raw{c, bufio.NewReader(c)}
	send(t, c, 0x10, str(append(str(nil, "MQTT"), 4, 2, 0, 60), "four"))
	if first, body := old.packet(t); first != 0x20 || body[1] != 0 {
		t.Fatalf("CONNACK %x %x", first, body)
	}
	send(t, c, 0x32, append(append(str(nil, "$SYS/x"), 0, 1), 'x'))
	if first, _ := old.packet(t); first != 0x40 {
		t.Fatalf("%x", first)
	}
	if lost := b.Stats().Lost; lost["publish not allowed"] != 1 {
		t.Errorf("lost: %v", lost)
	}
}
