package bus_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/postbus/postbus/bus"
)

func TestAsking(t *testing.T) {
	ctx := context.Background()
	b, err := bus.Open(ctx, bus.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i, source := range []string{"plugin:a", "plugin:b", "somebody"} {
		if _, err := b.Publish(ctx, bus.Event{Topic: fmt.Sprintf("x/%d", i), Payload: []byte("v"), Retain: true, QoS: 1, Source: source}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := b.Subscribe(ctx, "watcher", "x/#") // a subscription waits until what was published is folded
	if err != nil {
		t.Fatal(err)
	}
	if !b.Listening("x/0") || b.Listening("y") {
		t.Error("who listens is not seen")
	}
	s.Close() // absent now, and counted all the same
	if b.Listening("x/0") {
		t.Error("who left still listens")
	}
	got, err := b.Retained("x/+")
	if err != nil || len(got) != 3 || got[0].Topic != "x/0" || string(got[2].Payload) != "v" || got[2].Source != "somebody" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := b.Retained("x/#/y"); err == nil {
		t.Error("a bad filter is taken")
	}
	if by := b.RetainedByPlugins(); len(by) != 2 || by["x/1"] != "plugin:b" {
		t.Errorf("%v", by)
	}
	if a, n := b.Audience("x/0"), b.Audience("y"); a != 1 || n != 0 {
		t.Errorf("audience %d and %d, want 1 and 0", a, n)
	}
	// Sent without waiting: in order, and durable when done.
	var sent []bus.Pending
	for i := range 100 {
		p, err := b.Send(bus.Event{Topic: "x/n", Payload: fmt.Append(nil, i), QoS: 1})
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, p)
	}
	for i, p := range sent {
		if <-p.Done(); p.Err() == nil && i > 0 && p.Seq() != sent[i-1].Seq()+1 {
			t.Fatalf("sequence %d follows %d", p.Seq(), sent[i-1].Seq())
		}
		if p.Err() != nil {
			t.Fatal(p.Err())
		}
	}
	if p, err := b.Send(bus.Event{Topic: "x"}); err != nil || p.Seq() != 0 || p.Err() != nil {
		t.Errorf("QoS 0: %+v, %v", p, err)
	} else {
		<-p.Done()
	}
}
