package main

// This file runs the program itself: each script in testdata/script is a story of a user.
//
//	serve NAME ARG...      run the bus in the background, wait until it listens; $MQTT and $HTTP are its
//	                       addresses, the data is in NAME
//	signal SIGNAL NAME     send TERM, HUP, KILL to the bus whose data is in NAME
//	gone NAME              wait until that bus has ended, at most 3 s
//	eventually [!] CMD...  repeat until it succeeds (or fails), at most 5 s
//	subscribed NAME FILTER wait until the session of that name has the filter, at most 5 s
//	present ID online|offline|gone
//	                       wait until that client's topic below $bus/clients says so, at most a minute
//	get PATH               what the bus answers over HTTP to a GET, on stdout
//	lose NAME N            remove the Nth segment of the journal in the data folder NAME, and its index
//	usage ARG...           run the program, which has to end with exit code 2
//	setenv NAME FILE       set a variable to what a file holds
//	line FILE FROM TO      replace text in a file in one step, as an editor does

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/postbus/postbus/bus"
)

func TestMain(m *testing.M) {
	testscript.Main(cleaned{m}, map[string]func(){"postbus": main})
}

// cleaned removes what tests have built, after them.
type cleaned struct{ *testing.M }

func (c cleaned) Run() int {
	defer func() {
		if dir := builtIn.Load(); dir != nil {
			os.RemoveAll(*dir)
		}
	}()
	return c.M.Run()
}

// builtIn is the folder of the programs that tests have built, if any has.
var builtIn atomic.Pointer[string]

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			e.Setenv("NO_COLOR", "1")
			return os.Mkdir(home, 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": serve, "signal": sendSignal, "gone": gone, "eventually": eventually, "line": replaceLine, "usage": usage, "subscribed": subscribed, "present": present,
			"get": get, "lose": lose,
			"setenv": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
			},
		},
	})
}

const patience = time.Minute

// serve is exec in the background; testscript waits for it at the end.
func serve(ts *testscript.TestScript, _ bool, args []string) {
	name, addr := args[0], args[0]+".addr"
	_ = os.Remove(ts.MkAbs(addr))
	argv := []string{"postbus", "run", "--data-dir", name, "--addr-file", addr}
	if !strings.Contains(strings.Join(args, " "), "--mqtt") {
		argv = append(argv, "--mqtt", "tcp://127.0.0.1:0")
	}
	if !strings.Contains(strings.Join(args, " "), "--http") {
		argv = append(argv, "--http", "127.0.0.1:0")
	}
	argv = append(argv, args[1:]...)
	ts.Check(background(ts, name, argv))
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if text, err := os.ReadFile(ts.MkAbs(addr)); err == nil {
			for _, l := range strings.Fields(string(text)) {
				if strings.HasPrefix(l, "http") {
					ts.Setenv("HTTP", l)
					ts.Setenv("HTTPADDR", strings.TrimPrefix(l, "http://"))
				} else {
					ts.Setenv("MQTT", l)
				}
			}
			return
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(ts.MkAbs(name + ".log"))
			ts.Fatalf("the bus does not come up:\n%s", log)
		}
	}
}

// background starts the program with its log in NAME.log, its output in NAME.out and, when it has
// ended, its exit code in NAME.exit.
func background(ts *testscript.TestScript, name string, argv []string) error {
	path, err := exec.LookPath("postbus")
	if err != nil {
		return err
	}
	cmd := exec.Command(path, argv[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"), "NO_COLOR=1", "NOTIFY_SOCKET="+ts.Getenv("NOTIFY_SOCKET"))
	log, err := os.OpenFile(ts.MkAbs(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	out, err := os.Create(ts.MkAbs(name + ".out"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, log
	exit := ts.MkAbs(name + ".exit")
	_ = os.Remove(exit)
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(ts.MkAbs(name+".pid"), fmt.Append(nil, cmd.Process.Pid), 0o600); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
		_ = os.WriteFile(exit+".new", fmt.Appendf(nil, "%d\n", cmd.ProcessState.ExitCode()), 0o600)
		_ = os.Rename(exit+".new", exit)
	}()
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	return nil
}

func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	sig := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}[args[0]]
	pid, err := strconv.Atoi(ts.ReadFile(args[1] + ".pid"))
	ts.Check(err)
	p, err := os.FindProcess(pid)
	ts.Check(err)
	ts.Check(p.Signal(sig))
}

func gone(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0] + ".exit")); err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("the bus does not end:\n%s", ts.ReadFile(args[0]+".log"))
		}
	}
}

func eventually(ts *testscript.TestScript, _ bool, args []string) {
	want := true
	if args[0] == "!" {
		want, args = false, args[1:]
	}
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if args[0] == "grep" {
			last = nil
			if !strings.Contains(ts.ReadFile(args[2]), args[1]) {
				last = fmt.Errorf("%s has no %q:\n%s", args[2], args[1], ts.ReadFile(args[2]))
			}
		} else {
			last = ts.Exec(args[0], args[1:]...)
		}
		if (last == nil) == want {
			return
		}
	}
	ts.Fatalf("%s: not within %s: %v", strings.Join(args, " "), patience, last)
}

func subscribed(ts *testscript.TestScript, _ bool, args []string) {
	text := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(ts.Getenv("HTTP") + "/api/v1/sessions")
		ts.Check(err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		ts.Check(err)
		var list []bus.SessionInfo
		ts.Check(json.Unmarshal(body, &list))
		for _, s := range list {
			if s.Name == args[0] && s.Online && slices.Contains(s.Filters, args[1]) {
				return
			}
		}
		text = string(body)
	}
	ts.Fatalf("%s is not subscribed to %s within %s: %s", args[0], args[1], patience, text)
}

func present(ts *testscript.TestScript, _ bool, args []string) {
	name, _ := bus.ClientTopic(args[0])
	text := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(ts.Getenv("HTTP") + "/api/v1/topics?filter=" + url.QueryEscape(name))
		ts.Check(err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		ts.Check(err)
		var list []struct{ Payload string }
		ts.Check(json.Unmarshal(body, &list))
		is := "gone"
		if len(list) == 1 {
			var p bus.Presence
			ts.Check(json.Unmarshal([]byte(list[0].Payload), &p))
			if is = "offline"; p.Online {
				is = "online"
			}
		}
		if is == args[1] {
			return
		}
		text = string(body)
	}
	ts.Fatalf("%s is not %s within %s: %s", args[0], args[1], patience, text)
}

func get(ts *testscript.TestScript, _ bool, args []string) {
	resp, err := http.Get(ts.Getenv("HTTP") + args[0])
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n%s\n", resp.Status, body)
}

func lose(ts *testscript.TestScript, _ bool, args []string) {
	segments, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "journal", "*.seg"))
	ts.Check(err)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	if n > len(segments) {
		ts.Fatalf("there are the segments %q", segments)
	}
	ts.Check(os.Remove(segments[n-1]))
	ts.Check(os.Remove(strings.TrimSuffix(segments[n-1], ".seg") + ".idx"))
}

func usage(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("postbus", args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitUsage {
		ts.Fatalf("postbus %s: want exit code %d: %v", strings.Join(args, " "), exitUsage, err)
	}
}

func replaceLine(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	old, err := os.ReadFile(file)
	ts.Check(err)
	text := bytes.Replace(old, []byte(args[1]), []byte(args[2]), 1)
	if bytes.Equal(text, old) {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(file+"~", text, 0o600))
	ts.Check(os.Rename(file+"~", file))
}
