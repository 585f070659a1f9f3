package stream

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// hub is an nats-server of a test.
type hub struct {
	*server.Server
	opts *server.Options
	t    testing.TB
}

// startHub runs a server with JetStream on a port of its own. change may alter its options.
func startHub(t testing.TB, change func(*server.Options)) *hub {
	t.Helper()
	h := &hub{t: t, opts: &server.Options{
		ServerName: "hub", Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 30,
	}}
	if change != nil {
		change(h.opts)
	}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *hub) start() {
	h.t.Helper()
	s, err := server.NewServer(h.opts.Clone())
	if err != nil {
		h.t.Fatal(err)
	}
	h.Server = s
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		h.t.Fatal("the server does not start")
	}
	h.opts.Port = s.Addr().(*net.TCPAddr).Port // a restart takes the same one
}

func (h *hub) stop() {
	h.Shutdown()
	h.WaitForShutdown()
}

// options are those of a bus on this hub.
func (h *hub) options() Options {
	return Options{URLs: []string{h.ClientURL()}, Name: "test", Stream: "PBF_home", Timeout: 5 * time.Second,
		Retry: 200 * time.Millisecond, Logger: quietLog()}
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

var homeShape = Shape{Subjects: []string{"pbf.home.>"}}

// createHome makes the stream of the fleet "home".
func createHome(t testing.TB, o Options) {
	t.Helper()
	if err := Create(t.Context(), o, homeShape); err != nil {
		t.Fatal(err)
	}
}

// open opens a Stream, and closes it with the test.
func open(t testing.TB, o Options) *Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// until waits for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waiting until %s", what)
		}
	}
}
