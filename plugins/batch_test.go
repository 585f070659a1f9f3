package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/kind"
)

// gatherOptions are the options of the kind "gather", an action with batches.
type gatherOptions struct {
	Batch kind.Batch `key:"batch" doc:"the batches"`
}

// gatherer is what the instances of gather share: do executes a batch. It is called by one
// goroutine at a time.
type gatherer struct {
	mu    sync.Mutex
	do    func(ctx context.Context, jobs []kind.Job[probeArgs]) (int, error)
	calls [][]string          // the titles of each call
	done  []string            // titles, in order
	ids   map[string][]string // by title
}

type gatherAction struct {
	o   gatherOptions
	all *gatherer
}

func (a *gatherAction) Batch() kind.Batch { return a.o.Batch }

func (a *gatherAction) DoAll(ctx context.Context, jobs []kind.Job[probeArgs]) (done int, err error) {
	g := a.all
	g.mu.Lock()
	do := g.do
	var titles []string
	for _, j := range jobs {
		titles = append(titles, j.Args.Title)
		g.ids[j.Args.Title] = append(g.ids[j.Args.Title], j.ID)
	}
	g.calls = append(g.calls, titles)
	g.mu.Unlock()
	done, err = len(jobs), nil
	if do != nil {
		done, err = do(ctx, jobs)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = append(g.done, titles[:min(max(done, 0), len(titles))]...)
	return done, err
}

func (g *gatherer) set(do func(ctx context.Context, jobs []kind.Job[probeArgs]) (int, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.do = do
}

func (g *gatherer) isDone(n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.done) == n
}

// newGathering is a world with an action gather and a plugin "a" with that entry.
func newGathering(t *testing.T, entry string) (*world, *gatherer) {
	w := newWorld(t, Options{})
	w.stop()
	g := &gatherer{ids: map[string][]string{}}
	w.cat.actions["gather"] = kind.BatchActionOf("gather", "Gathers.", "", gatherOptions{Batch: kind.Batch{Count: 100, Bytes: 1 << 20}}, func(o gatherOptions, _ kind.Env) *gatherAction {
		return &gatherAction{o, g}
	})
	w.start()
	w.write("a.yaml", "source: {probe: {name: a}}\nactions:\n  - "+strings.ReplaceAll(strings.TrimSpace(entry), "\n", "\n    ")+"\n")
	w.is("a", StateRunning)
	return w, g
}

// titles are those of the events from..to.
func titles(from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

// post posts the events from..to.
func (g *gatherer) post(t *testing.T, w *world, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		w.probes.post(t, "a", map[string]any{"value": i})
	}
}

// gathering takes batches of exactly that many events, so that what a test sees is independent of
// time.
func gathering(count int) string {
	return fmt.Sprintf(`
gather: {title: "${event.value}", level: "${event.json.level ?? 0}", batch: {count: %d, every: 1h}}
expires: 1h
retry: {attempts: 3, backoff: 1ms..5ms}
`, count)
}

func TestABatch(t *testing.T) {
	w, g := newGathering(t, gathering(10))
	g.post(t, w, 1, 29)
	until(t, "two batches are done", func() bool { return g.isDone(20) })
	if c := w.is("a", StateRunning).Counters; c.Done != 20 {
		t.Errorf("%d are done, want 20: the others wait", c.Done)
	}
	g.post(t, w, 30, 30)
	until(t, "the third is full", func() bool { return g.isDone(30) })
	if !slices.Equal(g.done, titles(1, 30)) || len(g.calls) != 3 {
		t.Errorf("%v", g.calls)
	}
}

// TestABatchOfWhatThereIs: with every: 0s the queue's length makes the batch.
func TestABatchOfWhatThereIs(t *testing.T) {
	w, g := newGathering(t, `gather: {title: "${event.value}", batch: {count: 10}}`)
	let := make(chan struct{})
	g.set(func(_ context.Context, jobs []kind.Job[probeArgs]) (int, error) {
		<-let
		return len(jobs), nil
	})
	g.post(t, w, 1, 25)
	close(let)
	until(t, "all are done", func() bool { return g.isDone(25) })
	if !slices.Equal(g.done, titles(1, 25)) || slices.ContainsFunc(g.calls, func(c []string) bool { return len(c) > 10 }) || len(g.calls) > 5 {
		t.Errorf("%v", g.calls) // 1 and some of 24, which are there when it is done: at least 3 calls
	}
}

func TestABatchWaits(t *testing.T) {
	w, g := newGathering(t, `gather: {title: "${event.value}", batch: {count: 100, every: 10ms}}`)
	g.post(t, w, 1, 3)
	until(t, "an incomplete batch is done", func() bool { return g.isDone(3) })
}

// TestABatchThatWouldExpire does not wait for that.
func TestABatchThatWouldExpire(t *testing.T) {
	w, g := newGathering(t, strings.Replace(gathering(10), "expires: 1h", "expires: 4s", 1))
	g.post(t, w, 1, 1)
	until(t, "it is done or expired", func() bool {
		st, _ := w.s.Get("a")
		return st.Counters.Done+st.Counters.Expired == 1
	})
	if !g.isDone(1) {
		t.Error("it expired")
	}
}

// TestTheSizeOfABatch: an event that is larger than a batch is executed alone, in its turn.
func TestTheSizeOfABatch(t *testing.T) {
	w, g := newGathering(t, `gather: {title: "${event.value}", body: "${event.text}", batch: {count: 6, bytes: 4KiB, every: 1h}}`)
	for i, size := range []int{1500, 1500, 1500, 5000, 10, 10, 10, 10, 10, 10} {
		w.probes.post(t, "a", map[string]any{"value": i, "text": strings.Repeat("x", size)})
	}
	until(t, "all are done", func() bool { return g.isDone(10) })
	want := [][]string{{"0", "1"}, {"2"}, {"3"}, titles(4, 9)}
	if fmt.Sprint(g.calls) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", g.calls, want)
	}
}

