//go:build unix

package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bare starts the program with an environment and a folder of its own.
func bare(t *testing.T, env []string, args ...string) (cmd *exec.Cmd, addresses func() []string) {
	t.Helper()
	path, err := exec.LookPath("postbus")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "addr")
	cmd = exec.Command(path, append([]string{"run", "--mqtt", "tcp://127.0.0.1:0", "--http", "off", "--addr-file", file}, args...)...)
	cmd.Env, cmd.Dir = append([]string{}, env...), dir // nil would be this process's environment
	t.Cleanup(func() {
		if cmd.Process != nil && cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd, func() []string {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if text, err := os.ReadFile(file); err == nil {
				return strings.Fields(string(text))
			}
		}
		t.Fatal("the bus does not come up")
		return nil
	}
}

func stopOrderly(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestWithoutAHome checks that explicit paths are enough, and that missing ones are named.
func TestWithoutAHome(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	state := []string{"STATE_DIRECTORY=" + filepath.Join(dir, "state")}
	for name, c := range map[string]struct {
		env, args []string
		refusal   string
	}{
		"STATE_DIRECTORY and --config":        {state, []string{"--config", config}, ""},
		"STATE_DIRECTORY and --plugins-dir":   {state, []string{"--plugins-dir", filepath.Join(dir, "p")}, ""},
		"--data-dir and --config":             {nil, []string{"--data-dir", filepath.Join(dir, "d"), "--config", config}, ""},
		"nothing":                             {nil, nil, "set HOME, or give --data-dir and --config"},
		"STATE_DIRECTORY alone":               {state, nil, "set HOME, or give --data-dir and --config"},
		"CONFIGURATION_DIRECTORY, no data":    {[]string{"CONFIGURATION_DIRECTORY=" + dir}, nil, "set HOME, or give --data-dir and --config"},
		"both folders of systemd":             {append(state, "CONFIGURATION_DIRECTORY="+filepath.Join(dir, "conf")), nil, ""},
		"a home that is not there, all given": {[]string{"HOME=/nonexistent"}, []string{"--data-dir", filepath.Join(dir, "d"), "--plugins-dir", filepath.Join(dir, "p")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, addresses := bare(t, c.env, c.args...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if c.refusal == "" {
				addresses()
				stopOrderly(t, cmd)
				return
			}
			if err := cmd.Wait(); err == nil || !strings.Contains(out.String(), c.refusal) {
				t.Errorf("%v: %s", err, &out)
			}
		})
	}
}

// TestTheReaderOfTheLogGoesAway checks that the bus continues, for its clients and for later log
// lines.
func TestTheReaderOfTheLogGoesAway(t *testing.T) {
	dir := t.TempDir()
	plugins := filepath.Join(dir, "p")
	if err := os.Mkdir(plugins, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd, addresses := bare(t, []string{"HOME=" + dir}, "--data-dir", filepath.Join(dir, "d"), "--plugins-dir", plugins)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	url := addresses()[0]
	r.Close()
	// Each refused file is a line of the log that is not read.
	for i := range 3 {
		name := filepath.Join(plugins, string(rune('a'+i))+".yaml")
		if err := os.WriteFile(name, []byte("nonsense: [\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m := Main{Stdin: strings.NewReader(""), Stdout: new(bytes.Buffer), Stderr: os.Stderr, Env: []string{"HOME=" + dir}}
		id := strings.TrimSuffix(filepath.Base(name), ".yaml")
		if code := m.Run(t.Context(), []string{"sub", "--url", url, "-t", "$bus/plugins/" + id + "/state", "-n", "1"}); code != 0 {
			t.Fatalf("it does not tell the state of %s: exit code %d", id, code)
		}
		if code := m.Run(t.Context(), []string{"pub", "--url", url, "-t", "a", "-m", "b"}); code != 0 {
			t.Fatalf("it takes no event: exit code %d", code)
		}
	}
	stopOrderly(t, cmd)
}

// TestProgramsOfPluginsHaveTheirSignals checks that programs don't inherit ignoring the signals
// that the bus survives.
func TestProgramsOfPluginsHaveTheirSignals(t *testing.T) {
	defer outlive()()
	out, err := exec.Command("sh", "-c", "kill -PIPE $$; echo still there").Output()
	if err == nil || len(out) > 0 {
		t.Errorf("%q, %v", out, err)
	}
}

// TestATermWhileStarting: a signal to stop is obeyed whenever it comes, between two steps of the
// start, too.
func TestATermWhileStarting(t *testing.T) {
	dir := t.TempDir()
	rounds := 120
	if testing.Short() {
		rounds = 10
	}
	for round := range rounds {
		cmd, _ := bare(t, []string{"HOME=" + dir}, "--data-dir", filepath.Join(dir, "d"))
		var log bytes.Buffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(round) * 500 * time.Microsecond) // where in the start it comes is the machine's choice
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if early := status.Signaled() && status.Signal() == syscall.SIGTERM; err != nil && !early { // early: before main
				t.Fatalf("round %d: %v\n%s", round, err, log.String())
			}
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
			t.Fatalf("round %d: it goes on\n%s", round, log.String())
		}
	}
}
