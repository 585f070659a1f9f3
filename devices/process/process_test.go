package process

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// scans are the results of a scanner, one after the other.
type scans struct {
	t    *testing.T
	list []any // map[id]process or error
	end  context.CancelFunc
}

func (l *scans) scan(ctx context.Context) (map[id]process, error) {
	if len(l.list) == 0 {
		l.end()
		return nil, ctx.Err()
	}
	next := l.list[0]
	l.list = l.list[1:]
	if err, ok := next.(error); ok {
		return nil, err
	}
	return next.(map[id]process), nil
}

func TestDifferences(t *testing.T) {
	a, b, again, exec := id{7, 1, "x"}, id{8, 2, "x"}, id{7, 9, "x"}, id{8, 2, "y"}
	for name, c := range map[string]struct {
		initial bool
		list    []any
		want    string
	}{
		"starts and ends":     {false, []any{map[id]process{}, map[id]process{b: {}, a: {}}, map[id]process{b: {}}, map[id]process{}}, "start x 7 1, start x 8 2, end x 7 1, end x 8 0"},
		"there at the start":  {false, []any{map[id]process{a: {}}, map[id]process{a: {}, b: {}}}, "start x 8 2"},
		"initial":             {true, []any{map[id]process{a: {}}, map[id]process{a: {}}}, "present x 7 1"},
		"a number used again": {false, []any{map[id]process{a: {}}, map[id]process{again: {}}}, "end x 7 0, start x 7 1"},
		"another program":     {false, []any{map[id]process{b: {}}, map[id]process{exec: {}}}, "end x 8 0, start y 8 1"},
		"a scan that fails":   {false, []any{map[id]process{a: {}}, errors.New("no"), map[id]process{a: {}}}, ""},
		"the first one fails": {false, []any{errors.New("no"), map[id]process{a: {}}, map[id]process{}}, "end x 7 0"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := defaults()
			o.Every, o.Initial = time.Millisecond, c.initial
			var got []string
			err := New(o, kindtest.NewBus()).watch(ctx, &scans{t, c.list, cancel}, func(_ context.Context, _ time.Time, f map[string]any) error {
				got = append(got, fmt.Sprint(f["action"], " ", f["name"], " ", f["pid"], " ", f["count"]))
				return nil
			})
			if s := strings.Join(got, ", "); err != nil || s != c.want {
				t.Errorf("got %s, %v; want %s", s, err, c.want)
			}
		})
	}
}

func TestReport(t *testing.T) {
	o := defaults()
	o.Report = 10 * time.Second
	s := New(o, kindtest.NewBus())
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := id{7, 1, "x"}
	var got []string
	for i := range 13 { // it works for one second in every two
		now := map[id]process{p: {started: at, cpu: time.Duration(i) * time.Second, memory: int64(i)}}
		if err := s.compare(t.Context(), now, at.Add(time.Duration(2*i)*time.Second), i == 0, func(_ context.Context, _ time.Time, f map[string]any) error {
			got = append(got, fmt.Sprint(f["action"], " ", f["cpu"], " ", f["cpu_time"], " ", f["memory"], " ", f["ran"]))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"report 50 5 5 10", "report 50 10 10 20"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFailedReadingsAreReported(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := defaults()
	o.Every = time.Millisecond
	b := kindtest.NewBus()
	no := errors.New("no")
	list := &scans{t, []any{no, no, map[id]process{}, map[id]process{}, no}, cancel}
	if err := New(o, b).watch(ctx, list, nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"no", "no", "<nil>", "<nil>", "no"}; !slices.Equal(b.Conditions, want) {
		t.Errorf("got %q, want %q", b.Conditions, want)
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"fine":         {func(o *Options) { o.Report = time.Minute }, ""},
		"a kernel's":   {func(o *Options) { o.Names = []string{"kworker/0:1"} }, ""},
		"none":         {func(o *Options) { o.Names = nil }, "no name is listed"},
		"empty":        {func(o *Options) { o.Names = []string{" "} }, `" " is not a name`},
		"folder":       {func(o *Options) { o.Names = []string{"/usr/sbin/nginx"} }, `"/usr/sbin/nginx" has a folder`},
		"twice":        {func(o *Options) { o.Names = []string{"a", "a"} }, `"a" is listed twice`},
		"report often": {func(o *Options) { o.Report = time.Second }, "it is shorter than every, which is 2s"},
		"proc":         {func(o *Options) { o.Proc = "" }, "it is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			o := defaults()
			o.Names = []string{"nginx"}
			c.change(&o)
			got := ""
			for _, err := range o.Check() {
				got += err.Error()
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
