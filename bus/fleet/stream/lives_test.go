package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// replaceDisk stops the hub, puts an older copy of its store in place ("": none), and starts it.
func (h *hub) replaceDisk(copy string) {
	h.t.Helper()
	h.stop()
	if err := os.RemoveAll(h.opts.StoreDir); err != nil {
		h.t.Fatal(err)
	}
	if copy != "" {
		if err := os.CopyFS(h.opts.StoreDir, os.DirFS(copy)); err != nil {
			h.t.Fatal(err)
		}
	}
	h.start()
}

// copyDisk stops the hub, copies its store, and starts it.
func (h *hub) copyDisk() string {
	h.t.Helper()
	h.stop()
	to := h.t.TempDir()
	if err := os.CopyFS(to, os.DirFS(h.opts.StoreDir)); err != nil {
		h.t.Fatal(err)
	}
	h.start()
	return to
}

func waitConnected(t *testing.T, s *Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.WaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
}

// waitLost waits until the stream noticed that its connection is lost.
func waitLost(t *testing.T, s *Stream, old *link) {
	t.Helper()
	until(t, "the loss of the connection is noticed", func() bool {
		l, _ := s.current()
		return l != old
	})
}

// TestAHubThatLosesItsTail is the reader that trusts its stream sequence: without ErrRestarted it
// would lose the new messages 4 to 6 silently.
func TestAHubThatLosesItsTail(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	s := open(t, h.options())
	third := fill(t, s, "pbf.home.attic.a", Message{}, "1", "2", "3")
	copy := h.copyDisk()
	waitLost(t, s, nil)
	waitConnected(t, s)
	sixth := fill(t, s, "pbf.home.attic.a", third, "4", "5", "6")
	r := reader(t, s, 1)
	expect(t, r, "1", "2", "3", "4", "5", "6")
	place, _, err := s.At(t.Context(), sixth.Seq)
	if err != nil {
		t.Fatal(err)
	}
	old, _ := s.current()

	h.replaceDisk(copy)
	waitLost(t, s, old)
	waitConnected(t, s)
	var c *Conflict
	if _, err := s.Append(t.Context(), "pbf.home.attic.a", sixth.Seq, []byte("7")); !errors.As(err, &c) || c.Last != third.Seq {
		t.Errorf("an append: %v", err)
	}
	var moved *Moved
	if _, err := Commit(t.Context(), s, "pbf.home.attic.a", sixth, []byte("7")); !errors.As(err, &moved) || moved.Last.Seq != third.Seq {
		t.Errorf("a commit: %v", err)
	}
	// Others write, so that the stream is as long as before.
	fill(t, s, "pbf.home.desk.a", Message{}, "other 4", "other 5", "other 6", "other 7")
	expect(t, r, "restarted")
	if m, ok, err := s.At(t.Context(), place.Seq); err != nil || ok && m.Subject == place.Subject && string(m.Data) == string(place.Data) {
		t.Errorf("the place is as before: %+v, %v", m, err)
	}
	expect(t, reader(t, s, third.Seq+1), "other 4", "other 5", "other 6", "other 7")
}

func TestAHubThatIsWiped(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	changes := make(chan string, 100)
	o := h.options()
	o.Changed = func(connected bool, err error) {
		select {
		case changes <- fmt.Sprint(connected, " ", err):
		default:
		}
	}
	s := open(t, o)
	last := fill(t, s, "pbf.home.attic.a", Message{}, "1", "2", "3")
	r := reader(t, s, 1)
	expect(t, r, "1", "2", "3")
	old, _ := s.current()
	h.replaceDisk("")
	waitLost(t, s, old)
	until(t, "the missing stream is reported", func() bool {
		_, err := s.Connected()
		return isFault(err) && strings.Contains(err.Error(), "the hub has no stream PBF_home")
	})
	if _, err := s.Append(t.Context(), "pbf.home.attic.a", last.Seq, []byte("4")); !isFault(err) {
		t.Errorf("an append to a hub without the stream: %v", err)
	}
	createHome(t, h.options())
	waitConnected(t, s)
	var c *Conflict
	if _, err := s.Append(t.Context(), "pbf.home.attic.a", last.Seq, []byte("4")); !errors.As(err, &c) || c.Last != 0 {
		t.Errorf("an append: %v", err)
	}
	var moved *Moved
	if _, err := Commit(t.Context(), s, "pbf.home.attic.a", last, []byte("4")); !errors.As(err, &moved) || moved.Last.Seq != 0 {
		t.Errorf("a commit: %v", err)
	}
	expect(t, r, "restarted")
	s.Close()
	var got []string
	for len(changes) > 0 {
		got = append(got, <-changes)
	}
	if got[0] != "true <nil>" || !strings.HasPrefix(got[1], "false not connected to the hub: ") || got[len(got)-1] != "true <nil>" {
		t.Errorf("the changes are %q", got)
	}
	for i := 1; i < len(got); i++ {
		if got[i] == got[i-1] {
			t.Errorf("a change that is none: %q", got[i])
		}
	}
}

// freeAddress is an address on which nobody listens.
func freeAddress(t *testing.T) (string, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String(), l.Addr().(*net.TCPAddr).Port
}

