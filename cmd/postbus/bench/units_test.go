package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCheckJudges(t *testing.T) {
	type event struct {
		conn int
		seq  uint64
		dup  bool
	}
	for _, c := range []struct {
		name   string
		group  bool
		events []event
		want   Counts
		wrong  [4]uint64 // by repeatRule
	}{
		{"in order", false, []event{{0, 0, false}, {0, 1, false}, {0, 2, false}}, Counts{Received: 3}, [4]uint64{}},
		{"swapped", false, []event{{0, 1, false}, {0, 0, false}, {0, 2, false}}, Counts{Received: 3, Disordered: 1}, [4]uint64{}},
		{"repeated at once", false, []event{{0, 0, false}, {0, 0, true}, {0, 1, false}}, Counts{Received: 3, Repeated: 1}, [4]uint64{0, 1, 1, 1}},
		{"repeated late", false, []event{{0, 0, false}, {0, 1, false}, {0, 0, true}}, Counts{Received: 3, Repeated: 1, LateRepeated: 1}, [4]uint64{0, 1, 1, 1}},
		{"redelivered to the next connection", false, []event{{0, 0, false}, {0, 1, false}, {1, 0, true}, {1, 1, true}, {1, 2, false}}, Counts{Received: 5, Repeated: 2}, [4]uint64{0, 0, 0, 2}},
		{"redelivered without DUP", false, []event{{0, 0, false}, {1, 0, false}}, Counts{Received: 2, Repeated: 1}, [4]uint64{0, 0, 1, 1}},
		{"redelivered after a new one", false, []event{{0, 0, false}, {0, 1, false}, {1, 2, false}, {1, 1, true}}, Counts{Received: 4, Repeated: 1, LateRepeated: 1}, [4]uint64{0, 0, 1, 1}},
		{"first seen late by the next connection", false, []event{{0, 1, false}, {1, 0, false}}, Counts{Received: 2, Disordered: 1}, [4]uint64{}},
		{"left by one member to another", true, []event{{0, 1, false}, {1, 0, false}}, Counts{Received: 2}, [4]uint64{}},
	} {
		for rule, wrong := range c.wrong {
			k := newCheck(7, 1)
			k.unordered, k.repeats = c.group, repeatRule(rule)
			links := []*link{k.newLink(), k.newLink()}
			for _, e := range c.events {
				payload := make([]byte, headSize)
				mark{run: 7, seq: e.seq}.put(payload)
				k.see(links[e.conn], payload, e.dup, 1)
			}
			if c.want.Wrong = wrong; k.counts != c.want {
				t.Errorf("%s, rule %d: got %+v, want %+v", c.name, rule, k.counts, c.want)
			}
		}
	}
}

func TestCheckKnowsStrangers(t *testing.T) {
	k := newCheck(7, 2)
	l := k.newLink()
	for _, m := range []mark{{run: 8}, {run: 7, publisher: 2}, {run: 7, seq: maxSeq}} {
		payload := make([]byte, headSize)
		m.put(payload)
		k.see(l, payload, false, 1)
	}
	k.see(l, []byte("short"), false, 1)
	if k.counts.Foreign != 4 || k.seen[0].count+k.seen[1].count != 0 {
		t.Errorf("%+v", k.counts)
	}
}

func TestBitset(t *testing.T) {
	var a, b bitset
	for _, i := range []uint64{0, 63, 64, pageBits - 1, pageBits, 5 * pageBits, maxSeq - 1} {
		if !a.add(i) || a.add(i) {
			t.Errorf("add %d", i)
		}
	}
	b.add(64)
	b.add(1)
	if n := a.missingFrom(&b); a.count != 7 || n != 6 {
		t.Errorf("count %d, missing %d", a.count, n)
	}
}

