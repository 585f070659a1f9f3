//go:build linux

// This file tests with real processes.

package process

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// child is a process of this test: a copy of this binary that waits until its standard input ends.
type child struct {
	*exec.Cmd
	in io.Closer
}

func TestMain(m *testing.M) {
	if os.Getenv("PROCESS_TEST_CHILD") != "" {
		if os.Getenv("PROCESS_TEST_CHILD") == "busy" {
			for end := time.Now().Add(time.Minute); time.Now().Before(end); {
				// Runs until it is killed.
			}
		}
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program copies this binary under another name.
func program(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func start(t *testing.T, how, path string, args ...string) child {
	t.Helper()
	c := child{Cmd: exec.Command(path, args...)}
	c.Env = append(os.Environ(), "PROCESS_TEST_CHILD="+how)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in = in
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	return c
}

// firstScan says when a source has looked for the first time.
type firstScan struct {
	scanner
	once sync.Once
	done chan struct{}
}

func (l *firstScan) scan(ctx context.Context) (map[id]process, error) {
	defer l.once.Do(func() { close(l.done) })
	return l.scanner.scan(ctx)
}

// run runs a source, and returns once it has looked for the first time.
func run(t *testing.T, o Options) (next func() map[string]any, stop func()) {
	t.Helper()
	if errs := o.Check(); errs != nil {
		t.Fatal(errs)
	}
	o.Every, o.Report = 20*time.Millisecond, o.Report/8 // tests use short times
	b := kindtest.NewBus()
	l := &firstScan{scanner: newScanner(o), done: make(chan struct{})}
	source := New(o, b)
	end := b.Start(t, source, func(ctx context.Context) error { return source.watch(ctx, l, b.Emit) })
	<-l.done // what runs by then has no start
	return func() map[string]any { t.Helper(); return b.Next(t) }, func() {
		t.Helper()
		end()
		b.None(t)
	}
}

func words(e map[string]any) string {
	return fmt.Sprint(e["action"], " ", e["name"], " ", e["pid"], " ", e["count"])
}

func TestProcessesStartAndEnd(t *testing.T) {
	before := runtime.NumGoroutine()
	const short, long, script = "pb-test-short", "pb-test-a-name-that-the-kernel-cuts", "pb-test-script.sh"
	path, longPath, other := program(t, short), program(t, long), program(t, "pb-test-a-name-of-another")
	o := defaults()
	o.Names, o.Initial = []string{short, long, script}, true
	first := start(t, "wait", path, "one")
	start(t, "wait", other)
	next, stop := run(t, o)
	e := next()
	if want := fmt.Sprintf("present %s %d 1", short, first.Process.Pid); words(e) != want || e["command"] != path+" one" {
		t.Errorf("%v, want %s", e, want)
	}
	began, err := time.Parse(time.RFC3339Nano, e["started"].(string))
	if d := time.Since(began); err != nil || d < -time.Second || d > time.Minute {
		t.Errorf("it started at %v: %v", e["started"], err)
	}
	if e["memory"].(int64) <= 0 {
		t.Errorf("memory: %v", e["memory"])
	}
	expect := func(action, name string, c child, count int) {
		t.Helper()
		if got, want := words(next()), fmt.Sprintf("%s %s %d %d", action, name, c.Process.Pid, count); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	second := start(t, "wait", path)
	expect("start", short, second, 2)
	third := start(t, "wait", longPath)
	expect("start", long, third, 1)

	text := filepath.Join(t.TempDir(), script)
	if err := os.WriteFile(text, []byte("#!/bin/sh\nread x\nexec "+path+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, "wait", text)
	expect("start", script, s, 1)
	if _, err := s.in.(io.Writer).Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	expect("end", script, s, 0) // it became another program
	expect("start", short, s, 3)

	second.in.Close() // it is a zombie until it is waited for
	expect("end", short, second, 2)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	expect("end", short, first, 1)
	third.in.Close()
	expect("end", long, third, 0)
	s.in.Close()
	expect("end", short, s, 0)
	stop()
	kindtest.NoMoreGoroutines(t, before)
}

func TestContainsAndReport(t *testing.T) {
	path := program(t, "pb-test-busy")
	o := defaults()
	o.Names, o.Contains, o.Report = []string{"pb-test-busy"}, "this one", 2*time.Second
	next, stop := run(t, o)
	start(t, "wait", path, "not me")
	c := start(t, "busy", path, "this one")
	if e := next(); words(e) != fmt.Sprintf("start pb-test-busy %d 1", c.Process.Pid) {
		t.Error(e)
	}
	e := next()
	for e["cpu"] == 0.0 || e["cpu_time"] == 0.0 { // the machine may have given it no processor time yet
		e = next()
	}
	if cpu, ok := e["cpu"].(float64); e["action"] != "report" || !ok || cpu <= 0 || cpu > 1000 {
		t.Errorf("a busy process: %v", e)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for e["action"] == "report" { // there may be more reports
		e = next()
	}
	if e["action"] != "end" || e["cpu_time"].(float64) <= 0 || e["memory"].(int64) <= 0 {
		t.Error(e)
	}
	stop()
}

// TestProcOfAnother reads a folder in place of procfs.
func TestProcOfAnother(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const rest = " 1 1 1 0 -1 4194560 1 1 1 1 250 50 0 0 20 0 1 0 12345 1000 77 18446744073709551615\n"
	write("4711/comm", "x) R (\n")
	write("4711/stat", "4711 (x) R () S"+rest)
	write("4711/cmdline", "x) R (\x00-f\x00a b\x00\xff")
	write("4712/comm", "x) R (\n")
	write("4712/stat", "4712 (x) R () Z"+rest)
	write("4713/comm", "x) R (\n") // it ended in between
	for i, text := range []string{"", "4711", "4714 (x) R () S 1 2", "4714 (x) R () S" + strings.Replace(rest, "12345", "soon", 1)} {
		write(fmt.Sprintf("%d/comm", 5000+i), "x) R (\n")
		write(fmt.Sprintf("%d/stat", 5000+i), text)
	}
	o := defaults()
	o.Names, o.Proc = []string{"x) R ("}, root
	l := newScanner(o)
	now, err := l.scan(t.Context())
	if err == nil || !strings.Contains(err.Error(), "hidepid") {
		t.Error("no process 1:", err)
	}
	p, ok := now[id{4711, 12345, "x) R ("}]
	if len(now) != 1 || !ok || p.command != "x) R ( -f a b \uFFFD" || p.cpu != 3*time.Second || p.memory != 77*int64(os.Getpagesize()) {
		t.Errorf("%+v", now)
	}
	write("1/comm", "init\n")
	if _, err := l.scan(t.Context()); err != nil {
		t.Error(err)
	}
	o.Proc = filepath.Join(root, "none")
	if _, err := newScanner(o).scan(t.Context()); err == nil {
		t.Error("a missing procfs is not reported")
	}
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("4711 (x) R () S 1 1 1 0 -1 4194560 1 1 1 1 250 50 0 0 20 0 1 0 12345 1000 77 18446744073709551615\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _, _ = new(proc).stat(text)
	})
}

// TestAClockThatIsSet checks that a set clock is noticed: a time with a monotonic reading would be
// compared by that.
func TestAClockThatIsSet(t *testing.T) {
	var p proc
	if err := p.readBoot(); err != nil || p.boot != p.boot.Round(0) {
		t.Error(p.boot, err)
	}
}

func TestDescribe(t *testing.T) {
	start(t, "wait", program(t, "pb-test-shown"))
	start(t, "wait", program(t, "memfd:pb")) // as a program that was started from memory
	if all := strings.Join(Describe(), "\n"); !strings.Contains(all, `names: ["pb-test-shown"]  # 1 running`) || strings.Contains(all, "memfd:") {
		t.Error(all)
	}
}

func BenchmarkLook(b *testing.B) {
	o := defaults()
	o.Names = []string{"nginx"}
	l := newScanner(o)
	for b.Loop() {
		if _, err := l.scan(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	list, _ := filepath.Glob("/proc/[0-9]*")
	b.ReportMetric(float64(len(list)), "processes")
}
