//go:build unix

package uds

// This file tests the socket: in its folder, in no folder, and when other processes use it.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestMain runs as another process that serves a socket when it is asked to.
func TestMain(m *testing.M) {
	if path := os.Getenv("UDS_TEST_SERVE"); path != "" {
		l, err := net.Listen("unix", path)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		fmt.Println("up")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestTheSocketInItsFolder(t *testing.T) {
	b := newBus()
	open := func(o Options) error {
		s := New(o, b)
		err := s.Open(t.Context())
		s.Close()
		b.Keep(false)
		return err
	}
	o := options(t)
	dead, err := net.Listen("unix", o.Path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	err = open(o)
	if err == nil || !strings.Contains(err.Error(), "it is busy: ") || runtime.GOOS == "linux" && !strings.Contains(err.Error(), "this postbus serves it already") {
		t.Error("a live one:", err)
	}
	dead.Close()
	if _, err := os.Lstat(o.Path); err != nil {
		t.Fatal("the test left no socket:", err)
	}
	if err := open(o); err != nil {
		t.Error("a dead one:", err)
	}
	if _, err := os.Lstat(o.Path); err == nil {
		t.Error("the socket is still there")
	}

	for name, make := range map[string]func(path string) error{
		"file":    func(p string) error { return os.WriteFile(p, []byte("precious"), 0o600) },
		"folder":  func(p string) error { return os.Mkdir(p, 0o700) },
		"fifo":    func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"symlink": func(p string) error { return os.Symlink("/nowhere", p) },
	} {
		o := options(t)
		if err := make(o.Path); err != nil {
			t.Fatal(err)
		}
		if err := open(o); err == nil || !strings.Contains(err.Error(), "not a socket; it was not removed") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(o.Path); err != nil {
			t.Errorf("%s: it is gone", name)
		}
	}

	o = options(t)
	o.Path = filepath.Join(filepath.Dir(o.Path), "postbus", "s")
	if err := open(o); err == nil || !strings.Contains(err.Error(), "the folder "+filepath.Dir(o.Path)+" does not exist: create it, or for a folder in /run write RuntimeDirectory=postbus") {
		t.Error(err)
	}
	o = options(t)
	o.Group = "no-such-group"
	if err := open(o); err == nil || !strings.Contains(err.Error(), "the group no-such-group does not exist") {
		t.Error(err)
	}

	o = options(t) // a socket that another process put there while we served stays
	s := New(o, b)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(o.Path); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", st, err)
	}
	if err := os.Remove(o.Path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Close()
	b.Keep(false)
	if _, err := os.Lstat(o.Path); err != nil {
		t.Error("another's file was removed")
	}
}

func TestAnotherProcessHoldsIt(t *testing.T) {
	if runtime.GOOS != "linux" {
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(folder(t), "s"), fmt.Sprintf("@postbus-test-%d", os.Getpid())} {
		c := exec.Command(self)
		c.Env = append(os.Environ(), "UDS_TEST_SERVE="+path)
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
			t.Fatal(line, err)
		}
		o := defaults()
		o.Path = path
		b := newBus()
		err = New(o, b).Open(t.Context())
		if want := fmt.Sprintf("listening on %s: it is busy: uds.test", path); err == nil || !strings.HasPrefix(err.Error(), want) ||
			!strings.HasSuffix(err.Error(), fmt.Sprintf(" (process %d) serves it; stop that, or choose another path", c.Process.Pid)) {
			t.Error(err)
		}
		in.Close()
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
		start(t, b, o) // the process has ended, and left its socket
	}
}

func TestAbstractSocket(t *testing.T) {
	if runtime.GOOS != "linux" {
		return
	}
	b := newBus()
	o := defaults()
	o.Path = fmt.Sprintf("@postbus-test-abstract-%d", os.Getpid())
	stop := start(t, b, o)
	c := dial(t, o.Path)
	c.send(t, "hello\n")
	b.Next(t)
	stop()
	start(t, b, o)
	c.send(t, "again\n")
	if got := b.Next(t); got["line"] != "again" {
		t.Error(got)
	}
}
