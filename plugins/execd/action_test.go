//go:build unix

package execd

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func action(t *testing.T, env *fakeEnv, script string) *Action {
	t.Helper()
	o := ActionDefaults()
	o.Restart = Restart{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond}
	o.Command = env.script(t, script)
	a := NewAction(o, env)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// file waits until a file has that content.
func file(t *testing.T, path, want string) {
	t.Helper()
	var b []byte
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if b, _ = os.ReadFile(path); string(b) == want {
			return
		}
	}
	t.Fatalf("%s is %q, not %q", path, b, want)
}

func TestWrites(t *testing.T) {
	env := newEnv(t)
	a := action(t, env, "cat > out; echo done >> out")
	if _, err := os.Stat(filepath.Join(env.dir, "out")); err == nil {
		t.Error("it was started without an event")
	}
	for _, v := range []any{map[string]any{"a": "x\ny"}, "text", 1.5, nil} {
		if err := a.Do(t.Context(), Args{JSON: v}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	file(t, filepath.Join(env.dir, "out"), "{\"a\":\"x\\ny\"}\n\"text\"\n1.5\nnull\ndone\n") // it was able to finish
}

func TestWritesAgain(t *testing.T) {
	env := newEnv(t)
	a := action(t, env, "read x; echo $x >> out; echo enough >&2; exit 3")
	for _, v := range []any{1, 2} {
		if err := a.Do(t.Context(), Args{JSON: v}); err != nil {
			t.Fatal(err)
		}
		<-a.child.p.Exited()
	}
	file(t, filepath.Join(env.dir, "out"), "1\n2\n")
	env.hears(t, "./x.sh ended: exit code 3: enough")
}

// A program that doesn't read blocks an event for as long as its timeout, and no longer.
func TestDoesNotRead(t *testing.T) {
	env := newEnv(t)
	a := action(t, env, "exec sleep 1000")
	big := strings.Repeat("x", 40000)
	for i := 0; ; i++ {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := a.Do(ctx, Args{JSON: big})
		cancel()
		if err != nil {
			break
		}
		if i > 100 {
			t.Fatal("no end to the pipe")
		}
	}
	// Half a line was written, so the next event needs another run.
	first := a.child
	if err := a.Do(t.Context(), Args{JSON: 1}); err != nil {
		t.Fatal(err)
	}
	if a.child == first {
		t.Error("half a line, and then the next one")
	}
}

func TestPermanent(t *testing.T) {
	a := action(t, newEnv(t), "cat")
	for _, v := range []any{math.NaN(), strings.Repeat("x", maxWrite)} {
		var p interface{ Permanent() bool }
		if err := a.Do(t.Context(), Args{JSON: v}); !errors.As(err, &p) || !p.Permanent() {
			t.Error(err)
		}
	}
}

func TestActionCannotStart(t *testing.T) {
	env := newEnv(t)
	a := action(t, env, "")
	if err := os.Remove(filepath.Join(env.dir, "x.sh")); err != nil {
		t.Fatal(err)
	}
	if err := a.Do(t.Context(), Args{JSON: 1}); err == nil || !strings.Contains(err.Error(), "./x.sh can't be run") {
		t.Error(err)
	}
	env.hears(t, "./x.sh can't be run")
	env.script(t, "cat > out")
	if err := a.Do(t.Context(), Args{JSON: 2}); err != nil {
		t.Error(err)
	}
	file(t, filepath.Join(env.dir, "out"), "2\n")
}