// TestPoisonInABatch: the neighbours of a job that fails for good are done, in order, however exactly
// the action can tell which job failed.
func TestPoisonInABatch(t *testing.T) {
	poisoned := func(j kind.Job[probeArgs]) bool {
		return j.Args.Title == "7" || j.Args.Title == "8" || j.Args.Title == "16"
	}
	for name, do := range map[string]func([]kind.Job[probeArgs]) (int, error){
		"the action says which": func(jobs []kind.Job[probeArgs]) (int, error) {
			for i, j := range jobs {
				if poisoned(j) {
					return i, kind.Permanent(errors.New("refused"))
				}
			}
			return len(jobs), nil
		},
		"the action does all or none": func(jobs []kind.Job[probeArgs]) (int, error) {
			if slices.ContainsFunc(jobs, poisoned) {
				return 0, kind.Permanent(errors.New("refused"))
			}
			return len(jobs), nil
		},
		"the action does all or none, and would retry": func(jobs []kind.Job[probeArgs]) (int, error) {
			if slices.ContainsFunc(jobs, poisoned) {
				return 0, errors.New("refused")
			}
			return len(jobs), nil
		},
		"the action panics": func(jobs []kind.Job[probeArgs]) (int, error) {
			if slices.ContainsFunc(jobs, poisoned) {
				panic("refused")
			}
			return len(jobs), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, g := newGathering(t, gathering(16))
			dead := w.subscribe("$bus/dead/a")
			g.set(func(_ context.Context, jobs []kind.Job[probeArgs]) (int, error) { return do(jobs) })
			g.post(t, w, 1, 16)
			for _, title := range []string{"7", "8", "16"} {
				d := decode(t, dead.next().Payload)
				if fmt.Sprint(d["args"].(map[string]any)["title"]) != title || !strings.HasSuffix(d["error"].(string), "refused") {
					t.Errorf("%v, want the job %s", d, title)
				}
			}
			dead.quiet()
			want := slices.DeleteFunc(titles(1, 15), func(s string) bool { return s == "7" || s == "8" })
			until(t, "the others are done", func() bool { return g.isDone(13) })
			if !slices.Equal(g.done, want) {
				t.Errorf("%v", g.done)
			}
			if n := len(g.calls); n > 45 { // three searches among 16, each with up to 3 attempts of each step
				t.Errorf("%d calls: %v", n, g.calls)
			}
			until(t, "they are counted", func() bool {
				st, _ := w.s.Get("a")
				return st.Counters.Dead == 3 && st.Counters.Done == 13
			})
			g.post(t, w, 21, 36) // what follows is a batch again
			until(t, "the next batch is done", func() bool { return g.isDone(29) })
			if last := g.calls[len(g.calls)-1]; !slices.Equal(last, titles(21, 36)) {
				t.Errorf("then %v", last)
			}
		})
	}
}

