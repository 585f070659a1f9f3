package bench

// This file tests with real brokers: Mosquitto as a process, mochi in this one.

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// mosquittoCommand writes a config and returns the command that starts Mosquitto with it.
func mosquittoCommand(t testing.TB, address string) []string {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto"
		if _, err := os.Stat(path); err != nil {
			t.Skip("needs the Debian package mosquitto, which is not installed")
		}
	}
	_, port, _ := net.SplitHostPort(address)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n", port)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{path, "-c", conf}
}

func startMosquitto(t testing.TB) (url string, pid int) {
	address := freeAddress(t)
	argv := mosquittoCommand(t, address)
	b, err := startProcess(argv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.stop)
	for range 200 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return "tcp://" + address, b.pid()
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("mosquitto does not listen: %s", b.output())
	return "", 0
}

func TestMosquitto(t *testing.T) {
	t.Parallel()
	url, pid := startMosquitto(t)
	if r, err := Idle(t.Context(), IdleOptions{Options: Options{Target: url, PID: pid}, Connections: 200, Settle: 200 * time.Millisecond}); err != nil || r.PerRSS <= 0 || r.PerRSS > 100 {
		t.Errorf("idle: %+v %v", r, err)
	}
	for qos := range 3 {
		o := Options{Target: url, QoS: qos, Subscribers: 2, Count: 2000, PID: pid}
		if r, err := Throughput(t.Context(), o); err != nil || r.Missed+r.Repeated+r.Disordered+r.Foreign > 0 || r.Received != 4000 {
			t.Errorf("QoS %d: %+v %v", qos, r, err)
		}
	}
	if r, err := Offline(t.Context(), Options{Target: url, Count: 20_000, PID: pid}); err != nil || r.Received != 20_000 || r.Repeated+r.Disordered > 0 || r.Broker.Growth <= 0 {
		t.Errorf("offline: %+v %v", r, err)
	}
	if r, err := Takeover(t.Context(), TakeoverOptions{Options: Options{Target: url, Count: 1000, Rate: 2000}}); err != nil || r.Disordered > 0 {
		t.Errorf("takeover: %+v %v", r, err)
	}
	if r, err := Slow(t.Context(), SlowOptions{Options: Options{Target: url}, Before: 300 * time.Millisecond, Stall: 700 * time.Millisecond}); err != nil || r.Slow.Missed+r.Normal.Missed > 0 {
		t.Errorf("slow: %+v %v", r, err)
	}
}

// Mosquitto without persistence loses everything with kill -9, and the bench must report that.
func TestMosquittoInMemoryLosesAtCrash(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	r, err := Crash(t.Context(), crashOptions(address, mosquittoCommand(t, address)...))
	if !errors.Is(err, ErrLost) || r.SessionsLost == 0 || r.Missed == 0 {
		t.Errorf("%+v %v", r, err)
	}
}

// allowAll accepts every client.
type allowAll struct{ mochi.HookBase }

func (*allowAll) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

func (*allowAll) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

func (*allowAll) OnACLCheck(*mochi.Client, string, bool) bool { return true }

func TestMochi(t *testing.T) {
	t.Parallel()
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.AddHook(new(allowAll), nil); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	if err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "t", Address: address})); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for qos := range 3 {
		o := Options{Target: "tcp://" + address, QoS: qos, Subscribers: 2, Count: 500, Rate: 2000}
		if r, err := Throughput(t.Context(), o); err != nil || r.Missed+r.Repeated+r.Disordered > 0 {
			t.Errorf("QoS %d: %+v %v", qos, r, err)
		}
	}
}
