//go:build unix

package execd

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func action(t *testing.T, b *kindtest.Bus, text string) *Action {
	t.Helper()
	o := actionDefaults()
	o.Restart = Restart{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond}
	o.Command = b.Script(t, text)
	a := NewAction(o, b)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// file waits until a file has that content.
func file(t *testing.T, path, want string) {
	t.Helper()
	var got []byte
	for end := time.Now().Add(kindtest.Patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got, _ = os.ReadFile(path); string(got) == want {
			return
		}
	}
	t.Fatalf("%s is %q, not %q", path, got, want)
}

func TestWrites(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	a := action(t, b, "cat > out; echo done >> out")
	if _, err := os.Stat(filepath.Join(b.Folder, "out")); err == nil {
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
	file(t, filepath.Join(b.Folder, "out"), "{\"a\":\"x\\ny\"}\n\"text\"\n1.5\nnull\ndone\n") // it was able to finish
}

func TestWritesAgain(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	a := action(t, b, "read x; echo $x >> out; echo enough >&2; exit 3")
	for _, v := range []any{1, 2} {
		if err := a.Do(t.Context(), Args{JSON: v}); err != nil {
			t.Fatal(err)
		}
		<-a.child.p.Exited()
	}
	file(t, filepath.Join(b.Folder, "out"), "1\n2\n")
	degraded(t, b, "./x.sh ended: exit code 3: enough")
}

// A program that doesn't read blocks an event for as long as its timeout, and no longer.
func TestDoesNotRead(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	a := action(t, b, "exec sleep 1000")
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
	a := action(t, kindtest.NewBusWithFolder(t), "cat")
	for _, v := range []any{math.NaN(), strings.Repeat("x", maxWrite)} {
		if err := a.Do(t.Context(), Args{JSON: v}); !kind.IsPermanent(err) {
			t.Error(err)
		}
	}
}

func TestActionCannotStart(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	a := action(t, b, "")
	if err := os.Remove(filepath.Join(b.Folder, "x.sh")); err != nil {
		t.Fatal(err)
	}
	if err := a.Do(t.Context(), Args{JSON: 1}); err == nil || !strings.Contains(err.Error(), "./x.sh can't be run") {
		t.Error(err)
	}
	degraded(t, b, "./x.sh can't be run")
	b.Script(t, "cat > out")
	if err := a.Do(t.Context(), Args{JSON: 2}); err != nil {
		t.Error(err)
	}
	file(t, filepath.Join(b.Folder, "out"), "2\n")
}
