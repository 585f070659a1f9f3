package bus_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

func TestEventAt(t *testing.T) {
	b := open(t, bustest.NewDisk(1), bus.Options{})
	var seqs []uint64
	for i := range 300 {
		seq, err := b.Publish(context.Background(), bus.Event{Topic: fmt.Sprint("$plugin/x/", i), Payload: []byte(fmt.Sprint(i)), QoS: 1, Source: "plugin:x", Cause: uint64(i)})
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, seq)
	}
	for b.Last() < seqs[len(seqs)-1] { // durable, and not offered yet
		time.Sleep(time.Millisecond)
	}
	for i, seq := range seqs {
		e, ok, err := b.EventAt(seq)
		if err != nil || !ok || e.Seq != seq || string(e.Payload) != fmt.Sprint(i) || e.Cause != uint64(i) {
			t.Fatalf("event %d: %+v %v %v", seq, e, ok, err)
		}
	}
	for _, seq := range []uint64{0, seqs[len(seqs)-1] + 1, 1 << 63} {
		if e, ok, err := b.EventAt(seq); ok || err != nil {
			t.Errorf("event %d: %+v %v", seq, e, err)
		}
	}
}
