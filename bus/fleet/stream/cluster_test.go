package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startCluster runs three servers that know each other, and returns options of a bus that knows all.
func startCluster(t *testing.T) ([]*hub, Options) {
	t.Helper()
	if testing.Short() {
		t.Skip("three servers")
	}
	var routes []*url.URL
	var ports []int
	for range 3 {
		address, port := freeAddress(t)
		ports = append(ports, port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: address})
	}
	var hubs []*hub
	var o Options
	for i := range 3 {
		h := &hub{t: t, opts: &server.Options{
			ServerName: fmt.Sprint("hub", i), Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 30,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i]}, Routes: routes,
		}}
		s, err := server.NewServer(h.opts.Clone())
		if err != nil {
			t.Fatal(err)
		}
		h.Server = s
		s.Start()
		t.Cleanup(func() { h.stop() })
		hubs = append(hubs, h)
	}
	for _, h := range hubs {
		if !h.ReadyForConnections(30 * time.Second) {
			t.Fatal("a server does not start")
		}
		h.opts.Port = h.Addr().(*net.TCPAddr).Port
		o.URLs = append(o.URLs, h.ClientURL())
	}
	until(t, "the cluster has a leader", func() bool {
		for _, h := range hubs {
			if h.JetStreamIsLeader() {
				return true
			}
		}
		return false
	})
	o.Name, o.Stream, o.Timeout, o.Retry, o.Logger = "test", "PBF_home", 2*time.Second, 200*time.Millisecond, quietLog()
	shape := Shape{Subjects: []string{"pbf.home.>"}, Replicas: 3}
	until(t, "the stream is made", func() bool { return Create(t.Context(), o, shape) == nil })
	return hubs, o
}

// TestReplicas commits and reads while leaders step down and servers restart: each group is stored
// once, in order.
func TestReplicas(t *testing.T) {
	hubs, o := startCluster(t)
	s, control := open(t, o), open(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const n = 300
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	wait.Go(func() {
		var prev Message
		for i := range n {
			switch i {
			case 50, 100, 150:
				waitConnected(t, control)
				l, err := control.current()
				if err != nil {
					t.Error(err)
					return
				}
				if m, err := l.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.PBF_home", nil, 5*time.Second); err != nil || !json.Valid(m.Data) {
					t.Errorf("step down: %v", err)
				}
			case 200:
				hubs[0].stop()
			case 220:
				hubs[0].start()
			}
			m, err := Commit(ctx, s, "pbf.home.attic.a", prev, fmt.Append(nil, i))
			if err != nil {
				t.Errorf("group %d: %v", i, err)
				return
			}
			prev = m
		}
	})
	r, err := control.read(ctx, 200*time.Millisecond, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	restarts := readNumbers(ctx, t, r, n)
	i, err := control.Info(ctx)
	if err != nil || i.Replicas != 3 || i.Leader == "" || i.Last != n {
		t.Errorf("%+v, %v", i, err)
	}
	t.Logf("%d restarts of the reader", restarts)
}

// TestStillInFlight sends equal compare-and-sets at once, so that the hub refuses some while it
// decides about the first.
func TestStillInFlight(t *testing.T) {
	_, o := startCluster(t)
	const writers, rounds = 8, 40
	var streams []*Stream
	for range writers {
		streams = append(streams, open(t, o))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	pending, refused := 0, 0
	var prev Message
	for i := range rounds {
		data := fmt.Append(nil, i)
		results := make([]Message, writers)
		var wait sync.WaitGroup
		for w, s := range streams {
			wait.Go(func() {
				m, err := Commit(ctx, counting{s, func(c *Conflict) {
					mu.Lock()
					defer mu.Unlock()
					if c.Pending {
						pending++
					} else {
						refused++
					}
				}}, "pbf.home.attic.a", prev, data)
				if err != nil {
					t.Error(err)
				}
				results[w] = m
			})
		}
		wait.Wait()
		for _, m := range results {
			if m.Seq != uint64(i+1) || string(m.Data) != string(data) {
				t.Fatalf("round %d is stored as %d: %q", i, m.Seq, m.Data)
			}
		}
		prev = results[0]
	}
	if pending+refused < rounds*(writers-1) {
		t.Errorf("%d in flight, %d refused: the writers did not meet", pending, refused)
	}
	t.Logf("%d times in flight, %d times refused", pending, refused)
}

// counting counts the conflicts of a log.
type counting struct {
	Appender
	each func(*Conflict)
}

func (c counting) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	seq, err := c.Appender.Append(ctx, subject, expect, data)
	var conflict *Conflict
	if errors.As(err, &conflict) {
		c.each(conflict)
	}
	return seq, err
}
