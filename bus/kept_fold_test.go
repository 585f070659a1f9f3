package bus

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

// The kept value of a conditional event is set if the fold accepts the event, now and in every
// replay. Its condition is not its cause.
func TestAKeptValueOfAConditionalEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		d := bustest.NewDisk(1)
		o := Options{FS: d}
		b, err := Open(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := b.Attach(ctx, SessionOptions{Name: "client", Expiry: NeverExpires, Will: &Will{Topic: "w/will", Payload: []byte("will"), QoS: 1}})
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{"first", "second"} { // the second finds no will
			e := Event{Topic: "w/will", Payload: []byte(value), QoS: 1, Source: "client", Kept: Kept{"$plugin/a/" + value, []byte(value)}}
			r := e.Record()
			r.Kind, r.Cause = journal.KindConditional, s.opened
			c, err := b.journal.Append(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.await(ctx, "", c); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 { // live, from the journal, from the snapshot
			list, err := b.Retained("$plugin/#")
			if err != nil || len(list) != 1 || string(list[0].Payload) != "first" || list[0].Cause != 0 {
				t.Errorf("life %d: %+v, err %v", i, list, err)
			}
			var history []string
			if err := b.History(ctx, "w/#", Since{Seq: 1}, func(e Event) bool {
				if history = append(history, string(e.Payload)); e.Cause != 0 {
					t.Errorf("the cause of %s is %d, which is the sequence that its session was opened with", e.Payload, e.Cause)
				}
				return true
			}); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(history, []string{"first"}) {
				t.Errorf("life %d: events %q", i, history)
			}
			if i == 0 {
				o.FS = d.PowerCut()
			}
			b.Close()
			if b, err = Open(ctx, o); err != nil {
				t.Fatal(err)
			}
		}
		b.Close()
	})
}
