//go:build unix

package exec

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
	"testing"
	"time"
)

type fakeEnv struct {
	dir      string
	degraded []string
	lost     map[string]int
}

func (e *fakeEnv) Log() *slog.Logger         { return slog.New(slog.DiscardHandler) }
func (e *fakeEnv) Dir() string               { return e.dir }
func (e *fakeEnv) Degraded(err error)        { e.degraded = append(e.degraded, fmt.Sprint(err)) }
func (e *fakeEnv) Lost(n int, reason string) { e.lost[reason] += n }
func newEnv(t *testing.T) *fakeEnv           { return &fakeEnv{dir: t.TempDir(), lost: map[string]int{}} }
func (e *fakeEnv) path(name string) string   { return filepath.Join(e.dir, name) }
func (e *fakeEnv) read(name string) string   { b, _ := os.ReadFile(e.path(name)); return string(b) }
func (e *fakeEnv) script(text string) []string {
	if err := os.WriteFile(e.path("x.sh"), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		panic(err)
	}
	return []string{"./x.sh"}
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

// events runs a source until it has emitted n events.
func events(t *testing.T, o Options, env *fakeEnv, n int) (got []map[string]any) {
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
	err := s.Run(ctx, func(_ context.Context, _ time.Time, f map[string]any) error {
		if got = append(got, f); len(got) == n {
			cancel()
		}
		return nil
	})
	if err != nil || len(got) != n {
		t.Fatalf("%d events, %v; %q", len(got), err, env.degraded)
	}
	return got
}

func TestEvent(t *testing.T) {
	for _, c := range []struct {
		script, text, stderr string
		json                 any
		status               int
		lost                 int
	}{
		{"echo hello", "hello", "", nil, 0, 0},
		{`echo '{"a": 1}'; exit 3`, `{"a": 1}`, "", m{"a": int64(1)}, 3, 0},
		{"echo 1; echo 2", "1\n2", "", nil, 0, 0},
		{"echo; echo bad >&2; kill -9 $$", "", "bad", nil, 137, 0},
		{`printf '\377'`, "\uFFFD", "", nil, 0, 0},
		{"echo $SECRET$HOME", "", "", nil, 0, 0},
		{"head -c 100 /dev/zero | tr '\\0' 1", strings.Repeat("1", 64), "", nil, 0, 1},
	} {
		t.Setenv("SECRET", "x")
		t.Setenv("HOME", "")
		env := newEnv(t)
		o := Defaults()
		o.MaxOutput = 64
		o.Command = env.script(c.script)
		got := events(t, o, env, 1)[0]
		if took := got["took"].(float64); took <= 0 || took > 5 {
			t.Errorf("took %v", took)
		}
		delete(got, "took")
		if want := (m{"text": c.text, "json": c.json, "status": c.status, "stderr": c.stderr}); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", c.script, got)
		}
		if env.lost["the rest of an output longer than max_output"] != c.lost {
			t.Errorf("lost %v", env.lost)
		}
	}
}

// One run at a time, whatever the interval.
func TestNoOverlap(t *testing.T) {
	env := newEnv(t)
	o := Defaults()
	o.Every = time.Millisecond // less than Check allows: the runs must take longer
	o.Command = env.script("mkdir lock || echo overlap >> bad; sleep 0.05; rmdir lock")
	s := New(o, env)
	n := 0
	enough := errors.New("enough")
	if err := s.Run(t.Context(), func(context.Context, time.Time, map[string]any) error {
		if n++; n == 5 {
			return enough
		}
		return nil
	}); err != enough {
		t.Fatal(err)
	}
	if env.read("bad") != "" {
		t.Error("two runs at once")
	}
}

func TestTimeout(t *testing.T) {
	env := newEnv(t)
	o := Defaults()
	o.Every, o.Timeout = 100*time.Millisecond, 2*time.Second
	o.Command = env.script("if mkdir once 2>/dev/null; then sleep 1000; fi; echo fine")
	if got := events(t, o, env, 1); got[0]["text"] != "fine" {
		t.Errorf("%v", got)
	}
	if want := []string{"./x.sh: it took longer than 2s and was ended", "<nil>"}; !reflect.DeepEqual(env.degraded, want) {
		t.Errorf("%q", env.degraded)
	}
}

