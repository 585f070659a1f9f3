package bus_test

import (
	"context"
	"fmt"
	"os"

	"github.com/postbus/postbus/bus"
)

// A named subscription gets what came while nobody held it.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "postbus")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	b, err := bus.Open(ctx, bus.Options{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	sub, err := b.Subscribe(ctx, "agent", "home/#")
	if err != nil {
		fmt.Println(err)
		return
	}
	sub.Close() // away

	if _, err := b.Publish(ctx, bus.Event{Topic: "home/door", Payload: []byte("open"), QoS: 1}); err != nil {
		fmt.Println(err)
		return
	}
	b.Close() // and the program ends

	b, err = bus.Open(ctx, bus.Options{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	sub, err = b.Subscribe(ctx, "agent", "home/#")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sub.Close()
	e, err := sub.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: %s\n", e.Topic, e.Payload)
	if err := sub.Ack(e); err != nil { // until then it would be delivered again
		fmt.Println(err)
	}
	// Output: home/door: open
}

// Retained events are a topic's last value: a new subscription begins with them.
func ExampleBus_Publish() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "postbus")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	b, err := bus.Open(ctx, bus.Options{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	for _, v := range []string{"20.5", "21.0"} {
		e := bus.Event{Topic: "home/temperature", Payload: []byte(v), QoS: 1, Retain: true,
			Properties: bus.Properties(nil).WithUser("unit", "celsius")}
		if _, err := b.Publish(ctx, e); err != nil { // nil: it is on disk
			fmt.Println(err)
			return
		}
	}
	sub, err := b.Subscribe(ctx, "", "home/+")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sub.Close()
	e, err := sub.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s %s %s, retained: %v\n", e.Topic, e.Payload, e.Properties.User()[0].Value, e.Retain)
	// Output: home/temperature 21.0 celsius, retained: true
}
