package bus_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

// TestAWillOfAUserWithoutRights: the rules are asked when a will is due, not when its client
// connected. One that is not allowed any more is lost, once, also over restarts.
func TestAWillOfAUserWithoutRights(t *testing.T) {
	for name, end := range map[string]func(*bus.Bus){
		"after its delay":          func(*bus.Bus) { time.Sleep(15 * time.Second) },
		"when the session is over": func(*bus.Bus) { time.Sleep(2 * time.Minute) },
		"when it is dropped": func(b *bus.Bus) {
			if err := b.Drop(context.Background(), "pump"); err != nil {
				panic(err)
			}
		},
		"when its client returns": func(b *bus.Bus) {
			s, _, err := b.Attach(context.Background(), bus.SessionOptions{Name: "pump", User: "ann", Clean: true})
			if err != nil {
				panic(err)
			}
			s.Detach(true, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var banned atomic.Bool
				o := bus.Options{MayPublishWill: func(user, client string, w *bus.Will) bool {
					if user != "ann" || client != "pump" || w.Topic != "state/pump" || string(w.Login) != "by token" {
						t.Errorf("asked about %s, %s and %+v", user, client, w)
					}
					return !banned.Load()
				}}
				d := bustest.NewDisk(1)
				b := open(t, d, o)
				watch, err := b.Subscribe(context.Background(), "watch", "state/#")
				if err != nil {
					t.Fatal(err)
				}
				left := func() {
					s, _, err := b.Attach(context.Background(), bus.SessionOptions{Name: "pump", User: "ann", Expiry: 60,
						Will: &bus.Will{Topic: "state/pump", Payload: []byte("gone"), QoS: 1, Delay: 10, Login: []byte("by token")}})
					if err != nil {
						t.Fatal(err)
					}
					s.Start(&takeAll{}, 1)
					s.Detach(false, 60)
				}
				got := func() bool {
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
					defer cancel()
					e, err := watch.Next(ctx)
					return err == nil && watch.Ack(e) == nil
				}
				left()
				end(b)
				if !got() {
					t.Fatal("a will that is allowed is not published")
				}
				left()
				time.Sleep(time.Second)
				banned.Store(true)
				end(b)
				time.Sleep(time.Second)
				if n := b.Stats().Lost["last will not allowed"]; n != 1 {
					t.Errorf("%d wills count as lost", n)
				}
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
				banned.Store(false) // it is void, not put off
				b = open(t, d, o)
				if watch, err = b.Subscribe(context.Background(), "watch", "state/#"); err != nil {
					t.Fatal(err)
				}
				if got() {
					t.Error("a will that was not allowed is published later")
				}
				if len(b.Sessions()) != 1 {
					t.Errorf("sessions: %v", b.Sessions())
				}
				watch.Close()
				b.Close()
			})
		})
	}
}
