// This file is the most important story: a subscriber loses nothing that it missed.

package vm

import (
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/vmtest"
)

// TestBoardStory: edges arrive; the subscriber disconnects; edges continue; postbus is killed
// meanwhile and restarted; more edges; the subscriber reconnects and receives each edge that it
// missed, once and in order.
func TestBoardStory(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	p := postbus(t, place(t), map[string]string{"edges": edges})
	first := connect(t, p, "subscriber", false, nil)
	first.subscribe(t, 1, "home/edges")
	level := 0
	step := func(n int) {
		for range n {
			level = 1 - level
			wire(t, 5, level)
		}
	}
	step(20)
	for n := 1; n <= 20; n++ {
		if e := decode[edge](t, first.next(t).Payload()); e.N != n {
			t.Fatalf("edge %d is %+v", n, e)
		}
	}
	first.away()

	// A witness sees, at QoS 1, which events are durable when the program dies.
	witness := connect(t, p, "witness", true, nil)
	witness.subscribe(t, 1, "home/edges")
	step(150)
	p.kill()
	var seen []edge
	for len(witness.got) > 0 {
		seen = append(seen, decode[edge](t, (<-witness.got).Payload()))
	}
	step(4) // no program runs, so none can know of these
	died := time.Now()
	p.start(t)
	again := time.Since(died)
	witness = connect(t, p, "witness", true, nil)
	witness.subscribe(t, 1, "home/edges")
	step(50)
	for n := 1; n <= 50; n++ {
		e := decode[edge](t, witness.next(t).Payload())
		if e.N != n {
			t.Fatalf("after the start edge %d is %+v", n, e)
		}
		seen = append(seen, e)
	}

	back := connect(t, p, "subscriber", false, nil) // it does not subscribe: its session has the subscription
	began := time.Now()
	var missed []edge
	for after := -1; after < 50; { // edges since the start are numbered from 1 again
		m := back.next(t)
		e := decode[edge](t, m.Payload())
		switch n := len(missed); {
		case n == 0 && e.N <= 20 && after < 0: // one of the first 20, whose acknowledgement did not arrive
			continue
		case after < 0 && n == 0 && e.N != 21, after < 0 && n > 0 && e.N != 1 && e.N != missed[n-1].N+1, after >= 0 && e.N != after+1:
			t.Fatalf("%+v comes after %+v", e, missed[max(0, n-1):])
		case after < 0 && n > 0 && e.N == 1:
			after = 1
		case after >= 0:
			after = e.N
		}
		missed = append(missed, e)
	}
	took := time.Since(began)
	for _, s := range seen { // each edge that the witness received is present
		found := false
		for _, m := range missed {
			found = found || m.Time.Equal(s.Time)
		}
		if !found {
			t.Errorf("%+v was seen by the witness and not by the subscriber", s)
		}
	}
	if lost := 200 - len(missed); lost > 150-(len(seen)-50) {
		t.Errorf("%d of 200 edges are missing, %d were durable", lost, len(seen))
	}
	back.publish(t, "home/end", "")
	if n := len(back.got); n > 0 {
		t.Errorf("%d more came, such as %s", n, (<-back.got).Payload())
	}
	vmtest.Figure("the story: killed after 150 edges, %d of which were out at QoS 1; running again after %s; the subscriber got %d missed edges (%d from before the kill) in order within %s",
		len(seen)-50, again.Round(time.Millisecond), len(missed), len(missed)-50, took.Round(time.Millisecond))
	if level == 1 {
		wire(t, 5, 0)
	}
}