// TestAnUndecodableJobInABatch neither blocks nor takes its neighbours along.
func TestAnUndecodableJobInABatch(t *testing.T) {
	w, g := newGathering(t, gathering(5))
	dead := w.subscribe("$bus/dead/a")
	for i := 1; i <= 5; i++ {
		w.probes.post(t, "a", map[string]any{"value": i, "json": map[string]any{"level": map[bool]int{true: 11}[i == 3]}})
	}
	if d := decode(t, dead.next().Payload); d["error"] != "level: want 0 to 10, got 11" {
		t.Errorf("%v", d)
	}
	until(t, "the others are done", func() bool { return g.isDone(4) })
	if !slices.Equal(g.done, []string{"1", "2", "4", "5"}) {
		t.Errorf("%v", g.done)
	}
}

// TestAFailureInABatch: what is done before a failure is acknowledged and not repeated, also when the
// worker is stopped then; the rest is repeated with the same ids.
func TestAFailureInABatch(t *testing.T) {
	w, g := newGathering(t, strings.Replace(gathering(10), "attempts: 3", "attempts: 1000", 1))
	g.set(func(_ context.Context, jobs []kind.Job[probeArgs]) (int, error) {
		if i := slices.IndexFunc(jobs, func(j kind.Job[probeArgs]) bool { return j.Args.Title == "5" }); i >= 0 {
			return i, errors.New("away")
		}
		return len(jobs), nil
	})
	g.post(t, w, 1, 10)
	w.is("a", StateDegraded, func(s Status) bool {
		return strings.Contains(s.Reason, "away") && strings.Contains(s.Reason, "attempt 3 of 1000") && s.Counters.Done == 4 && s.Counters.Dead == 0
	})
	w.stop()
	g.set(nil)
	w.start()
	g.post(t, w, 11, 14)
	until(t, "all are done", func() bool { return g.isDone(14) })
	if !slices.Equal(g.done, titles(1, 14)) {
		t.Errorf("%v", g.done)
	}
	var all []string
	for title, ids := range g.ids {
		if slices.Sort(ids); ids[0] != ids[len(ids)-1] {
			t.Errorf("job %s has the ids %v", title, slices.Compact(ids))
		}
		all = append(all, ids[0])
	}
	if slices.Sort(all); len(slices.Compact(all)) != 14 {
		t.Errorf("%v", all)
	}
	w.is("a", StateRunning)
}

// TestABatchThatIsStopped: an action that is told to stop in the middle of a batch has what it did
// acknowledged.
func TestABatchThatIsStopped(t *testing.T) {
	w, g := newGathering(t, gathering(10))
	began := make(chan struct{})
	g.set(func(ctx context.Context, jobs []kind.Job[probeArgs]) (int, error) {
		close(began)
		<-ctx.Done()
		return 6, ctx.Err()
	})
	g.post(t, w, 1, 10)
	<-began
	w.stop()
	g.set(nil)
	w.start()
	g.post(t, w, 11, 16)
	until(t, "all are done", func() bool { return g.isDone(16) })
	if !slices.Equal(g.done, titles(1, 16)) {
		t.Errorf("%v", g.done)
	}
}

