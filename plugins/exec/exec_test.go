//go:build unix

package exec

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/internal/program"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// read returns the content of a file that a program wrote, or "".
func read(b *kindtest.Bus, name string) string {
	text, _ := os.ReadFile(filepath.Join(b.Folder, name))
	return string(text)
}

func TestMain(m *testing.M) { kindtest.Main(m) }

// events runs a source until it has emitted n events.
func events(t *testing.T, o Options, b *kindtest.Bus, n int) (got []map[string]any) {
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
	err := s.Run(ctx, func(_ context.Context, _ time.Time, f map[string]any) error {
		if got = append(got, f); len(got) == n {
			cancel()
		}
		return nil
	})
	if err != nil || len(got) != n {
		t.Fatalf("%d events, %v; %q", len(got), err, b.Conditions)
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
		b := kindtest.NewBusWithFolder(t)
		o := defaults()
		o.MaxOutput = 64
		o.Command = b.Script(t, c.script)
		got := events(t, o, b, 1)[0]
		if took := got["took"].(float64); took <= 0 || took > 5 {
			t.Errorf("took %v", took)
		}
		delete(got, "took")
		if want := (m{"text": c.text, "json": c.json, "status": c.status, "stderr": c.stderr}); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", c.script, got)
		}
		if b.Losses["the part of an output beyond max_output"] != c.lost {
			t.Errorf("lost %v", b.Losses)
		}
	}
}

// One run at a time, whatever the interval.
func TestDecode(t *testing.T) {
	for e, want := range map[decode.Encoding]any{"json": int64(1), "csv": []any{[]any{"1"}}, "cbor": int64(-18), "none": nil} {
		if f := fields(program.Output{Stdout: []byte("1")}, e); !reflect.DeepEqual(f["json"], want) {
			t.Errorf("%s: %v", e, f)
		}
	}
	if f := fields(program.Output{Stdout: []byte("1"), Cut: true}, "csv"); f["json"] != nil {
		t.Errorf("%v", f)
	}
}

func TestNoOverlap(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	o := defaults()
	o.Every = time.Millisecond // less than Check allows: the runs must take longer
	o.Command = b.Script(t, "mkdir lock || echo overlap >> bad; sleep 0.05; rmdir lock")
	s := New(o, b)
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
	if read(b, "bad") != "" {
		t.Error("two runs at once")
	}
}

func TestTimeout(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	o := defaults()
	o.Every, o.Timeout = 100*time.Millisecond, 2*time.Second
	o.Command = b.Script(t, "if mkdir once 2>/dev/null; then sleep 1000; fi; echo fine")
	if got := events(t, o, b, 1); got[0]["text"] != "fine" {
		t.Errorf("%v", got)
	}
	if want := []string{"./x.sh: it took longer than 2s and was ended", "<nil>"}; !reflect.DeepEqual(b.Conditions, want) {
		t.Errorf("%q", b.Conditions)
	}
}

func TestStopsWhileItRuns(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	o := defaults()
	o.Command = b.Script(t, "echo > started; sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- New(o, b).Run(ctx, nil) }()
	for read(b, "started") == "" {
		runtime.Gosched()
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil || b.Conditions != nil {
			t.Error(err, b.Conditions)
		}
	case <-time.After(time.Minute):
		t.Fatal("it doesn't end")
	}
}

func TestOpen(t *testing.T) {
	o := defaults()
	o.Command = []string{"./none"}
	if err := New(o, kindtest.NewBusWithFolder(t)).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "./none can't be run") {
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
			b := kindtest.NewBusWithFolder(t)
			o := actionDefaults()
			o.Command = append(b.Script(t, c.script), "--", "{title}", "{level}")
			o.Params = m{"title": m{"type": "text"}, "level": m{"type": "int"}}
			o.Stdin, o.OKCodes = c.stdin, []int{0, 7, 143}
			if c.name == "too slow" {
				o.Timeout = 500 * time.Millisecond
			}
			if errs := o.Check(); errs != nil {
				t.Fatal(errs)
			}
			err := NewAction(o, b).Do(t.Context(), c.args)
			permanent := kind.IsPermanent(err)
			want, wantPermanent := strings.CutPrefix(c.err, "!")
			if (want == "") != (err == nil) || err != nil && (!strings.HasPrefix(err.Error(), want) || len(err.Error()) > 400) || permanent != wantPermanent {
				t.Errorf("%v, permanent %v", err, permanent)
			}
			if got := read(b, "out"); got != c.out {
				t.Errorf("out is %q", got)
			}
		})
	}
}

func TestActionEnds(t *testing.T) {
	b := kindtest.NewBusWithFolder(t)
	o := actionDefaults()
	o.Command = b.Script(t, "sleep 1000")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := NewAction(o, b).Do(ctx, Args{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Minute {
		t.Error(err, time.Since(began))
	}
}
