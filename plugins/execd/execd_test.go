//go:build unix

package execd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

type fakeEnv struct {
	dir string
	log *slog.Logger

	mu   sync.Mutex
	lost map[string]int
	said chan string // every Degraded
}

func newEnv(t *testing.T) *fakeEnv {
	return &fakeEnv{dir: t.TempDir(), log: slog.New(slog.DiscardHandler), lost: map[string]int{}, said: make(chan string, 1000)}
}

func (e *fakeEnv) Log() *slog.Logger { return e.log }
func (e *fakeEnv) Dir() string       { return e.dir }
func (e *fakeEnv) Degraded(err error) {
	e.said <- fmt.Sprint(err)
}
func (e *fakeEnv) Lost(n int, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost[reason] += n
}
func (e *fakeEnv) script(t *testing.T, text string) []string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, "x.sh"), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{"./x.sh"}
}

func (e *fakeEnv) hears(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-e.said:
		if !strings.Contains(got, want) {
			t.Fatalf("degraded: %q, not %q", got, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("never degraded: %s", want)
	}
}

func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	for end := time.Now().Add(time.Minute); code == 0 && !fuzzing() && runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			fmt.Printf("%d goroutines, %d before\n", runtime.NumGoroutine(), before)
			code = 1
		}
	}
	os.Exit(code)
}

// run streams until enough returns true, and returns the events.
func run(t *testing.T, o Options, env *fakeEnv, enough func(events []map[string]any) bool) (events []map[string]any, err error) {
	t.Helper()
	if errs := o.Check(); errs != nil {
		t.Fatal(errs)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := New(o, env)
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
	env := newEnv(t)
	o := Defaults()
	o.MaxLine = 64
	o.Env = map[string]string{"X": "y"}
	o.Command = append(env.script(t, `echo '{"pm25": 12}'; echo oops; echo; echo "$(head -c 100 /dev/zero | tr '\0' 1)"; echo "[\"$1\", \"$X\"]"; pwd | sed 's/.*/"&"/'; exec sleep 1000`), "a b; $(c)")
	got, err := run(t, o, env, count(3))
	here, _ := filepath.EvalSymlinks(env.dir)
	want := []map[string]any{{"pm25": int64(12)}, {"value": []any{"a b; $(c)", "y"}}, {"value": here}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if want := map[string]int{"not a JSON line": 1, "longer than max_line": 1}; !reflect.DeepEqual(env.lost, want) {
		t.Errorf("lost %v", env.lost)
	}
}

// All output that a program wrote before it ended is read, and the program is restarted.
func TestStartsAgain(t *testing.T) {
	env := newEnv(t)
	o := Defaults()
	o.Restart = Restart{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond}
	o.Command = env.script(t, `for i in 1 2 3; do echo $i; done; echo "sensor is gone" >&2; exit 7`)
	got, err := run(t, o, env, count(6))
	if err != nil || fmt.Sprint(got) != "[map[value:1] map[value:2] map[value:3] map[value:1] map[value:2] map[value:3]]" {
		t.Errorf("%v, %v", got, err)
	}
	env.hears(t, "./x.sh ended: exit code 7: sensor is gone; it is started again in 1")
	env.hears(t, "<nil>")
}

func TestNever(t *testing.T) {
	env := newEnv(t)
	o := Defaults()
	o.Restart = Restart{Never: true}
	o.Format = "text"
	o.Command = env.script(t, "echo once")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	events := make(chan map[string]any, 10)
	go func() {
		ended <- New(o, env).Stream(ctx, func(_ context.Context, _ time.Time, f map[string]any, _ func(error)) error {
			events <- f
			return nil
		})
	}()
	env.hears(t, "./x.sh ended: exit code 0, and restart is never")
	cancel()
	if err := <-ended; err != nil || len(events) != 1 || (<-events)["text"] != "once" {
		t.Errorf("%v", err)
	}
}

// Stop ends the program and its children, also while an event is blocked.
func TestStop(t *testing.T) {
	env := newEnv(t)
	o := Defaults()
	o.Command = env.script(t, `sleep 1000 & echo $!; while :; do echo 0; done`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	child := make(chan int, 1)
	blocked := make(chan struct{})
	go func() {
		n := 0
		ended <- New(o, env).Stream(ctx, func(ctx context.Context, _ time.Time, f map[string]any, _ func(error)) error {
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
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(b), ") Z") {
		t.Errorf("the child's child lives: %s", b)
	} else if runtime.GOOS != "linux" && syscall.Kill(pid, 0) == nil {
		t.Error("the child's child lives")
	}
}

func TestPostFails(t *testing.T) {
	env := newEnv(t)
	o := Defaults()
	o.Command = env.script(t, `while :; do echo 0; done`)
	stopped := errors.New("being stopped")
	err := New(o, env).Stream(t.Context(), func(context.Context, time.Time, map[string]any, func(error)) error { return stopped })
	if err != stopped {
		t.Error(err)
	}
}

func TestOpen(t *testing.T) {
	o := Defaults()
	o.Command = []string{"./none"}
	if err := New(o, newEnv(t)).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "./none can't be run") {
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

// fuzzing reports whether the test's program is fuzzing, which leaves goroutines behind.
func fuzzing() bool { return flag.Lookup("test.fuzz").Value.String() != "" }
