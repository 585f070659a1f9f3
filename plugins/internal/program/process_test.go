//go:build unix

package program

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// Some tests run the test's own program.
func TestMain(m *testing.M) {
	switch os.Getenv("PROCESS_TEST") {
	case "parent":
		p, err := Start(context.Background(), Command{Args: []string{"sleep", "1000"}, Base: "/"})
		if err != nil {
			panic(err)
		}
		for range 50 { // goroutines on other threads start and end
			go runtime.Gosched()
		}
		fmt.Println(p.Pid())
		_, _ = p.Wait()
	default:
		kindtest.Main(m)
	}
}

func sh(script string) Command {
	return Command{Args: []string{"sh", "-c", script}, Base: "/", Stdout: true}
}

func start(t *testing.T, c Command) *Process {
	t.Helper()
	p, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-p.Pid(), syscall.SIGKILL)
	})
	return p
}

// within fails the test when f takes too long.
func within(t *testing.T, most time.Duration, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(most):
		t.Fatalf("not done after %s", most)
	}
}

// alive reports whether the process runs; a zombie does not count.
func alive(pid int) bool {
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		_, rest, _ := bytes.Cut(b, []byte(") "))
		return !bytes.HasPrefix(rest, []byte("Z"))
	}
	return runtime.GOOS != "linux" && syscall.Kill(pid, 0) == nil
}

func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); alive(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d is still there", pid)
		}
	}
}

func number(t *testing.T, r *bufio.Reader) int {
	t.Helper()
	line, err := r.ReadString('\n')
	n, bad := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || bad != nil {
		t.Fatal(line, err)
	}
	return n
}

func TestExit(t *testing.T) {
	for _, c := range []struct {
		script string
		code   int
		signal string
	}{
		{"exit 0", 0, ""}, {"exit 3", 3, ""}, {"kill -9 $$", 137, "killed"}, {"kill -TERM $$", 143, "terminated"},
	} {
		p := start(t, sh(c.script))
		_, _ = io.Copy(io.Discard, p.Stdout())
		e, err := p.Wait()
		if err != nil || e.Code != c.code || e.Signal != c.signal || e.Took <= 0 {
			t.Errorf("%s: %+v, %v", c.script, e, err)
		}
		if alive(p.Pid()) || syscall.Kill(p.Pid(), 0) != syscall.ESRCH {
			t.Errorf("%s: a zombie", c.script)
		}
	}
}

func TestCannotStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/x", []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		c    Command
		want string
	}{
		{Command{Args: []string{"./x"}, Base: dir, Stdin: true, Stdout: true, Stderr: func([]byte) {}}, "./x can't be started"},
		{Command{Args: []string{"sh"}, Base: dir, Dir: dir + "/none"}, "sh can't be started: the working directory"},
		{Command{Args: []string{"./none"}, Base: dir}, "can't be run from"},
		{Command{Base: dir}, "no program"},
	} {
		if _, err := Start(t.Context(), c.c); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.c.Args, err)
		}
	}
}

// Grandchildren end with the child, whether it is stopped, ends by itself, or refuses to end.
func TestGroup(t *testing.T) {
	for _, c := range []struct {
		name, script string
		stop         bool
		least        time.Duration
	}{
		{"stopped", "sleep 1000 & echo $!; wait", true, 0},
		{"the leader ends", "sleep 1000 & echo $!; exit 0", false, 0},
		{"the leader ends, its child is stubborn", "trap '' TERM; sleep 1000 & echo $!; exit 0", false, Grace},
		{"all are stubborn", "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 1; done", true, Grace},
		{"forked twice", "(sleep 1000 & echo $!); sleep 1000", true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := Start(context.Background(), sh(c.script))
			if err != nil {
				t.Fatal(err)
			}
			grandchild := number(t, bufio.NewReader(p.Stdout()))
			if c.stop && !alive(grandchild) {
				t.Fatal("there is no grandchild")
			}
			began := time.Now()
			if c.stop {
				p.Stop()
				p.Stop()
			}
			within(t, time.Minute, func() {
				_, _ = io.Copy(io.Discard, p.Stdout())
				_, _ = p.Wait()
			})
			if took := time.Since(began); took < c.least {
				t.Errorf("killed after %s", took)
			}
			gone(t, grandchild)
		})
	}
}

func TestContextEndsIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, err := Start(ctx, sh("echo ready; sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = bufio.NewReader(p.Stdout()).ReadString('\n')
	cancel()
	within(t, Grace, func() {
		_, _ = io.Copy(io.Discard, p.Stdout())
		if e, err := p.Wait(); err != nil || e.Code != 143 {
			t.Errorf("%+v, %v", e, err)
		}
	})
	if _, err := Start(ctx, sh("exit 0")); !errors.Is(err, context.Canceled) {
		t.Errorf("started: %v", err)
	}
}

// A process that left the group with our pipe is not waited for.
func TestEscapes(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("needs setsid")
	}
	for name, script := range map[string]string{
		"silent": "setsid sh -c 'echo $$; exec sleep 1000'& sleep 0.2",
		"loud":   "setsid sh -c 'echo $$; exec yes' & sleep 0.2",
	} {
		p := start(t, sh(script))
		r := bufio.NewReader(p.Stdout())
		escaped := number(t, r)
		defer syscall.Kill(escaped, syscall.SIGKILL)
		within(t, time.Minute, func() {
			if _, err := io.Copy(io.Discard, r); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			_, _ = p.Wait()
		})
	}
}

// A slow reader still receives the output that the child wrote before it ended.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	p := start(t, sh("i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done"))
	<-p.done
	time.Sleep(straggle + 100*time.Millisecond) // the deadline has passed
	b, err := io.ReadAll(p.Stdout())
	if err != nil || strings.Count(string(b), "\n") != 3000 {
		t.Errorf("%d lines, %v", strings.Count(string(b), "\n"), err)
	}
	_, _ = p.Wait()
}

func TestStderr(t *testing.T) {
	var got []string
	c := sh("echo one >&2; printf two >&2")
	c.Stderr = func(l []byte) { got = append(got, string(l)) }
	p := start(t, c)
	_, _ = io.Copy(io.Discard, p.Stdout())
	_, _ = p.Wait()
	if fmt.Sprint(got) != "[one two]" {
		t.Errorf("%q", got)
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("Linux bounds memory")
	}
	c := sh("(head -c 150000000 /dev/zero; sleep 1000) | tail") // tail is the child's child, and holds all of it in memory
	c.Memory = 64 << 20
	p := start(t, c)
	within(t, time.Minute, func() {
		_, _ = io.Copy(io.Discard, p.Stdout())
		e, err := p.Wait()
		if !errors.Is(err, ErrMemory) || !strings.Contains(err.Error(), "more than memory: 64.0 MiB") || e.Code != 137 {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

func TestKernelRefusesMemory(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("Linux bounds memory")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3")
	}
	out, err := Run(t.Context(), Command{Args: []string{"python3", "-c", "input(); bytearray(1 << 30)"}, Base: "/", Memory: 1 << 20}, time.Minute, 1000, []byte("\n"))
	if err == nil && !strings.Contains(string(out.Stderr), "MemoryError") || err != nil && !errors.Is(err, ErrMemory) {
		t.Errorf("%s, %v", out.Stderr, err)
	}
}

// When postbus is killed, the child is killed too.
func TestDeathOfTheParent(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("Linux kills the child")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PROCESS_TEST=parent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child := number(t, bufio.NewReader(out))
	if !alive(child) {
		t.Fatal("there is no child")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	gone(t, child)
}

func TestRun(t *testing.T) {
	t.Parallel()
	run := func(script string, max int, input []byte) (Output, error) {
		timeout := time.Minute
		if strings.Contains(script, "sleep") {
			timeout = time.Second
		}
		return Run(t.Context(), sh(script), timeout, max, input)
	}
	if out, err := run("cat; echo bad >&2; exit 4", 100, []byte("hello")); err != nil || string(out.Stdout) != "hello" || string(out.Stderr) != "bad" || out.Code != 4 || out.Cut {
		t.Errorf("%+v, %v", out, err)
	}
	if out, err := run("read x; echo \"$x.\"", 100, nil); err != nil || string(out.Stdout) != ".\n" {
		t.Errorf("%+v, %v", out, err)
	}
	if out, err := run("yes | head -c 300000; yes | head -c 300000 >&2", 10, nil); err != nil || len(out.Stdout) != 10 || !out.Cut || len(out.Stderr) != MaxStderr || out.Code != 0 {
		t.Errorf("%d, %d, %v, %v", len(out.Stdout), len(out.Stderr), out.Cut, err)
	}
	if out, err := run("exit 0", 10, make([]byte, 1<<20)); err != nil || out.Code != 0 { // it doesn't read its input
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := run("sleep 1000", 10, nil); err == nil || err.Error() != "it took longer than 1s and was ended" {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, sh("sleep 1000"), time.Minute, 10, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	done := make(chan error)
	for i := range 20 {
		go func() {
			out, err := Run(t.Context(), sh(fmt.Sprintf("echo %d", i)), time.Minute, 100, nil)
			if err == nil && string(out.Stdout) != fmt.Sprintln(i) {
				err = fmt.Errorf("%q", out.Stdout)
			}
			done <- err
		}()
	}
	for range 20 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
