//go:build unix

package execd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// degraded waits for the next call of Degraded, whose error must contain want.
func degraded(t *testing.T, b *kindtest.Bus, want string) {
	t.Helper()
	if got := b.NextDegraded(t); !strings.Contains(got, want) {
		t.Fatalf("degraded: %q, not %q", got, want)
	}
}

func TestMain(m *testing.M) { kindtest.Main(m) }

// run streams until enough returns true, and returns the events.
func run(t *testing.T, o Options, b *kindtest.Bus, enough func(events []map[string]any) bool) (events []map[string]any, err error) {
	t.Helper()
	if errs := o.Check(); errs != nil {
		t.Fatal(errs)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := New(o, b)
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	err = s.Stream(ctx, func(_ context.Context, at time.Time, fields map[string]any, done func(error)) error {
		events = append(events, fields)
		if time.Since(at) > time.Minute {
			t.Errorf("at %s", at)
		}
		if enough(events) {
			cancel()
			return ctx.Err()
		}
		return nil
	})
	if ctx.Err() == context.DeadlineExceeded {
		t.Fatalf("not enough: %v", events)
	}
	return events, err
}

func count(n int) func([]map[string]any) bool {
	return func(e []map[string]any) bool { return len(e) == n }
}

func TestEvents(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	o := defaults()
	o.MaxLine = 64
	o.Env = map[string]string{"X": "y"}
	o.Command = append(b.Script(t, `echo '{"pm25": 12}'; echo oops; echo; echo "$(head -c 100 /dev/zero | tr '\0' 1)"; echo "[\"$1\", \"$X\"]"; pwd | sed 's/.*/"&"/'; exec sleep 1000`), "a b; $(c)")
	got, err := run(t, o, b, count(3))
	here, _ := filepath.EvalSymlinks(b.Folder)
	want := []map[string]any{{"pm25": int64(12)}, {"value": []any{"a b; $(c)", "y"}}, {"value": here}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if want := map[string]int{"not a JSON line": 1, "longer than max_line": 1}; !reflect.DeepEqual(b.Losses, want) {
		t.Errorf("lost %v", b.Losses)
	}
}

// All output that a program wrote before it ended is read, and the program is restarted.
func TestStartsAgain(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	o := defaults()
	o.Restart = Restart{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond}
	o.Command = b.Script(t, `for i in 1 2 3; do echo $i; done; echo "sensor is gone" >&2; exit 7`)
	got, err := run(t, o, b, count(6))
	if err != nil || fmt.Sprint(got) != "[map[value:1] map[value:2] map[value:3] map[value:1] map[value:2] map[value:3]]" {
		t.Errorf("%v, %v", got, err)
	}
	degraded(t, b, "./x.sh ended: exit code 7: sensor is gone; it will be restarted in 1")
	degraded(t, b, "<nil>")
}

func TestNever(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	o := defaults()
	o.Restart = Restart{Never: true}
	o.Format = "text"
	o.Command = b.Script(t, "echo once")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	events := make(chan map[string]any, 10)
	go func() {
		ended <- New(o, b).Stream(ctx, func(_ context.Context, _ time.Time, f map[string]any, _ func(error)) error {
			events <- f
			return nil
		})
	}()
	degraded(t, b, "./x.sh ended: exit code 0, and restart is never")
	cancel()
	if err := <-ended; err != nil || len(events) != 1 || (<-events)["text"] != "once" {
		t.Errorf("%v", err)
	}
}

// Stop ends the program and its children, also while an event is blocked.
func TestStop(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	o := defaults()
	o.Command = b.Script(t, `sleep 1000 & echo $!; while :; do echo 0; done`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	child := make(chan int, 1)
	blocked := make(chan struct{})
	go func() {
		n := 0
		ended <- New(o, b).Stream(ctx, func(ctx context.Context, _ time.Time, f map[string]any, _ func(error)) error {
			if n++; n == 1 {
				child <- int(f["value"].(int64))
				return nil
			}
			close(blocked)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	pid := <-child
	<-blocked
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it doesn't end")
	}
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(stat), ") Z") {
		t.Errorf("the child's child lives: %s", stat)
	} else if runtime.GOOS != "linux" && syscall.Kill(pid, 0) == nil {
		t.Error("the child's child lives")
	}
}

func TestPostFails(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	o := defaults()
	o.Command = b.Script(t, `while :; do echo 0; done`)
	stopped := errors.New("being stopped")
	err := New(o, b).Stream(t.Context(), func(context.Context, time.Time, map[string]any, func(error)) error { return stopped })
	if err != stopped {
		t.Error(err)
	}
}

func TestOpen(t *testing.T) {
	o := defaults()
	o.Command = []string{"./none"}
	if err := New(o, kindtest.NewBusWithFolder(t)).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "./none can't be run") {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	if got := (Options{Command: []string{"./pms5003.py", "/dev/ttyUSB0"}}).Access(); !reflect.DeepEqual(got, []string{"exec:./pms5003.py"}) {
		t.Errorf("%q", got)
	}
	for _, o := range []Options{{}, {Command: []string{"a b"}}, {Command: []string{"a"}, Env: map[string]string{"A=": ""}}} {
		if errs := o.Check(); len(errs) != 1 {
			t.Errorf("%v: %v", o, errs)
		}
	}
}