func TestStopsWhileItRuns(t *testing.T) {
	env := newEnv(t)
	o := Defaults()
	o.Command = env.script("echo > started; sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- New(o, env).Run(ctx, nil) }()
	for env.read("started") == "" {
		runtime.Gosched()
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil || env.degraded != nil {
			t.Error(err, env.degraded)
		}
	case <-time.After(time.Minute):
		t.Fatal("it doesn't end")
	}
}

func TestOpen(t *testing.T) {
	o := Defaults()
	o.Command = []string{"./none"}
	if err := New(o, newEnv(t)).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "./none can't be run") {
		t.Error(err)
	}
}

func TestAction(t *testing.T) {
	for _, c := range []struct {
		name, script, stdin string
		args                Args
		err                 string // "" for nil; a leading "!": permanent
		out                 string
	}{
		{"arguments are arguments", `printf '%s|' "$@" > out`, "none", Args{With: m{"title": "a b'\"$(id)`;*", "level": 3}}, "", "--|a b'\"$(id)`;*|3|"},
		{"JSON", "cat > out", "json", Args{With: m{"title": "x", "level": 3}, JSON: m{"a": []any{1, "x\ny"}}}, "", "{\"a\":[1,\"x\\ny\"]}\n"},
		{"no JSON", "cat > out", "json", Args{With: m{"title": "x", "level": 3}}, "", "null\n"},
		{"JSON nobody reads", "cat > out", "none", Args{With: m{"title": "x", "level": 3}, JSON: 1}, "!json is given, but", ""},
		{"a wrong parameter", "echo > out", "none", Args{With: m{"title": "-x", "level": 3}}, "!with.title: \"-x\" begins with -", ""},
		{"another exit code", "echo > out; echo 'no such light' >&2; exit 4", "none", Args{With: m{"title": "x", "level": 3}}, "./x.sh: exit code 4: no such light", "\n"},
		{"an exit code that is fine", "exit 7", "none", Args{With: m{"title": "x", "level": 3}}, "", ""},
		{"a signal isn't its exit code", "kill -TERM $$", "none", Args{With: m{"title": "x", "level": 3}}, "./x.sh: killed: terminated", ""},
		{"much to say", "yes no | head -c 100000 >&2; exit 1", "none", Args{With: m{"title": "x", "level": 3}}, "./x.sh: exit code 1: no\nno", ""},
		{"too slow", "sleep 1000", "none", Args{With: m{"title": "x", "level": 3}}, "./x.sh: it took longer than 500ms", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newEnv(t)
			o := ActionDefaults()
			o.Command = append(env.script(c.script), "--", "{title}", "{level}")
			o.Params = m{"title": m{"type": "text"}, "level": m{"type": "int"}}
			o.Stdin, o.OKCodes = c.stdin, []int{0, 7, 143}
			if c.name == "too slow" {
				o.Timeout = 500 * time.Millisecond
			}
			if errs := o.Check(); errs != nil {
				t.Fatal(errs)
			}
			err := NewAction(o, env).Do(t.Context(), c.args)
			var p interface{ Permanent() bool }
			permanent := errors.As(err, &p) && p.Permanent()
			want, wantPermanent := strings.CutPrefix(c.err, "!")
			if (want == "") != (err == nil) || err != nil && (!strings.HasPrefix(err.Error(), want) || len(err.Error()) > 400) || permanent != wantPermanent {
				t.Errorf("%v, permanent %v", err, permanent)
			}
			if got := env.read("out"); got != c.out {
				t.Errorf("out is %q", got)
			}
		})
	}
}

func TestActionEnds(t *testing.T) {
	env := newEnv(t)
	o := ActionDefaults()
	o.Command = env.script("sleep 1000")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := NewAction(o, env).Do(ctx, Args{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Minute {
		t.Error(err, time.Since(began))
	}
}

// fuzzing reports whether the test's program is fuzzing, which leaves goroutines behind.
func fuzzing() bool { return flag.Lookup("test.fuzz").Value.String() != "" }
