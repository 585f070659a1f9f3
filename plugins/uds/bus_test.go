//go:build unix

package uds

// This file is a bus and a client for the tests.

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// newBus makes a bus that keeps released things, as during a reload.
func newBus() *kindtest.Bus {
	b := kindtest.NewBus()
	b.Keep(true)
	return b
}

// folder returns a folder with a short path, because a socket's path must be short.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "uds")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func options(t *testing.T) Options {
	t.Helper()
	o := defaults()
	o.Path = filepath.Join(folder(t), "s")
	return o
}

// start runs a source. The returned function stops it and leaves the socket held.
func start(t *testing.T, b *kindtest.Bus, o Options) (stop func()) {
	t.Helper()
	if errs := o.Check(); errs != nil {
		t.Fatal(errs)
	}
	s := New(o, b)
	return b.Start(t, s, nil)
}

// client is a program that sends lines and reads answers.
type client struct {
	*net.UnixConn
	r *bufio.Reader
}

func dial(t *testing.T, path string) client {
	t.Helper()
	c := kindtest.Dial(t, "unix", path)
	c.SetReadDeadline(time.Now().Add(kindtest.Patience))
	return client{c.(*net.UnixConn), bufio.NewReader(c)}
}

func (c client) send(t *testing.T, text string) {
	t.Helper()
	kindtest.Send(t, c, text)
}

func (c client) expect(t *testing.T, answers ...string) {
	t.Helper()
	for _, want := range answers {
		if got, err := c.r.ReadString('\n'); strings.TrimSuffix(got, "\n") != want {
			t.Fatalf("the answer is %q, %v; want %q", got, err, want)
		}
	}
}

func (c client) closed(t *testing.T) {
	t.Helper()
	if _, err := c.r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is not closed: %v", err)
	}
}
