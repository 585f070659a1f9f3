package bench

// This file tests that the checks find loss, repetition and disorder, in every scenario, and
// nothing without a fault.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain lets the crash scenario start this binary as a fake broker.
func TestMain(m *testing.M) {
	if path := os.Getenv("BENCH_FAKE_FILE"); path != "" {
		f := &fake{forget: os.Getenv("BENCH_FAKE_FORGET") != "", fault: every(os.Getenv("BENCH_FAKE_FAULT"))}
		err := f.load(path)
		ln, lerr := net.Listen("tcp", os.Getenv("BENCH_FAKE_ADDRESS"))
		if err = errors.Join(err, lerr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		f.serve(ln)
		select {}
	}
	os.Exit(m.Run())
}

// every applies the fault to each 100th event.
func every(what string) fault {
	if what == "" {
		return nil
	}
	return func(n int) string {
		if n%100 == 0 {
			return what
		}
		return ""
	}
}

// faultCases hold for 1,000 events, of which 10 have the fault.
var faultCases = []struct {
	fault                        string
	missed, repeated, disordered uint64
}{
	{"", 0, 0, 0},
	{"drop", 10, 0, 0},
	{"repeat", 0, 10, 0},
	{"swap", 1, 0, 9}, // no event follows the last one
}

// loaded limits the load to a single publisher, so that all events are alike.
func loaded(url string) Options {
	return Options{Target: url, Publishers: 1, Count: 1000, Idle: 300 * time.Millisecond}
}

func TestThroughputFindsFaults(t *testing.T) {
	for qos := range 3 {
		for _, c := range faultCases {
			t.Run(fmt.Sprintf("qos %d/%s", qos, c.fault), func(t *testing.T) {
				t.Parallel()
				_, url := newFake(t, &fake{fault: every(c.fault)})
				o := loaded(url)
				o.QoS, o.Subscribers = qos, 2
				r, err := Throughput(t.Context(), o)
				if want := qos > 0 && c.missed+c.disordered > 0; errors.Is(err, ErrLost) != want || !want && err != nil {
					t.Errorf("error %v; ErrLost expected: %v", err, want)
				}
				want := Counts{Received: 2 * (1000 - c.missed + c.repeated), Missed: 2 * c.missed, Repeated: 2 * c.repeated, Disordered: 2 * c.disordered}
				if r.Counts != want {
					t.Errorf("got %+v, want %+v", r.Counts, want)
				}
				if r.Sent != 1000 || qos > 0 && (r.Acknowledged != 1000 || r.AckLatency.Count != 1000) || r.Latency.Count != want.Received {
					t.Errorf("sent %d, acknowledged %d, latencies %d and %d", r.Sent, r.Acknowledged, r.Latency.Count, r.AckLatency.Count)
				}
				if r.PublishRate <= 0 || r.DeliveredRate <= 0 || r.PerSubscriber*2 != r.DeliveredRate {
					t.Errorf("rates %v %v %v", r.PublishRate, r.DeliveredRate, r.PerSubscriber)
				}
			})
		}
	}
}

func TestOfflineFindsFaults(t *testing.T) {
	for _, c := range faultCases {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			_, url := newFake(t, &fake{fault: every(c.fault)})
			r, err := Offline(t.Context(), loaded(url))
			if want := c.missed+c.disordered > 0; errors.Is(err, ErrLost) != want || !want && err != nil {
				t.Errorf("error %v; ErrLost expected: %v", err, want)
			}
			want := Counts{Received: 1000 - c.missed + c.repeated, Missed: c.missed, Repeated: c.repeated, Disordered: c.disordered}
			if r.Counts != want || r.SessionLost {
				t.Errorf("got %+v (session lost: %v), want %+v", r.Counts, r.SessionLost, want)
			}
			if r.FirstEvent <= 0 || r.DrainRate <= 0 {
				t.Errorf("first event after %v ms, %v msg/s", r.FirstEvent, r.DrainRate)
			}
		})
	}
	t.Run("forgotten session", func(t *testing.T) {
		t.Parallel()
		_, url := newFake(t, &fake{forget: true})
		r, err := Offline(t.Context(), loaded(url))
		if !errors.Is(err, ErrLost) || !r.SessionLost || r.Missed != 1000 {
			t.Errorf("error %v, session lost %v, missed %d", err, r.SessionLost, r.Missed)
		}
	})
}

