package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// start runs a source; stop ends it.
func start(t *testing.T, path string, change func(*Options)) (b *kindtest.Bus, stop func()) {
	t.Helper()
	b = kindtest.NewBus()
	o := defaults()
	o.Path, o.Settle = path, 30*time.Millisecond
	if change != nil {
		change(&o)
	}
	return b, b.Start(t, New(o, b), nil)
}

// expect waits for events with these values of name and text, and in mode watch of op, in this
// order.
func expect(t *testing.T, b *kindtest.Bus, want ...string) {
	t.Helper()
	for _, w := range want {
		e := b.Next(t)
		got := fmt.Sprint(e["name"], " ", e["text"])
		if e["op"] != nil {
			got = strings.TrimSpace(fmt.Sprint(e["op"], " ", e["name"], " ", e["text"]))
		}
		if got != w {
			t.Fatalf("got %q, want %q", got, w)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func add(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(t, err)
	defer f.Close()
	_, err = f.WriteString(text)
	must(t, err)
}

// Without notifications polling finds the changes.
func TestWithoutNotices(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	b := kindtest.NewBus()
	o := defaults()
	o.Path = p
	s := New(o, b)
	stop := b.Start(t, s, func(ctx context.Context) error {
		s.notice.close()
		s.notice.w = nil
		return s.Stream(ctx, b.Post)
	})
	add(t, p, "x\n")
	expect(t, b, "a x")
	stop()
}

func TestNothingIsLeftOpen(t *testing.T) {
	before := runtime.NumGoroutine()
	p := filepath.Join(t.TempDir(), "a")
	for _, mode := range []string{"tail", "watch"} {
		b, stop := start(t, p, func(o *Options) { o.Mode = mode })
		add(t, p, "x\n")
		b.Next(t)
		stop()
	}
	kindtest.NoMoreGoroutines(t, before)
	if runtime.GOOS == "linux" {
		fds, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		for _, fd := range fds {
			if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(to, p) {
				t.Errorf("%s is still open", to)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Path: "/x/*.log", Mode: "tail"}, ""},
		{Options{Path: "/x/[a", Mode: "tail"}, `path: the pattern "/x/[a" is incomplete`},
		{Options{Path: "/x", Mode: "tail", Read: 1}, "read: read applies to mode: watch only"},
	} {
		got := ""
		for _, err := range c.o.Check() {
			got += err.(*kind.OptionError).Key() + ": " + err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: %q", c.o, got)
		}
	}
}
