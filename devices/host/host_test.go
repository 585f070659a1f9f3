package host

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestThisMachine(t *testing.T) {
	o := defaults()
	o.Collect = []string{"cpu", "memory", "disk", "network", "load", "uptime"}
	o.Every = time.Second
	if runtime.GOOS == "windows" {
		o.Collect = []string{"cpu", "memory", "disk", "network", "uptime"}
	}
	if errs := o.Check(); errs != nil {
		t.Fatal(errs)
	}
	before := runtime.NumGoroutine()
	env := kindtest.NewBus()
	s := New(o, env)
	s.firstInterval, s.timeout = 200*time.Millisecond, time.Minute
	var got map[string]any
	enough := errors.New("enough")
	err := s.Run(t.Context(), func(_ context.Context, _ time.Time, f map[string]any) error { got = f; return enough })
	if err != enough {
		t.Fatal(err)
	}
	for _, c := range o.Collect {
		for _, k := range keysOf[c] {
			v, ok := got[k]
			if !ok || v == nil && k != "swap" {
				t.Errorf("%s is %v, %v", k, v, ok)
			}
		}
	}
	for _, k := range []string{"cpu", "memory", "disk"} {
		if p := got[k].(float64); p < 0 || p > 100 {
			t.Errorf("%s: %v percent", k, p)
		}
	}
	if got["memory_used"].(int64) >= got["memory_total"].(int64) || got["disk_free"].(int64) > got["disk_total"].(int64) || got["uptime"].(int64) <= 0 {
		t.Errorf("%v", got)
	}
	if want := []string{"<nil>"}; !reflect.DeepEqual(env.Conditions, want) {
		t.Errorf("degraded: %q", env.Conditions)
	}
	kindtest.NoMoreGoroutines(t, before)
}

func TestFieldsAreDocumented(t *testing.T) {
	documented := map[string]bool{}
	for i := range reflect.TypeFor[eventFields]().NumField() {
		documented[reflect.TypeFor[eventFields]().Field(i).Tag.Get("key")] = true
	}
	n := 0
	for _, thing := range things {
		for _, k := range keysOf[thing] {
			n++
			if !documented[k] {
				t.Errorf("%s is not in eventFields", k)
			}
		}
	}
	if n != len(documented) {
		t.Errorf("%d fields, %d documented", n, len(documented))
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string // "" is valid
	}{
		{"defaults", func(*Options) {}, ""},
		{"nothing", func(o *Options) { o.Collect = nil }, "nothing to read"},
		{"unknown", func(o *Options) { o.Collect = []string{"gpu"} }, `"gpu" can't be read`},
		{"twice", func(o *Options) { o.Collect = []string{"cpu", "cpu"} }, "twice"},
		{"empty disk", func(o *Options) { o.Disk = "" }, "not a mount point"},
		{"interface", func(o *Options) { o.Interface = "../x" }, "not the name of an interface"},
	} {
		o := defaults()
		c.change(&o)
		errs := o.Check()
		if c.want == "" && errs != nil || c.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want)) {
			t.Errorf("%s: %v", c.name, errs)
		}
	}
}

// fake replaces what s reads.
func fake(s *Source, named bool, reads map[string]read) {
	s.collectors = nil
	for _, name := range things {
		if r, ok := reads[name]; ok {
			s.collectors = append(s.collectors, newCollector(name, r, named))
		}
	}
}

func gives(f map[string]any, err error) read {
	return func(context.Context) (map[string]any, error) { return f, err }
}

func TestIntervals(t *testing.T) {
	for _, c := range []struct {
		name    string
		collect []string
		want    []time.Duration
	}{
		{"with a rate", []string{"cpu"}, []time.Duration{time.Second, 11 * time.Second, 21 * time.Second}},
		{"without", []string{"uptime"}, []time.Duration{0, 10 * time.Second, 20 * time.Second}},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := defaults()
			o.Collect = c.collect
			s := New(o, kindtest.NewBus())
			n := 0.0
			fake(s, false, map[string]read{c.collect[0]: func(context.Context) (map[string]any, error) {
				n++
				return map[string]any{c.collect[0]: n}, nil
			}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			start := time.Now()
			var got []time.Duration
			err := s.Run(ctx, func(_ context.Context, at time.Time, f map[string]any) error {
				got = append(got, at.Sub(start))
				if len(got) == 3 {
					cancel()
				}
				return nil
			})
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s: events after %v, %v", c.name, got, err)
			}
		})
	}
}