// TestExpiryInABatch: each job has its own time, also while the batch is retried.
func TestExpiryInABatch(t *testing.T) {
	w, g := newGathering(t, strings.NewReplacer("expires: 1h", "expires: 3s", "attempts: 3", "attempts: 1000", "every: 1h", "every: 20ms").Replace(gathering(3)))
	dead := w.subscribe("$bus/dead/a")
	g.set(func(context.Context, []kind.Job[probeArgs]) (int, error) { return 0, errors.New("away") })
	g.post(t, w, 1, 2)
	if d := decode(t, dead.next().Payload); d["error"] != "older than 3s: away" || fmt.Sprint(d["args"].(map[string]any)["title"]) != "1" {
		t.Errorf("%v", d)
	}
	until(t, "the second expires", func() bool {
		st, _ := w.s.Get("a")
		return st.Counters.Dead+st.Counters.Expired == 2
	})
	g.set(nil)
	g.post(t, w, 3, 3)
	until(t, "a new one is done", func() bool { return g.isDone(1) })
}

// TestAnActionThatLies about how many jobs it did cannot lose one, or make the worker panic.
func TestAnActionThatLies(t *testing.T) {
	for _, answer := range []int{-3, 0, 2, 99} {
		t.Run(fmt.Sprint(answer), func(t *testing.T) {
			w, g := newGathering(t, gathering(5))
			first := true
			g.set(func(_ context.Context, jobs []kind.Job[probeArgs]) (int, error) {
				if first {
					first = false
					return answer, nil
				}
				return len(jobs), nil
			})
			g.post(t, w, 1, 5)
			until(t, "all are done", func() bool { return g.isDone(5) })
			if !slices.Equal(g.done, titles(1, 5)) {
				t.Errorf("%v", g.done)
			}
		})
	}
}

// TestTheIDOfAJob: an event of the journal that is mapped again has the ids that it had, one for each
// element; another action and another bus have others.
func TestTheIDOfAJob(t *testing.T) {
	w := newWorld(t, Options{})
	w.stop()
	g := &gatherer{ids: map[string][]string{}}
	w.cat.actions["gather"] = kind.BatchActionOf("gather", "Gathers.", "", gatherOptions{Batch: kind.Batch{Count: 100}}, func(o gatherOptions, _ kind.Env) *gatherAction {
		return &gatherAction{o, g}
	})
	w.start()
	w.write("a.yaml", `
source: {mqtt: {topics: [x]}}
actions:
  - each: event.json
    gather: {title: "${item}"}
  - name: other
    gather: {title: "other ${event.text}"}
`)
	w.is("a", StateRunning)
	for range 2 {
		if _, err := w.bus.Publish(t.Context(), bus.Event{Topic: "x", Payload: []byte("[1,2]"), QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all are done", func() bool { return g.isDone(6) })
	seen := map[string]bool{}
	for _, ids := range g.ids {
		for _, id := range ids {
			if seen[id] || len(id) > 64 || id[0] == 'q' {
				t.Errorf("%q", id)
			}
			seen[id] = true
		}
	}
	again := queue{tag: jobTag(w.bus.Epoch(), "a", "gather")}
	for id := range seen {
		var seq, item int64
		if !strings.HasSuffix(id, again.tag) {
			continue // of the other action
		}
		if n, _ := fmt.Sscanf(id, "%d-%d-", &seq, &item); n == 2 { // mapped again: another record in the queue
			if got := again.jobID(&queued{event: bus.Event{Seq: 12345}, job: job{Seq: uint64(seq), Item: item}}); got != id {
				t.Errorf("%q, then %q", id, got)
			}
		}
	}
	tags := map[string]bool{again.tag: true, jobTag([16]byte{1}, "a", "gather"): true, jobTag(w.bus.Epoch(), "b", "gather"): true, jobTag(w.bus.Epoch(), "a", "other"): true}
	if len(tags) != 4 {
		t.Errorf("%v", tags)
	}
}
