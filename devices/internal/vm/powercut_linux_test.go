// This file cuts the power: acknowledged events survive on a disk that lost everything that was not
// synced.

package vm

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/postbus/postbus/devices/internal/vmtest"
)

const cutPlace = "/disk/cut"

// TestCutBefore runs until the power cut. It doesn't return.
func TestCutBefore(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	mount(t, "/dev/vda", "/disk", "ext4")
	p := postbus(t, cutPlace, map[string]string{"edges": edges})
	sub := connect(t, p, "subscriber", false, nil)
	sub.subscribe(t, 1, "home/#")
	sub.away()
	witness := connect(t, p, "witness", true, nil)
	witness.subscribe(t, 1, "home/edges")
	publisher := connect(t, p, "publisher", true, nil)
	var acked atomic.Int64
	go func() { // until the end
		for n := int64(1); ; n++ {
			if token := publisher.Publish("home/count", 1, false, strconv.FormatInt(n, 10)); !token.WaitTimeout(patience) || token.Error() != nil {
				return
			}
			acked.Store(n)
		}
	}()
	seen := 0
	for i := 0; i < 100 || seen < 10 || acked.Load() < 10; i++ { // until enough is known, however slow the machine is
		wire(t, 5, 1-i%2)
		for len(witness.got) > 0 {
			seen = decode[edge](t, (<-witness.got).Payload()).N
		}
	}
	vmtest.Ask(t, "cut", strconv.Itoa(seen), strconv.FormatInt(acked.Load(), 10))
	t.Error("there is life after the end")
}

// TestCutAfter runs after the power cut.
func TestCutAfter(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	var seen, acked int
	if _, err := fmt.Sscan(vmtest.Ask(t, "known"), &seen, &acked); err != nil {
		t.Fatal(err)
	}
	if seen < 10 || acked < 10 {
		t.Errorf("only %d edges and %d publishes were known when the power was cut", seen, acked)
	}
	mount(t, "/dev/vda", "/disk", "ext4")
	p := postbus(t, cutPlace, map[string]string{"edges": edges}) // the file was never synced
	back := connect(t, p, "subscriber", false, nil)
	edgeN, count := 0, 0
	for edgeN < seen || count < acked {
		m := back.next(t)
		got, at := 0, &count
		if m.Topic() == "home/edges" {
			got, at = decode[edge](t, m.Payload()).N, &edgeN
		} else {
			got = decode[int](t, m.Payload())
		}
		if got != *at+1 {
			t.Fatalf("%s: after %d comes %d", m.Topic(), *at, got)
		}
		*at = got
	}
	vmtest.Figure("the power was cut with %d edges seen at QoS 1 and %d publishes acknowledged; all of them came to the subscriber, in order, from the disk of a machine that booted again", seen, acked)
}