func TestAHubThatIsNotThereYet(t *testing.T) {
	address, port := freeAddress(t)
	s := open(t, Options{URLs: []string{"nats://" + address}, Stream: "PBF_home", Logger: quietLog(), Retry: 200 * time.Millisecond})
	connected, err := s.Connected()
	if connected || !errors.Is(err, ErrOffline) || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v, %v", connected, err)
	}
	if _, err := s.Append(t.Context(), "pbf.home.attic.a", 0, nil); !errors.Is(err, ErrOffline) {
		t.Errorf("an append: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Read(ctx, 1); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a read: %v", err)
	}
	h := startHub(t, func(o *server.Options) { o.Port = port })
	createHome(t, h.options())
	waitConnected(t, s)
	fill(t, s, "pbf.home.attic.a", Message{}, "one")
	expect(t, reader(t, s, 1), "one")
}

// TestAHubThatFlaps loses connections while a writer and a reader work.
func TestAHubThatFlaps(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	p := startProxy(t, h.Addr().String())
	o := h.options()
	o.URLs, o.Retry = []string{"nats://" + p.addr()}, 20*time.Millisecond
	s := open(t, o)
	const n = 200
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() {
		var prev Message
		for i := range n {
			m, err := Commit(t.Context(), s, "pbf.home.attic.a", prev, fmt.Append(nil, i))
			if err != nil {
				t.Error(err)
				return
			}
			if prev = m; i%20 == 19 {
				p.cutAll()
			}
		}
	})
	r := reader(t, s, 1)
	restarts := readNumbers(t.Context(), t, r, n)
	if restarts == 0 {
		t.Error("the reader was never interrupted")
	}
	t.Logf("%d restarts", restarts)
}

// clientGoroutines counts the goroutines of the NATS client, and of this package apart from tests.
func clientGoroutines() (n int, text string) {
	b := make([]byte, 4<<20)
	b = b[:runtime.Stack(b, true)]
	for _, g := range strings.Split(string(b), "\n\n") {
		if strings.Contains(g, "nats.go.(*") || strings.Contains(g, "stream.(*Stream)") || strings.Contains(g, "stream.(*Reader)") {
			n++
			text += g + "\n\n"
		}
	}
	return n, text
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	if n, text := clientGoroutines(); n > 0 {
		t.Fatalf("before the test:\n%s", text)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never greets
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	nobody, _ := freeAddress(t)
	for _, c := range []struct{ name, url string }{
		{"connected", h.ClientURL()},
		{"nobody there", "nats://" + nobody},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := h.options()
			o.URLs = []string{c.url}
			s := open(t, o)
			inside, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			if _, err := s.Listen("pbf.test", func(string, []byte) []byte {
				once.Do(func() { close(inside) })
				<-release
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			var wait sync.WaitGroup
			for range 3 {
				wait.Go(func() {
					r, err := s.Read(context.Background(), 1)
					if err == nil {
						_, err = r.Next(context.Background())
					}
					if !errors.Is(err, ErrClosed) {
						t.Errorf("a reader: %v", err)
					}
				})
				wait.Go(func() {
					if err := s.WaitConnected(context.Background()); err == nil {
						for err = ErrNobody; errors.Is(err, ErrNobody); { // the listener starts
							_, err = s.Ask(context.Background(), "pbf.test", nil)
						}
						if !errors.Is(err, ErrClosed) {
							t.Errorf("a question: %v", err)
						}
					} else if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
				})
			}
			if c.name == "connected" {
				<-inside
			}
			closed := make(chan struct{})
			go func() { s.Close(); close(closed) }()
			if c.name == "connected" {
				wait.Wait() // calls end before Close, which waits for the listener
				select {
				case <-closed:
					t.Error("Close did not wait for a listener")
				default:
				}
			}
			close(release)
			<-closed
			wait.Wait()
			s.Close()
			if _, err := s.Append(t.Context(), "pbf.home.attic.a", 0, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("an append: %v", err)
			}
			if _, err := s.Connected(); !errors.Is(err, ErrClosed) {
				t.Errorf("connected: %v", err)
			}
			if _, err := s.Listen("x", nil); !errors.Is(err, ErrClosed) {
				t.Errorf("listen: %v", err)
			}
			// The client's own goroutines end once their connection is closed.
			until(t, "no goroutine is left", func() bool { n, _ := clientGoroutines(); return n == 0 })
		})
	}
	t.Run("no greeting", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		o := h.options()
		o.URLs = []string{"nats://" + silent.Addr().String()}
		start := time.Now()
		if _, err := Open(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if time.Since(start) > connectTimeout/2 {
			t.Error("Open did not end with its context")
		}
		until(t, "no goroutine is left", func() bool { n, _ := clientGoroutines(); return n == 0 })
	})
}

// readNumbers reads the messages 0 to n-1 in their order, and returns how often the reader was restarted.
func readNumbers(ctx context.Context, t *testing.T, r *Reader, n int) (restarts int) {
	t.Helper()
	for i := 0; i < n; {
		m, err := r.Next(ctx)
		if errors.Is(err, ErrRestarted) {
			restarts++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) != fmt.Sprint(i) || m.Seq != uint64(i+1) {
			t.Fatalf("message %d is %q, not %d", m.Seq, m.Data, i)
		}
		i++
	}
	return restarts
}
