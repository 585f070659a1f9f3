package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// script is a log that answers as a test says.
type script struct {
	appends []func() (uint64, error)
	lasts   []func() (Message, bool, error)
	expects []uint64
}

func (s *script) Append(ctx context.Context, _ string, expect uint64, _ []byte) (uint64, error) {
	s.expects = append(s.expects, expect)
	f := s.appends[0]
	if len(s.appends) > 1 {
		s.appends = s.appends[1:]
	}
	return f()
}

func (s *script) Last(context.Context, string) (Message, bool, error) {
	f := s.lasts[0]
	if len(s.lasts) > 1 {
		s.lasts = s.lasts[1:]
	}
	return f()
}

func TestCommit(t *testing.T) {
	unknown := func() (uint64, error) { return 0, errors.New("no answer") }
	pending := func() (uint64, error) { return 0, &Conflict{Pending: true} }
	stale := func() (uint64, error) { return 0, &Conflict{Last: 9} }
	broken := func() (uint64, error) { return 0, fault("broken", "mend it", nil) }
	stored := func() (uint64, error) { return 8, nil }
	none := func() (Message, bool, error) { return Message{}, false, nil }
	last := func(seq uint64, data string) func() (Message, bool, error) {
		return func() (Message, bool, error) { return Message{Seq: seq, Data: []byte(data)}, true, nil }
	}
	offline := func() (Message, bool, error) { return Message{}, false, ErrOffline }
	type appends = []func() (uint64, error)
	type lasts = []func() (Message, bool, error)
	for _, c := range []struct {
		name    string
		prev    Message
		appends appends
		lasts   lasts
		want    string
		tries   int
	}{
		{"stored at once", Message{Seq: 7}, appends{stored}, nil, "8", 1},
		{"no answer, but stored", Message{Seq: 7}, appends{unknown}, lasts{last(8, "data")}, "8", 1},
		{"no answer, not stored", Message{Seq: 7}, appends{unknown, stored}, lasts{last(7, "prev")}, "8", 2},
		{"no answer, not stored, equal to the one before", Message{Seq: 7, Data: []byte("data")}, appends{unknown, stored}, lasts{last(7, "data")}, "8", 2},
		{"the first one, no answer, not stored", Message{}, appends{unknown, stored}, lasts{none}, "8", 2},
		{"the first one, no answer, but stored", Message{}, appends{unknown}, lasts{last(1, "data")}, "1", 1},
		{"still in flight, then stored", Message{Seq: 7}, appends{pending, pending, stale}, lasts{last(7, "prev"), last(7, "prev"), last(9, "data")}, "9", 3},
		{"still in flight, then refused", Message{Seq: 7}, appends{pending, stored}, lasts{last(7, "prev")}, "8", 2},
		{"somebody else", Message{Seq: 7}, appends{stale}, lasts{last(9, "other")}, "moved 9", 1},
		{"the hub forgot some", Message{Seq: 7}, appends{stale}, lasts{last(5, "older")}, "moved 5", 1},
		{"the hub forgot all", Message{Seq: 7}, appends{stale}, lasts{none}, "moved 0", 1},
		{"the question fails at first", Message{Seq: 7}, appends{unknown, unknown}, lasts{offline, last(8, "data")}, "8", 2},
		{"a fault", Message{Seq: 7}, appends{broken}, nil, "broken", 1},
		{"nothing helps", Message{Seq: 7}, appends{unknown}, lasts{last(7, "prev")}, "context deadline exceeded: no answer", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{appends: c.appends, lasts: c.lasts}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				m, err := Commit(ctx, s, "x", c.prev, []byte("data"))
				got := fmt.Sprint(m.Seq)
				var moved *Moved
				if errors.As(err, &moved) {
					got = fmt.Sprint("moved ", moved.Last.Seq)
				} else if err != nil {
					got = err.Error()
				} else if string(m.Data) != "data" {
					t.Errorf("the data is %q", m.Data)
				}
				if got != c.want {
					t.Errorf("got %s, want %s", got, c.want)
				}
				if c.tries > 0 && len(s.expects) != c.tries {
					t.Errorf("%d attempts, not %d", len(s.expects), c.tries)
				}
				if c.tries == 0 && (len(s.expects) < 600 || len(s.expects) > 2000) {
					t.Errorf("%d attempts in an hour: the pauses are wrong", len(s.expects))
				}
				for _, e := range s.expects {
					if e != c.prev.Seq {
						t.Errorf("expected %d, not %d", e, c.prev.Seq)
					}
				}
			})
		})
	}
}

// TestUncertainSends cuts the connection between a send and its answer, or holds the send back
// until it comes late, beside its repetition.
func TestUncertainSends(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	p := startProxy(t, h.Addr().String())
	o := h.options()
	o.URLs, o.Retry = []string{"nats://" + p.addr()}, 20*time.Millisecond
	s := open(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	const rounds = 300
	var prev Message
	var err error
	cuts := map[cut]int{}
	for i := range rounds {
		c := cut(rand.IntN(int(cuts4)))
		cuts[c]++
		p.arm(c)
		if prev, err = Commit(ctx, s, "pbf.home.attic.a", prev, fmt.Appendf(nil, "group %d", i)); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	p.arm(cutNothing)
	if n := p.cuts.Load(); n < rounds/2 {
		t.Errorf("only %d connections were cut", n)
	}
	r, err := open(t, h.options()).Read(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range rounds {
		m, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("group %d", i); string(m.Data) != want || m.Seq != uint64(i+1) {
			t.Fatalf("message %d is %q, not %q", m.Seq, m.Data, want)
		}
	}
	if i, err := s.Info(ctx); err != nil || i.Last != rounds {
		t.Errorf("%d messages, %v", i.Last, err)
	}
	t.Logf("cuts by kind %v, %d connections cut", cuts, p.cuts.Load())
}

func TestTwoWritersOfOneSubject(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	a, b := open(t, h.options()), open(t, h.options())
	ctx := t.Context()
	first, err := Commit(ctx, a, "pbf.home.attic.a", Message{}, []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	var moved *Moved
	if _, err := Commit(ctx, b, "pbf.home.attic.a", Message{}, []byte("b")); !errors.As(err, &moved) || moved.Last.Seq != first.Seq || string(moved.Last.Data) != "a" {
		t.Errorf("got %v", err)
	}
	if moved != nil && !strings.Contains(moved.Error(), "pbf.home.attic.a") {
		t.Errorf("the error names no subject: %v", moved)
	}
}
