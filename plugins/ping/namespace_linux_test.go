package ping

// This file tests in a network namespace of its own, where the test decides whether ICMP is allowed
// and whether it is answered. It runs the test program again, in that namespace.

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

const inside = "POSTBUS_TEST_NAMESPACE"

func TestInANamespace(t *testing.T) {
	if os.Getenv(inside) != "" {
		t.Run("ICMP", icmpIsAnswered)
		t.Run("down and up", goesDownAndUp)
		t.Run("without ICMP", withoutICMP)
		t.Run("bounded", socketsAreBounded)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestInANamespace$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Start()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) {
		t.Skip("needs root, or namespaces of users: ", err)
	}
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil || strings.Count(out.String(), "    --- PASS: ") != 4 {
		t.Errorf("%v\n%s", err, &out)
	}
}

// enter sets the namespace up: its loopback is up, and ICMP is allowed and answered.
func enter(t *testing.T) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOOPBACK)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
	allow(t, true)
	answers(t, true)
}

func sysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// allow lets this process send ICMP echoes, or not.
func allow(t *testing.T, yes bool) {
	t.Helper()
	group := "1 0" // of nobody
	if yes {
		group = fmt.Sprint(os.Getegid(), " ", os.Getegid())
	}
	sysctl(t, "ipv4/ping_group_range", group)
}

// answers makes the kernel answer echoes, or not.
func answers(t *testing.T, yes bool) {
	t.Helper()
	ignore := "1"
	if yes {
		ignore = "0"
	}
	sysctl(t, "ipv4/icmp_echo_ignore_all", ignore)
}

func options(hosts ...string) Options {
	return Options{Hosts: hosts, Every: time.Millisecond, Timeout: kindtest.Patience, Tries: 1, On: "all", Method: "auto", Port: 80}
}

func icmpIsAnswered(t *testing.T) {
	enter(t)
	hosts := []string{"127.0.0.1", "127.1.2.3"}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
		hosts = append(hosts, "::1")
	}
	b := kindtest.NewBus()
	for _, e := range run(t, b, options(hosts...), rounds(10*len(hosts))) {
		if took, ok := e["took"].(float64); e["up"] != true || e["method"] != "icmp" || e["address"] != e["host"] || !ok || took < 0 {
			t.Errorf("%v", e)
		}
	}
	if log := b.Logged(); log != "" {
		t.Errorf("logged %s", log)
	}
}

func goesDownAndUp(t *testing.T) {
	enter(t)
	o := options("127.0.0.1")
	o.On, o.Timeout, o.Tries = "change", 200*time.Millisecond, 3
	events := run(t, kindtest.NewBus(), o, func(events []map[string]any) bool {
		answers(t, len(events) != 1) // silent after the first event, until the second
		return len(events) == 3
	})
	for i, want := range []string{"true icmp 0 ", "false icmp 3 no answer in time", "true icmp 0 "} {
		e := events[i]
		if got := fmt.Sprint(e["up"], " ", e["method"], " ", e["failed"], " ", e["error"]); got != want || e["changed"] != true {
			t.Errorf("event %d: got %s, want %s", i, got, want)
		}
	}
}

// Where ICMP is not allowed hosts are asked by TCP, and one without a route is down.
func withoutICMP(t *testing.T) {
	enter(t)
	allow(t, false)
	l, err := net.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := kindtest.NewBus()
	for _, e := range run(t, b, options("127.0.0.1", "127.1.2.3", "10.1.2.3", "nothing.invalid"), rounds(12)) {
		host, text := e["host"], fmt.Sprint(e["up"], " ", e["method"], " ", e["error"])
		switch {
		case host == "10.1.2.3" && text == "false tcp connecting to port 80: network is unreachable":
		case host == "nothing.invalid" && strings.HasPrefix(text, "false  lookup nothing.invalid"):
		case (host == "127.0.0.1" || host == "127.1.2.3") && text == "true tcp ": // listening, refused
		default:
			t.Errorf("%s: %s", host, text)
		}
	}
	if log := b.Logged(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "ICMP is not allowed here, hosts are asked by TCP") {
		t.Errorf("logged %s", log)
	}
	o := options("127.0.0.1")
	o.Method = "icmp"
	if err := New(o, b).Run(t.Context(), nil); err == nil || !strings.HasPrefix(err.Error(), "ICMP is not allowed here: ") || !errors.Is(err, syscall.EACCES) {
		t.Errorf("method icmp: %v", err)
	}
}

// However many hosts are silent: a bounded number of sockets is open.
func socketsAreBounded(t *testing.T) {
	enter(t)
	answers(t, false)
	var hosts []string
	for i := range 4 * parallel {
		hosts = append(hosts, fmt.Sprintf("127.0.1.%d", i+1))
	}
	o := options(hosts...)
	o.Timeout = 100 * time.Millisecond
	most := 0
	run(t, kindtest.NewBus(), o, func(events []map[string]any) bool {
		open, err := os.ReadFile("/proc/net/icmp")
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, bytes.Count(open, []byte("\n"))-1)
		return len(events) >= len(hosts)
	})
	if most > parallel || most == 0 {
		t.Errorf("%d sockets at the same time, want at most %d", most, parallel)
	}
}
