package ping

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestCheck(t *testing.T) {
	many := make([]string, maxHosts+1)
	for i := range many {
		many[i] = fmt.Sprintf("h%d", i)
	}
	for _, c := range []struct {
		name string
		edit func(*Options)
		want string // key: reason
	}{
		{"names and addresses", func(o *Options) {
			o.Hosts = []string{"phone", "a_b.lan.", "192.168.1.1", "::1", "fe80::1%eth0", "xn--bcher-kva.example"}
		}, ""},
		{"a port", func(o *Options) { o.Hosts = []string{"phone:80"} }, `hosts[0]: "phone:80" is neither a name nor an address`},
		{"a URL", func(o *Options) { o.Hosts = []string{"a", "http://phone"} }, `hosts[1]: "http://phone" is neither a name nor an address`},
		{"empty", func(o *Options) { o.Hosts = []string{""} }, `hosts[0]: "" is neither a name nor an address`},
		{"an option of a program", func(o *Options) { o.Hosts = []string{"-f"} }, `hosts[0]: "-f" is neither a name nor an address`},
		{"twice", func(o *Options) { o.Hosts = []string{"a", "b", "a"} }, `hosts[2]: "a" is there twice`},
		{"many", func(o *Options) { o.Hosts = many }, "hosts: 257 hosts are more than 256"},
		{"slow", func(o *Options) { o.Every, o.Timeout = time.Second, 2*time.Second }, "timeout: 2s is more than every, 1s"},
	} {
		o := defaults()
		o.Hosts = []string{"a"}
		c.edit(&o)
		var got []string
		for _, err := range o.Check() {
			got = append(got, err.(interface{ Key() string }).Key()+": "+err.Error())
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s: got %q, want %q", c.name, s, c.want)
		}
	}
	o := Options{Hosts: []string{"a", "::1"}}
	if got := o.Access(); !slices.Equal(got, []string{"host:a", "host:::1"}) {
		t.Error(got)
	}
}

// A host is up at once, and down after some rounds without an answer.
func TestUpAndDown(t *testing.T) {
	down := errors.New("x")
	for _, c := range []struct {
		on      string
		answers string // + and -
		want    []string
	}{
		{"all", "++--+", []string{"up changed 0", "up 0", "up 1", "up 2", "up 0"}},
		{"all", "+----+", []string{"up changed 0", "up 1", "up 2", "down changed 3", "down 4", "up changed 0"}},
		{"all", "---+", []string{"down changed 3", "up changed 0"}}, // not known before the third
		{"all", "--+", []string{"up changed 0"}},
		{"change", "++--+---++-", []string{"up changed 0", "down changed 3", "up changed 0"}},
	} {
		o := defaults()
		o.Hosts, o.On = []string{"h"}, c.on
		s := New(o, kindtest.NewBus())
		var got []string
		for _, r := range c.answers {
			a := answer{took: 1234567 * time.Nanosecond, method: "icmp", address: "::1"}
			if r == '-' {
				a.err = down
			}
			e := s.fields(a)
			if e == nil {
				continue
			}
			text := map[bool]string{true: "up", false: "down"}[e["up"].(bool)]
			if e["changed"] == true {
				text += " changed"
			}
			got = append(got, fmt.Sprint(text, " ", e["failed"]))
			want := []any{any(nil), "x"}
			if r == '+' {
				want = []any{0.001235, ""}
			}
			if have := []any{e["took"], e["error"]}; !reflect.DeepEqual(have, want) {
				t.Errorf("%s: took and error are %v, want %v", c.answers, have, want)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s of %s: got %q, want %q", c.on, c.answers, got, c.want)
		}
	}
}

// run runs a source until until returns true for its events so far.
func run(t *testing.T, b *kindtest.Bus, o Options, until func(events []map[string]any) bool) []map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), kindtest.Patience)
	defer cancel()
	var events []map[string]any
	err := New(o, b).Run(ctx, func(_ context.Context, _ time.Time, fields map[string]any) error {
		events = append(events, fields)
		if until(events) {
			cancel()
		}
		return nil
	})
	if err != nil || !until(events) {
		t.Fatalf("%v after %v", err, events)
	}
	return events
}

func rounds(n int) func([]map[string]any) bool {
	return func(events []map[string]any) bool { return len(events) >= n }
}

func TestByTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	o := Options{Hosts: []string{"127.0.0.1"}, Every: time.Millisecond, Timeout: kindtest.Patience, Tries: 1, Method: "tcp", Port: port}
	for _, what := range []string{"a port that listens", "a port that refuses"} {
		for _, e := range run(t, kindtest.NewBus(), o, rounds(3)) {
			if took, ok := e["took"].(float64); e["up"] != true || e["method"] != "tcp" || e["address"] != "127.0.0.1" || !ok || took < 0 {
				t.Errorf("%s: %v", what, e)
			}
		}
		l.Close()
	}
}

// Run ends with the error of emit, and leaves no goroutine.
func TestEmitFails(t *testing.T) {
	stopped := errors.New("stopped")
	hosts := make([]string, 2*parallel)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("127.0.0.%d", i+1)
	}
	before := runtime.NumGoroutine()
	s := New(Options{Hosts: hosts, Every: time.Hour, Timeout: kindtest.Patience, Tries: 1, Method: "tcp", Port: 1}, kindtest.NewBus())
	if err := s.Run(t.Context(), func(context.Context, time.Time, map[string]any) error { return stopped }); !errors.Is(err, stopped) {
		t.Error(err)
	}
	kindtest.NoMoreGoroutines(t, before)
}
