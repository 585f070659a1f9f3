//go:build linux

// This file is shared by the tests on Linux: a bus that holds things, and pseudo terminals.

package serial

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/tty"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

const patience = kindtest.Patience

// bus has steps that several tests share.
type bus struct{ *kindtest.Bus }

func newBus() bus { return bus{kindtest.NewBus()} }

func (b bus) texts(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		if e := b.Next(t); e["text"] != w {
			t.Errorf("got %q, want %q", e["text"], w)
		}
	}
}

func (b bus) well(t *testing.T) {
	t.Helper()
	b.Eventually(t, "the port is open", func() bool { return b.Last() == "<nil>" })
}

// pty is a pseudo terminal: the other end of a port.
type pty struct {
	*os.File
	port string
}

func newPTY(t *testing.T) *pty {
	t.Helper()
	end, port := kindtest.PTY(t)
	return &pty{end, port}
}

func (p *pty) send(t *testing.T, text string) {
	t.Helper()
	if err := p.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(p, text); err != nil {
		t.Fatal(err)
	}
}

func (p *pty) expect(t *testing.T, want string) {
	t.Helper()
	buf := make([]byte, len(want))
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := io.ReadFull(p, buf); string(buf) != want {
		t.Fatalf("heard %q, want %q: %v", buf[:n], want, err)
	}
}

func options(port string) Options {
	o := defaults()
	o.Port, o.Baud = tty.Name(port), 115200
	return o
}

// start runs a source. The returned function stops it.
func (b bus) start(t *testing.T, o Options) (stop func()) {
	t.Helper()
	if errs := o.Check(); errs != nil {
		t.Fatal(errs)
	}
	b.Mu.Lock()
	b.Conditions = nil
	b.Mu.Unlock()
	s := New(o, b)
	s.searchInterval = time.Hour // only the kernel's notifications make it look again
	return b.Start(t, s, nil)
}
