package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// fill appends messages on a subject, in order, and returns the last one.
func fill(t *testing.T, s *Stream, subject string, prev Message, list ...string) Message {
	t.Helper()
	for _, data := range list {
		var err error
		if prev, err = Commit(t.Context(), s, subject, prev, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	return prev
}

// reader reads with fast heartbeats, and is closed with the test.
func reader(t *testing.T, s *Stream, from uint64, subjects ...string) *Reader {
	t.Helper()
	r, err := s.read(t.Context(), 100*time.Millisecond, from, subjects)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// expect reads the data of messages; ErrRestarted is "restarted".
func expect(t *testing.T, r *Reader, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, w := range want {
		m, err := r.Next(ctx)
		got := string(m.Data)
		if errors.Is(err, ErrRestarted) {
			got = "restarted"
		} else if err != nil {
			got = err.Error()
		}
		if got != w {
			t.Fatalf("got %q, want %q", got, w)
		}
	}
}

func TestReadInOrder(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	s := open(t, h.options())
	a := fill(t, s, "pbf.home.attic.a", Message{}, "a1", "a2")
	fill(t, s, "pbf.home.desk.a", Message{}, "d1")
	fill(t, s, "pbf.home.attic.alarm", Message{}, "alarm")
	fill(t, s, "pbf.home.attic.a", a, "a3")

	expect(t, reader(t, s, 0), "a1", "a2", "d1", "alarm", "a3")
	expect(t, reader(t, s, 2), "a2", "d1")
	expect(t, reader(t, s, 1, "pbf.home.desk.*", "pbf.home.attic.alarm"), "d1", "alarm")
	r := reader(t, s, 6)
	m := fill(t, s, "pbf.home.desk.b", Message{}, "new")
	got, err := r.Next(t.Context())
	if err != nil || got.Seq != m.Seq || got.Subject != m.Subject || got.Stored.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := s.Read(t.Context(), 1, "pbf..x"); !isFault(err) {
		t.Errorf("a bad filter: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at the end: %v", err)
	}
	fill(t, s, "pbf.home.desk.b", m, "later")
	expect(t, r, "later") // the end of a context costs nothing
	r.Close()
	if _, err := r.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestReadersMemory has a stream of 24 MiB, and a slow reader.
func TestReadersMemory(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	s := open(t, h.options())
	const n, size = 120, 200 << 10
	data := make([]byte, size)
	var prev Message
	for i := range n {
		data[0] = byte(i)
		prev = fill(t, s, "pbf.home.attic.a", prev, string(data))
	}
	r := reader(t, s, 1)
	most := 0
	for i := range n {
		m, err := r.Next(t.Context())
		if err != nil || m.Data[0] != byte(i) || len(m.Data) != size {
			t.Fatalf("message %d: %d bytes, %v", i, len(m.Data), err)
		}
		// The hub sent all that it may, which are 11 messages, when it reports that it waits.
		if i < 5 {
			until(t, "the hub waits", func() bool {
				waiting, _, _ := r.consumer.sub.Pending()
				return waiting >= 10-i+3
			})
		}
		if _, bytes, err := r.consumer.sub.Pending(); err == nil {
			most = max(most, bytes)
		}
	}
	if most > window+2*size || most < window/2 {
		t.Errorf("at most %d bytes waited, the window is %d", most, window)
	}
	t.Logf("at most %d KiB waited", most>>10)
}

// TestReadOverWindows reads over several windows, with messages that were removed.
func TestReadOverWindows(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	s := open(t, h.options())
	var want []string
	var prev Message
	data := make([]byte, 150<<10)
	for i := range 40 {
		text := fmt.Sprintf("%d %s", i, data[:len(data)-i*3000])
		want = append(want, text)
		prev = fill(t, s, "pbf.home.attic.a", prev, text)
	}
	for _, seq := range []int{3, 4, 17} {
		question := fmt.Sprintf(`{"seq":%d}`, seq)
		if _, err := s.link.nc.Request("$JS.API.STREAM.MSG.DELETE.PBF_home", []byte(question), 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	want = slices.Delete(want, 16, 17)
	want = slices.Delete(want, 2, 4)
	expect(t, reader(t, s, 1), want...)
}

// TestAWindowThatDoesNotFollow removes the message with which the next consumer has to begin.
func TestAWindowThatDoesNotFollow(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	s := open(t, h.options())
	var list []string
	for i := range 15 {
		list = append(list, fmt.Sprintf("%d %s", i, make([]byte, 200<<10)))
	}
	fill(t, s, "pbf.home.attic.a", Message{}, list...)
	r := reader(t, s, 1)
	expect(t, r, list[:11]...)
	if r.consumer.bytes <= window {
		t.Fatal("the window is not over")
	}
	if _, err := s.link.nc.Request("$JS.API.STREAM.MSG.DELETE.PBF_home", []byte(`{"seq":11}`), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	expect(t, r, append([]string{"restarted"}, list[11:]...)...)
}

// TestALargeMessage reads a message that is larger than the window.
func TestALargeMessage(t *testing.T) {
	h := startHub(t, func(o *server.Options) { o.MaxPayload = 8 << 20 })
	createHome(t, h.options())
	o := h.options()
	o.MaxMessage = 4 << 20
	s := open(t, o)
	large := string(make([]byte, 3<<20))
	fill(t, s, "pbf.home.attic.a", Message{}, "a", large, "b", large, large, "c")
	r := reader(t, s, 1)
	var sizes []int
	for len(sizes) < 6 {
		m, err := r.Next(t.Context())
		if errors.Is(err, ErrRestarted) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(m.Data))
	}
	if fmt.Sprint(sizes) != fmt.Sprint([]int{1, 3 << 20, 1, 3 << 20, 3 << 20, 1}) {
		t.Error(sizes)
	}
}

// consumers asks the hub for the names of the stream's consumers.
func (h *hub) consumers(t *testing.T, nc *nats.Conn) []string {
	t.Helper()
	m, err := nc.Request("$JS.API.CONSUMER.NAMES.PBF_home", nil, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var a struct{ Consumers []string }
	if err := json.Unmarshal(m.Data, &a); err != nil {
		t.Fatal(err)
	}
	return a.Consumers
}

// TestASilentConsumer has a consumer that is alive and gives nothing although the stream has more: it
// is paused, of which only its creator would know.
func TestASilentConsumer(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	s := open(t, h.options())
	a := fill(t, s, "pbf.home.attic.a", Message{}, "one")
	r := reader(t, s, 1)
	expect(t, r, "one")
	nc := s.link.nc
	pause := fmt.Sprintf(`{"pause_until":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339))
	for _, name := range h.consumers(t, nc) {
		m, err := nc.Request("$JS.API.CONSUMER.PAUSE.PBF_home."+name, []byte(pause), 5*time.Second)
		if err != nil || !json.Valid(m.Data) {
			t.Fatal(err)
		}
	}
	fill(t, s, "pbf.home.attic.a", a, "two", "three")
	expect(t, r, "restarted", "two", "three")
}

func TestALostConsumer(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	s := open(t, h.options())
	a := fill(t, s, "pbf.home.attic.a", Message{}, "one", "two")
	r := reader(t, s, 1)
	expect(t, r, "one")
	nc := s.link.nc
	for _, name := range h.consumers(t, nc) {
		if _, err := nc.Request("$JS.API.CONSUMER.DELETE.PBF_home."+name, nil, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, s, "pbf.home.attic.a", a, "three")
	expect(t, r, "two", "restarted", "three")
}

// TestALostMessage drops a message between the hub and the reader.
func TestALostMessage(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	s := open(t, h.options())
	fill(t, s, "pbf.home.attic.a", Message{}, "one", "two", "three")
	r := reader(t, s, 1)
	if _, err := r.consumer.sub.NextMsg(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	expect(t, r, "restarted", "one", "two", "three")
	// The last one is lost: only a heartbeat tells.
	r = reader(t, s, 1)
	expect(t, r, "one", "two")
	if _, err := r.consumer.sub.NextMsg(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	m, err := r.consumer.sub.NextMsg(5 * time.Second)
	if err != nil || m.Header.Get("Status") != "100" {
		t.Fatal(m, err)
	}
	if err := r.report(t.Context(), r.consumer, m); err == nil {
		t.Error("the first heartbeat after it doesn't tell")
	}
	expect(t, r, "restarted", "three")
}

func TestReadingAStreamThatIsGone(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	s := open(t, h.options())
	fill(t, s, "pbf.home.attic.a", Message{}, "one")
	r := reader(t, s, 1)
	expect(t, r, "one")
	if _, err := s.link.nc.Request("$JS.API.STREAM.DELETE.PBF_home", nil, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); !isFault(err) {
		t.Fatalf("got %v", err)
	}
	if _, err := Commit(t.Context(), s, "pbf.home.attic.a", Message{Seq: 1}, nil); !isFault(err) {
		t.Errorf("a commit: %v", err)
	}
	createHome(t, h.options())
	fill(t, s, "pbf.home.attic.a", Message{}, "another one", "two")
	expect(t, r, "restarted", "two") // the caller sees at its place that it is another stream
}