// A reading that hangs and one that fails delay neither the others nor the end.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults()
		o.Collect = []string{"memory", "disk", "uptime", "load"}
		env := kindtest.NewBus()
		s := New(o, env)
		free := make(chan struct{})
		var calls atomic.Int64
		fake(s, true, map[string]read{
			"disk": func(context.Context) (map[string]any, error) {
				if calls.Add(1) == 1 {
					<-free // statfs takes no context
				}
				return map[string]any{"disk": 7.0}, nil
			},
			"load":   func(context.Context) (map[string]any, error) { panic("no load") },
			"memory": gives(map[string]any{"memory": 1.0}, errors.New("swap: broken")),
			"uptime": gives(map[string]any{"uptime": int64(2)}, nil),
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		err := s.Run(ctx, func(_ context.Context, _ time.Time, f map[string]any) error {
			n++
			if f["memory"] != 1.0 || f["uptime"] != int64(2) {
				t.Errorf("event %d lost the good: %v", n, f)
			}
			if v, ok := f["disk"]; !ok || (n <= 3) != (v == nil) {
				t.Errorf("event %d: disk is %v", n, v)
			}
			switch n {
			case 3:
				if calls.Load() != 1 {
					t.Errorf("%d readings of a disk that hangs", calls.Load())
				}
				close(free)
			case 4:
				cancel()
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			"not everything can be read: memory: swap: broken; disk: it doesn't answer; load: reading it failed: no load",
			"not everything can be read: memory: swap: broken; load: reading it failed: no load",
		}
		if got := slices.Compact(env.Conditions); !reflect.DeepEqual(got, want) {
			t.Errorf("degraded %q", got)
		}
	})
}

func TestEndsWhileAReadingHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(defaults(), kindtest.NewBus())
		free, asked := make(chan struct{}), make(chan struct{})
		fake(s, false, map[string]read{"disk": func(context.Context) (map[string]any, error) { close(asked); <-free; return nil, nil }})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx, nil) }()
		<-asked
		start := time.Now()
		cancel()
		if err := <-ended; err != nil || time.Since(start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		close(free)
	})
}

// A missing thing is reported if the user named it, and so is its return.
func TestDegraded(t *testing.T) {
	for _, named := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			o := defaults()
			env := kindtest.NewBus()
			s := New(o, env)
			n := 0
			fake(s, named, map[string]read{"temperature": func(context.Context) (map[string]any, error) {
				if n++; n < 3 {
					return nil, errNoSensor
				}
				return map[string]any{"temperature": 40.0}, nil
			}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_ = s.Run(ctx, func(_ context.Context, _ time.Time, f map[string]any) error {
				if _, ok := f["temperature"]; !ok {
					t.Error("no temperature at all, not even nil")
				}
				if n == 4 {
					cancel()
				}
				return nil
			})
			want := []string{"<nil>"}
			if named {
				want = []string{"not everything can be read: temperature: " + errNoSensor.Error(), "<nil>"}
			}
			if got := slices.Compact(env.Conditions); !reflect.DeepEqual(got, want) {
				t.Errorf("named %v: %q", named, got)
			}
		})
	}
}

func TestNamed(t *testing.T) {
	o := defaults()
	if o.named("temperature") || o.named("disk") {
		t.Error("the defaults count as asked for")
	}
	o.Disk = "/mnt/nas"
	if o.named("temperature") || !o.named("disk") {
		t.Error("a mount point that was named doesn't count")
	}
	o.Collect = []string{"temperature"}
	if !o.named("temperature") {
		t.Error("a thing that was named doesn't count")
	}
}
