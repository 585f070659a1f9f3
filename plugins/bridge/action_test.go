package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/postbus/postbus/plugins/kind"
)

func TestAction(t *testing.T) {
	var mu sync.Mutex
	var got []string
	url := fakeRemote(t, nil, func(n int, c net.Conn) {
		if v := hello(c, 0); v != 4 {
			t.Errorf("version %x", v)
		}
		serve(c, func(p packets.ControlPacket) {
			if p, ok := p.(*packets.PublishPacket); ok {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprintf("%d %s %s %d %v", n, p.TopicName, p.Payload, p.Qos, p.Retain))
				if len(got) == 5 {
					c.Close()
				}
			}
		})
	})
	o := actionDefaults()
	o.URL = url
	if errs := o.Check(); errs != nil {
		t.Fatal(errs)
	}
	a := NewAction(o, newBus())
	asks(&a.link)
	for _, args := range []Args{{Topic: "a", Payload: "x"}, {Topic: "b", Payload: 1.5, QoS: "2", Retain: true}, {Topic: "c", Payload: map[string]any{"d": true}, QoS: "0"}, {Topic: "e"}} {
		if err := a.Do(t.Context(), args); err != nil {
			t.Error(err)
		}
	}
	if err := a.Do(t.Context(), Args{Topic: "lost"}); err == nil || !strings.Contains(err.Error(), "closed the connection") && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	for err := errors.New(""); err != nil; { // the old connection may still be open for a moment
		err = a.Do(t.Context(), Args{Topic: "again"})
	}
	for i, args := range []Args{{Topic: ""}, {Topic: "a/#"}, {Topic: "a", Payload: make(chan int)}, {Topic: "a", Payload: make([]byte, maxPacket+1)}} {
		if err := a.Do(t.Context(), args); !kind.IsPermanent(err) {
			t.Error(i, err)
		}
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := a.Do(t.Context(), Args{Topic: "many"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := a.Do(t.Context(), Args{Topic: "a"}); err == nil {
		t.Error("it publishes after Close")
	}
	mu.Lock()
	defer mu.Unlock()
	want := []string{"0 a x 1 false", "0 b 1.5 2 true", `0 c {"d":true} 0 false`, "0 e  1 false", "0 lost  1 false", "1 again  1 false"}
	if len(got) != 26 || !reflect.DeepEqual(got[:6], want) {
		t.Errorf("%q", got)
	}
}

func TestActionWaitsForTheAnswer(t *testing.T) {
	url := fakeRemote(t, nil, func(_ int, c net.Conn) { hello(c, 0); _, _ = io.Copy(io.Discard, c) })
	o := actionDefaults()
	o.URL = url
	a := NewAction(o, newBus())
	asks(&a.link)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := a.Do(ctx, Args{Topic: "a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	o.URL = "mqtt://127.0.0.1:1"
	if err := NewAction(o, newBus()).Do(t.Context(), Args{Topic: "a"}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}
