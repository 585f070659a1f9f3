//go:build linux

// What the tests on Linux share: a bus that holds things, and pseudo terminals.

package serial

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 20 * time.Second // for what comes at once on a machine that isn't busy; shorter than absence

// bus is the little of a bus that the kind needs. It holds things as the bus does.
type bus struct {
	mu       sync.Mutex
	held     map[string]io.Closer
	users    map[string]int
	keeping  bool
	lost     map[string]int
	degraded []string
	events   chan map[string]any
	gate     chan struct{} // when not nil, post waits for it
}

func newBus() *bus {
	return &bus{held: map[string]io.Closer{}, users: map[string]int{}, lost: map[string]int{}, events: make(chan map[string]any, 1<<20)}
}

func (b *bus) Log() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (b *bus) Degraded(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.degraded = append(b.degraded, fmt.Sprint(err))
}

func (b *bus) Lost(n int, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > 0 {
		b.lost[reason] += n
	}
}

func (b *bus) Hold(key string, open func() (io.Closer, error)) (io.Closer, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[key] == nil {
		c, err := open()
		if err != nil {
			return nil, nil, err
		}
		b.held[key] = c
	}
	b.users[key]++
	return b.held[key], sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.users[key]--
		b.letGo()
	}), nil
}

func (b *bus) letGo() {
	for key, c := range b.held {
		if b.users[key] == 0 && !b.keeping {
			c.Close()
			delete(b.held, key)
		}
	}
}

// keep is what the bus does while a source is replaced.
func (b *bus) keep(is bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keeping = is
	b.letGo()
}

func (b *bus) post(ctx context.Context, _ time.Time, fields map[string]any, _ func(error)) error {
	b.mu.Lock()
	gate := b.gate
	b.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.events <- fields
	return nil
}

func (b *bus) texts(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case e := <-b.events:
			if e["text"] != w {
				t.Errorf("got %q, want %q", e["text"], w)
			}
		case <-time.After(patience):
			t.Fatalf("%q did not come", w)
		}
	}
}

// eventually waits until what holds, under the bus's lock.
func (b *bus) eventually(t *testing.T, name string, what func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		ok := what()
		text := fmt.Sprintf("lost %v, degraded %q", b.lost, b.degraded)
		b.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not in time: %s (%s)", name, text)
		}
	}
}

func (b *bus) last() string {
	if len(b.degraded) == 0 {
		return "nothing"
	}
	return b.degraded[len(b.degraded)-1]
}

func (b *bus) well(t *testing.T) {
	t.Helper()
	b.eventually(t, "the port is open", func() bool { return b.last() == "<nil>" })
}

// pty is a pseudo terminal: the other end of a port.
type pty struct {
	*os.File
	port string
}

func newPTY(t *testing.T) *pty {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("needs pseudo terminals (mount devpts at /dev/pts): %v", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	p := &pty{os.NewFile(uintptr(fd), "ptmx"), fmt.Sprintf("/dev/pts/%d", n)}
	t.Cleanup(func() { p.Close() })
	return p
}

func (p *pty) say(t *testing.T, text string) {
	t.Helper()
	if err := p.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(p, text); err != nil {
		t.Fatal(err)
	}
}

func (p *pty) hear(t *testing.T, want string) {
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
	o := Defaults()
	o.Port, o.Baud = Port(port), 115200
	return o
}

// start runs a source; what is returned stops it.
func (b *bus) start(t *testing.T, o Options) (stop func()) {
	t.Helper()
	if errs := o.Check(); errs != nil {
		t.Fatal(errs)
	}
	s := New(o, b)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.degraded = nil
	b.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Stream(ctx, b.post) }()
	stop = sync.OnceFunc(func() {
		cancel()
		began := time.Now()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			if d := time.Since(began); d > time.Second {
				t.Errorf("the source took %s to end", d)
			}
		case <-time.After(patience):
			t.Error("the source did not end")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}