func TestSlowFindsFaults(t *testing.T) {
	for _, c := range faultCases {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			_, url := newFake(t, &fake{fault: every(c.fault)})
			o := loaded(url)
			o.Rate = 4000
			r, err := Slow(t.Context(), SlowOptions{Options: o, Before: 300 * time.Millisecond, Stall: 400 * time.Millisecond})
			if want := c.missed+c.disordered > 0; errors.Is(err, ErrLost) != want || !want && err != nil {
				t.Errorf("error %v; ErrLost expected: %v", err, want)
			}
			for name, got := range map[string]Counts{"normal": r.Normal, "slow": r.Slow} {
				if (got.Missed > 0) != (c.missed > 0) || (got.Repeated > 0) != (c.repeated > 0) || (got.Disordered > 0) != (c.disordered > 0) {
					if c.fault != "swap" || got.Disordered == 0 {
						t.Errorf("%s: %+v", name, got)
					}
				}
			}
			if r.AckBefore.Count == 0 || r.AckStall.Count == 0 || r.NormalBefore.Count == 0 || r.NormalStall.Count == 0 || r.CatchUp <= 0 {
				t.Errorf("unmeasured: %+v", r)
			}
		})
	}
}

// freeAddress returns a free loopback address.
func freeAddress(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func crashOptions(address string, start ...string) CrashOptions {
	return CrashOptions{
		Options: Options{Target: "tcp://" + address, Publishers: 2, Rate: 2000, Idle: 500 * time.Millisecond},
		Start:   start, Rounds: 2, KillMin: 200 * time.Millisecond, KillMax: 400 * time.Millisecond,
	}
}

func TestCrashFindsFaults(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("process groups are " + errNotHere.Error())
	}
	for _, c := range []struct{ name, fault, forget string }{
		{"keeps its promise", "", ""},
		{"drops", "drop", ""},
		{"swaps", "swap", ""},
		{"forgets sessions", "", "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t)
			o := crashOptions(address, "/usr/bin/env", "BENCH_FAKE_FILE="+filepath.Join(t.TempDir(), "log"),
				"BENCH_FAKE_ADDRESS="+address, "BENCH_FAKE_FAULT="+c.fault, "BENCH_FAKE_FORGET="+c.forget, os.Args[0])
			if c.fault == "swap" {
				o.Publishers = 1 // two swapped events of different publishers would not be out of order
			}
			r, err := Crash(t.Context(), o)
			if want := c.name != "keeps its promise"; errors.Is(err, ErrLost) != want || !want && err != nil {
				t.Errorf("error %v; ErrLost expected: %v", err, want)
			}
			if c.fault == "drop" && r.Missed == 0 || c.fault == "swap" && r.Disordered == 0 || c.forget != "" && (r.SessionsLost == 0 || r.Missed == 0) {
				t.Errorf("unnoticed: %+v", r)
			}
			if r.Acknowledged < 500 || r.Received < 300 || r.Recovery.Count != 3 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestCrashSaysWhatIsWrong(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("process groups are " + errNotHere.Error())
	}
	_, busy := newFake(t, &fake{})
	for _, c := range []struct {
		name, want string
		o          CrashOptions
	}{
		{"port taken", "something already listens", crashOptions(strings.TrimPrefix(busy, "tcp://"), "/bin/true")},
		{"no such program", "start the broker", crashOptions(freeAddress(t), "/no/such/broker")},
		{"ends at once", "ended by itself (exit status 3); it said: no licence", crashOptions(freeAddress(t), "/bin/sh", "-c", "echo no licence; exit 3")},
		{"no program given", "give --start", crashOptions(freeAddress(t))},
	} {
		if _, err := Crash(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestBrokersThatMisbehave(t *testing.T) {
	cut := func(n int) string {
		if n == 500 {
			return "cut"
		}
		return ""
	}
	for _, c := range []struct {
		name, want string
		f          *fake
	}{
		{"refuses", "refused: not authorized", &fake{deny: 5}},
		{"refuses subscriptions", "asked for QoS 1, the broker answered 0x80", &fake{nack: true}},
		{"never acknowledges", "wait for an acknowledgement and none came for 300ms", &fake{mute: true}},
		{"hangs up", "publisher 0: ", &fake{fault: cut}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, url := newFake(t, c.f)
			o := loaded(url)
			o.QoS, o.Subscribers = 1, 1
			if _, err := Throughput(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Nothing keeps running after the end of the context.
func TestCancelled(t *testing.T) {
	for name, run := range map[string]func(context.Context, Options) error{
		"throughput": func(ctx context.Context, o Options) error { _, err := Throughput(ctx, o); return err },
		"offline":    func(ctx context.Context, o Options) error { _, err := Offline(ctx, o); return err },
		"slow":       func(ctx context.Context, o Options) error { _, err := Slow(ctx, SlowOptions{Options: o}); return err },
		"takeover": func(ctx context.Context, o Options) error {
			_, err := Takeover(ctx, TakeoverOptions{Options: o})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, url := newFake(t, &fake{})
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := run(ctx, Options{Target: url, Subscribers: 1, QoS: 1, Rate: 1000})
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > time.Minute {
				t.Errorf("%v after %s", err, time.Since(start))
			}
		})
	}
}
