package plugins

// This file edits plugin files in all ways in which editors save, at random and for a long time,
// while events pass through them. The sequence numbers of the events show whether one was lost,
// repeated or mapped twice.

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var tortureEdits = flag.Int("torture.edits", 1000, "edits of TestTorture")

// editor saves, breaks, removes and restores files of a folder.
type editor struct {
	t   *testing.T
	rng *rand.Rand
	dir string
	n   int
}

func (e *editor) must(err error) {
	if err != nil {
		e.t.Helper()
		e.t.Error(err)
	}
}

// save writes a file in one of these ways.
func (e *editor) save(name, text string) {
	file := filepath.Join(e.dir, name)
	e.n++
	switch e.rng.IntN(5) {
	case 0: // truncate and write, in two steps
		f, err := os.Create(file)
		e.must(err)
		if err != nil {
			return
		}
		half := len(halfOf(text))
		_, err = f.WriteString(text[:half])
		e.must(err)
		runtime.Gosched()
		_, err = f.WriteString(text[half:])
		e.must(err)
		e.must(f.Close())
	case 1: // write and rename
		e.must(os.WriteFile(file+".tmp", []byte(text), 0o644))
		e.must(os.Rename(file+".tmp", file))
	case 2: // vim: the old one becomes a backup, a new one is written
		_ = os.Rename(file, file+"~")
		e.must(os.WriteFile(file, []byte(text), 0o644))
		_ = os.Remove(file + "~")
	case 3: // sed -i: a temporary file in the folder
		tmp := filepath.Join(e.dir, fmt.Sprintf("sed%06d", e.n))
		e.must(os.WriteFile(tmp, []byte(text), 0o644))
		e.must(os.Rename(tmp, file))
	case 4: // a symbolic link into another folder is swapped
		real := filepath.Join(filepath.Dir(e.dir), fmt.Sprintf("real%06d", e.n))
		e.must(os.WriteFile(real, []byte(text), 0o644))
		link := file + ".link"
		e.must(os.Symlink(real, link))
		e.must(os.Rename(link, file))
	}
}

// replaceFolder replaces the folder with a copy.
func (e *editor) replaceFolder() {
	fresh := e.dir + ".new"
	e.must(os.Mkdir(fresh, 0o755))
	list, err := os.ReadDir(e.dir)
	e.must(err)
	for _, f := range list {
		data, err := os.ReadFile(filepath.Join(e.dir, f.Name()))
		if err == nil {
			e.must(os.WriteFile(filepath.Join(fresh, f.Name()), data, 0o644))
		}
	}
	e.must(os.Rename(e.dir, e.dir+".old"))
	e.must(os.Rename(fresh, e.dir))
	e.must(os.RemoveAll(e.dir + ".old"))
}

func tortured(id string, generation int, rng *rand.Rand) string {
	source := ""
	if rng.IntN(4) == 0 { // a changed source
		source = fmt.Sprintf(", ratio: 0.%d", 1+rng.IntN(4))
	}
	return fmt.Sprintf("source: {probe: {name: %s%s}}\npublish:\n  - topic: out/%s\n    payload: {n: \"${event.value}\", g: %d}\n", id, source, id, generation)
}

// halfOf is the first part of a file, which is not a valid file.
func halfOf(text string) string {
	if i := strings.Index(text, `{n: "`); i > 0 {
		return text[:i+5]
	}
	return text[:len(text)/2]
}

func broken(text string, rng *rand.Rand) string {
	return []string{
		strings.Replace(text, "topic", "topik", 1),
		strings.Replace(text, "event.value", "event.valeu", 1),
		strings.Replace(text, "}}\n", "}\n", 1),
		halfOf(text),
		strings.Replace(text, "source:", "sauce:", 1),
		text + text,
		"",
	}[rng.IntN(7)]
}

func TestTorture(t *testing.T) {
	edits := *tortureEdits
	if testing.Short() {
		edits = min(edits, 100)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, Options{Quiet: 10 * time.Millisecond})
	before := runtime.NumGoroutine()
	check := newSequences(w)
	var ids []string
	want := map[string]string{} // content of each edited file; "" when it does not exist
	for i := range 10 {
		id := fmt.Sprintf("e%d", i)
		if i >= 5 {
			id = fmt.Sprintf("untouched%d", i)
		}
		ids = append(ids, id)
		want[id] = tortured(id, 0, rng)
		w.write(id+".yaml", want[id])
		w.is(id, StateRunning)
	}
	feed := w.feed(ids, 5*time.Millisecond)

	e := &editor{t: t, rng: rng, dir: w.dir}
	for n := 1; n <= edits; n++ {
		id := ids[rng.IntN(5)]
		name := id + ".yaml"
		switch k := rng.IntN(20); {
		case k < 9:
			want[id] = tortured(id, n, rng)
			e.save(name, want[id])
		case k < 14:
			want[id] = broken(tortured(id, n, rng), rng)
			e.save(name, want[id])
		case k < 16:
			_ = os.Remove(filepath.Join(w.dir, name))
			want[id] = ""
		case k < 17: // renamed away and back
			if os.Rename(filepath.Join(w.dir, name), filepath.Join(w.dir, name+".off")) == nil {
				time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
				e.must(os.Rename(filepath.Join(w.dir, name+".off"), filepath.Join(w.dir, name)))
			}
		case k < 18 && n%5 == 0:
			e.replaceFolder()
		default:
			want[id] = tortured(id, n, rng)
			e.save(name, want[id])
		}
		time.Sleep(time.Duration(rng.IntN(16)) * time.Millisecond) // the pace of the edits is part of the test
	}

	c := &Checker{Catalog: w.cat, Dir: w.dir, Host: "test"}
	for id, text := range want {
		until(t, "what runs is what the folder says of "+id, func() bool {
			st, ok := w.s.Get(id)
			_, err := os.Lstat(filepath.Join(w.dir, id+".yaml"))
			there := err == nil
			if !there {
				return !ok
			}
			spec, errs := c.Check(id, "x", []byte(text))
			switch {
			case !ok:
				return false
			case errs == nil:
				return st.State == StateRunning && st.Hash == spec.Hash
			default:
				return (st.State == StateRejected || st.State == StateStale) && len(st.Errors) == len(errs) && (st.Errors[0].Line > 0 && st.Errors[0].Col > 0)
			}
		})
	}
	// All edited plugins get a valid file, so that waiting events can pass.
	for _, id := range ids[:5] {
		w.write(id+".yaml", tortured(id, 1_000_000, rng))
	}
	for _, id := range ids {
		w.is(id, StateRunning)
	}
	sent := feed()
	check.complete(sent)
	for id, n := range sent {
		if strings.HasPrefix(id, "untouched") && n < uint64(edits)/10 {
			t.Errorf("only %d events of %s went through", n, id)
		}
	}
	w.stop()
	check.sink.sub.Close()
	until(t, "nothing is left running", func() bool { return runtime.NumGoroutine() <= before })
}