func TestHistogramIsExactEnough(t *testing.T) {
	var h hist
	var all []int64
	for range 100_000 {
		v := int64(rand.ExpFloat64() * 1e6)
		h.add(v)
		all = append(all, v)
	}
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.99} {
		want, got := float64(all[int(q*float64(len(all)))]), float64(h.quantile(q))
		if got < want || got > want*1.02 {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
	if int64(h.summary().Max) != all[len(all)-1] {
		t.Error("max")
	}
	for _, v := range []int64{-5, 0, 1, 63, 64, 65, 127, 128, 1 << 40, 1 << 50} {
		h = hist{}
		h.add(v)
		if got := int64(h.quantile(0.5)); got != max(v, 0) {
			t.Errorf("%d comes back as %d", v, got)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                             nil,
		"  a  b ":                      {"a", "b"},
		`postbus run --data-dir 'a b'`: {"postbus", "run", "--data-dir", "a b"},
		`a "b \"c\" $d" '' e\ f x"y"z`: {"a", `b "c" $d`, "", "e f", "xyz"},
		`"\n"`:                         {`\n`},
	} {
		if got, err := splitWords(line); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, %v", line, got, err)
		}
	}
	for _, line := range []string{`'a`, `"a`, `a\`} {
		if _, err := splitWords(line); err == nil {
			t.Errorf("%q accepted", line)
		}
	}
}

func TestTargets(t *testing.T) {
	for text, want := range map[string]string{
		"tcp://127.0.0.1:1884": "tcp 127.0.0.1:1884",
		"mqtt://pi.local":      "tcp pi.local:1883",
		"tcp://[::1]":          "tcp [::1]:1883",
		"unix:///run/bus.sock": "unix /run/bus.sock",
		"ws://pi:8080/mqtt":    "ws ws://pi:8080/mqtt",
	} {
		if got, err := parseTarget(text, "", ""); err != nil || got.network+" "+got.address != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"127.0.0.1:1883", "localhost", "wss://host/mqtt", "ws:///mqtt", "tls://host", "unix://run/bus", "tcp://u:p@host", "tcp://:1883", "tcp://%zz"} {
		if _, err := parseTarget(text, "", ""); err == nil {
			t.Errorf("%s accepted", text)
		}
	}
}

func TestOptionsNameTheFlag(t *testing.T) {
	for want, o := range map[string]Options{
		"--qos 3":           {QoS: 3},
		"--size 10":         {Size: 10},
		"--window 70000":    {Window: 70000},
		"--publishers -1":   {Publishers: -1},
		"--subscribers -1":  {Subscribers: -1},
		"--count -1":        {Count: -1},
		"--user is not":     {Password: "x"},
		"write tcp://host:": {Target: "http://x"},
	} {
		var h interface{ Hint() string }
		if _, err := Throughput(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &h) || !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestConnectPacket(t *testing.T) {
	got := appendConnect(nil, "id", false, "user", "pw")
	want := []byte("\x10\x18\x00\x04MQTT\x04\xC0\x00\x00\x00\x02id\x00\x04user\x00\x02pw")
	if !bytes.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if p, n, _, err := split(got); n != len(got) || err != nil || p.kind() != typeConnect {
		t.Errorf("%d %v", n, err)
	}
}

func FuzzPackets(f *testing.F) {
	one, _, _ := appendPublish(nil, "a/b", 1, 200)
	f.Add(one)
	f.Add([]byte{typePuback, 2, 0, 1, typeConnack, 2, 0, 0})
	f.Add([]byte{typePublish, 0xFF, 0xFF, 0xFF, 0xFF, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			p, n, need, err := split(b)
			if err != nil || n == 0 {
				if n == 0 && err == nil && need > 0 && need <= len(b) {
					t.Fatal("needs what it has")
				}
				return
			}
			if p.kind() == typePublish {
				p.publish()
			} else {
				p.identifier()
			}
			b = b[n:]
		}
	})
}

func TestCommand(t *testing.T) {
	t.Parallel()
	_, good := newFake(t, &fake{})
	_, bad := newFake(t, &fake{fault: every("drop")})
	run := func(args ...string) (string, error) {
		var out, progress bytes.Buffer
		cmd := Command()
		cmd.SetOut(&out)
		cmd.SetErr(&progress)
		cmd.SetArgs(args)
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	out, err := run("throughput", "--target", good, "--count", "1000", "--subscribers", "2")
	if err != nil || !strings.Contains(out, "missed                   0\n") || !strings.Contains(out, "(1,000 acknowledged)") {
		t.Errorf("%s\n%v", out, err)
	}
	out, err = run("throughput", "--target", bad, "--count", "1000", "--idle", "300ms", "--json")
	var r struct {
		Missed  int
		Latency struct {
			P99 float64 `json:"p99_ms"`
		}
	}
	if !errors.Is(err, ErrLost) || json.Unmarshal([]byte(out), &r) != nil || r.Missed != 10 || r.Latency.P99 <= 0 {
		t.Errorf("%s\n%v", out, err)
	}
	out, err = run("compare", "--target", "a="+good, "--target", "b="+good, "--repeat", "1", "--scale", "0.005")
	if err != nil || strings.Count(out, "\n|") != 6 || !strings.Contains(out, "| a/b |") {
		t.Errorf("%s\n%v", out, err)
	}
	if runtime.GOOS == "linux" {
		out, err = run("idle", "--target", good, "--connections", "20", "--settle", "50ms", "--pid", "self", "--user", "me")
		if err == nil {
			t.Errorf("--pid self: %s", out)
		}
		o := IdleOptions{Options: Options{Target: good, PID: os.Getpid()}, Connections: 20, Settle: 50 * time.Millisecond}
		if r, err := Idle(t.Context(), o); err != nil || r.After.RSS == 0 || r.After.Anon == 0 {
			t.Errorf("%+v %v", r, err)
		}
	}
	for want, args := range map[string][]string{
		"needs two brokers":      {"compare", "--target", "a=" + good},
		"write name=URL":         {"compare", "--target", good},
		"its process with --pid": {"idle", "--target", good},
		"write a duration":       {"crash", "--start", "x", "--kill-after", "soon"},
		"connection refused":     {"throughput", "--target", "tcp://" + freeAddress(t)},
	} {
		if out, err := run(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\n%s", args, err, out)
		}
	}
}