// feed posts numbered events to each probe until end is called. It posts each one until it is
// settled, as a source with an upstream would. end returns how many there were.
func (w *world) feed(ids []string, every time.Duration) (end func() map[string]uint64) {
	stop := make(chan struct{})
	var tasks sync.WaitGroup
	var mu sync.Mutex
	sent := map[string]uint64{}
	for _, id := range ids {
		tasks.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for n := uint64(1); ; n++ {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				done := make(chan error, 1)
				for {
					w.probes.mu.Lock()
					post := w.probes.posts[id]
					w.probes.mu.Unlock()
					if post(map[string]any{"value": int(n)}, func(err error) { done <- err }) == nil && <-done == nil {
						break
					}
					time.Sleep(time.Millisecond)
				}
				mu.Lock()
				sent[id] = n
				mu.Unlock()
			}
		})
	}
	return func() map[string]uint64 {
		close(stop)
		tasks.Wait()
		return maps.Clone(sent)
	}
}

// sequences checks the numbers on out/#.
type sequences struct {
	t    *testing.T
	sink *sink
	mu   sync.Mutex
	last map[string]uint64
	bad  []string
}

func newSequences(w *world) *sequences {
	s := &sequences{t: w.t, sink: w.subscribe("out/#"), last: map[string]uint64{}}
	go func() {
		for {
			e, err := s.sink.sub.Next(context.Background())
			if err != nil {
				return
			}
			var p struct{ N, G uint64 }
			err = json.Unmarshal(e.Payload, &p)
			id := strings.TrimPrefix(e.Topic, "out/")
			s.mu.Lock()
			if err != nil || p.N != s.last[id]+1 {
				s.bad = append(s.bad, fmt.Sprintf("%s: %d follows %d (generation %d)", id, p.N, s.last[id], p.G))
			}
			s.last[id] = p.N
			s.mu.Unlock()
			s.sink.sub.Ack(e)
		}
	}()
	return s
}

func (s *sequences) complete(sent map[string]uint64) {
	s.t.Helper()
	until(s.t, "all that was sent has come", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for id, n := range sent {
			if s.last[id] < n {
				return false
			}
		}
		return true
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bad) > 0 {
		s.t.Errorf("%d breaks: %s", len(s.bad), strings.Join(s.bad[:min(len(s.bad), 10)], "; "))
	}
	var all uint64
	for _, id := range slices.Sorted(maps.Keys(sent)) {
		all += sent[id]
	}
	s.t.Logf("%d events, none lost, none twice", all)
}

func TestReloadsLeakNothing(t *testing.T) {
	reloads := 1000
	if testing.Short() {
		reloads = 50
	}
	w := newWorld(t, Options{Quiet: time.Millisecond})
	text := func(n int) string {
		return fmt.Sprintf("# %d\nsource: {probe: {name: a, port: %d, ratio: 0.%d}}\npublish: [{topic: x}]\nactions: [{note: {title: \"%d\", where: \"%d\"}}]\n", n, 1+n%3, 1+n%4, n, n%5)
	}
	w.write("a.yaml", text(0))
	w.is("a", StateRunning, generation(1))
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	for n := 1; n <= reloads; n++ {
		w.write("a.yaml", text(n))
		w.is("a", StateRunning, generation(n+1))
	}
	until(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= goroutines })
	if now := openFiles(t); now > files {
		t.Errorf("%d descriptors, %d before", now, files)
	}
	w.probes.mu.Lock()
	defer w.probes.mu.Unlock()
	if w.probes.opened["a"] != w.probes.closed["a"]+1 {
		t.Errorf("opened %d times, closed %d times", w.probes.opened["a"], w.probes.closed["a"])
	}
}

// openFiles is the number of descriptors of this process; 0 if it is unknown.
func openFiles(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Logf("descriptors are not counted: %v", err)
		return 0
	}
	return len(list)
}
