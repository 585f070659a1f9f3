package plugins

// This file is one plugin's lifetime. Its own goroutine changes it from the running version to its
// file's version, one step at a time.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/payload"
)

// goal is the state of the folder for one plugin.
type goal struct {
	file     string
	hash     string          // of the file on disk
	spec     *Spec           // of the newest valid version; nil: there is none
	errors   yamlnode.Errors // of the file on disk
	approve  []string        // the parts that wait for consent
	pending  *Spec           // and the version that waits
	disabled bool
	gone     bool
}

// same reports whether a plugin has nothing to do for the change from g to o.
func (g *goal) same(o *goal) bool {
	return g.file == o.file && g.hash == o.hash && g.spec == o.spec && g.pending == o.pending &&
		g.disabled == o.disabled && g.gone == o.gone && slices.Equal(g.approve, o.approve) &&
		len(g.errors) == len(o.errors) && (len(g.errors) == 0 || g.errors.Render() == o.errors.Render())
}

// plugin is one configured file with its running parts.
type plugin struct {
	id     string
	s      *Supervisor
	log    *slog.Logger
	mapper *mapper
	stuck  atomic.Int32
	signal chan struct{}
	review chan struct{} // once a second while there is something new, see reviewAll
	due    atomic.Bool   // there is, although activity is the same
	seen   activity      // at the last review; the supervisor's
	done   chan struct{}

	holdMu  sync.Mutex
	held    map[string]*held
	handing chan struct{} // closed when a source has replaced another one; nil: none does

	mu            sync.Mutex
	goal          goal
	running       *Spec // nil: stopped
	generation    int
	runners       []*runner
	workers       []*worker
	startErr      error // why the newest version does not run
	tried         string
	over          bool  // the plugin has ended for good
	phase         State // starting and stopping; otherwise ""
	state         State // as last published
	since         time.Time
	secrets       redactor
	lastPublished string // the state's JSON as last published

	// The following fields belong to run: the availability that it published, and what it logged about
	// failing rules.
	available string
	failures  uint64
	failure   string
	failedAt  time.Time
}

func newPlugin(s *Supervisor, id string) *plugin {
	p := &plugin{id: id, s: s, log: s.o.Logger.With("plugin", id), signal: make(chan struct{}, 1), review: make(chan struct{}, 1), done: make(chan struct{}), held: map[string]*held{}}
	p.mapper = newMapper(id, s.o.Host, s.o.Env, s.bus, p.log, s.o.now)
	p.mapper.trace = p.tracer
	if _, ok := s.bus.RetainedValue(availabilityTopic(id)); ok {
		p.available = availabilityUnknown // the last run may have ended by a crash, or its last word is on its way
	}
	p.mapper.engine.memory = p.loadMemory()
	p.mapper.engine.stored = p.loadKept(keysTopic(id))
	if err := p.mapper.engine.recall(p.loadKept(usesTopic(id))); err != nil {
		p.log.Error("the latest value of a topic is lost", "err", err)
	}
	return p
}

// changed wakes run.
func (p *plugin) changed() {
	select {
	case p.signal <- struct{}{}:
	default:
	}
}

// setGoal sets the goal. It returns false if the plugin has ended: a new plugin must replace it.
func (p *plugin) setGoal(g goal) bool {
	p.mu.Lock()
	over, same := p.over, p.goal.same(&g)
	p.goal = g
	p.mu.Unlock()
	if !same {
		p.changed()
	}
	return !over
}

// finish ends the plugin, unless its file has returned.
func (p *plugin) finish() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.goal.gone {
		p.changed()
		return false
	}
	p.over = true
	p.s.bus.Announce(stateTopic(p.id), nil) // before a new plugin with this id can publish its state
	return true
}

// run runs until ctx ends or the file is removed.
func (p *plugin) run(ctx context.Context) {
	defer close(p.done)
	defer p.s.forget(p)
	for {
		select {
		case <-ctx.Done():
			p.stopAll()
			p.publishAvailability()
			p.mapper.close(p.s.patience())
			p.saveMemory()
			return
		case <-p.signal:
		case <-p.review:
			p.saveMemory()
			p.logFailures()
		}
		p.s.rounds.Add(1)
		p.mu.Lock()
		g := p.goal
		p.mu.Unlock()
		switch {
		case g.gone:
			p.stopAll()
			p.publishAvailability() // before a new plugin with this id can publish its own
			if !p.finish() {
				continue // the file has returned
			}
			p.mapper.close(p.s.patience())
			p.log.Info("plugin removed")
			return
		case g.spec == nil: // disabled, refused, or not approved (any more)
			p.stopAll()
		default:
			if err := safely(func() error { p.reconcile(ctx, g.spec); return nil }); err != nil { // a bug in the program
				p.s.printPanic("starting "+p.id, err)
				p.mu.Lock()
				p.phase, p.startErr, p.tried = "", err, g.spec.version()
				p.mu.Unlock()
			}
		}
		p.publishState()
	}
}

// logFailures logs that rules fail: the first error at once, another error a minute later, and the
// same error every ten minutes while it recurs.
func (p *plugin) logFailures() {
	n := p.mapper.count.errors.Load()
	if n == p.failures {
		return
	}
	p.mapper.mu.Lock()
	err := p.mapper.lastE
	p.mapper.mu.Unlock()
	var failed *ruleError
	if !errors.As(err, &failed) {
		return
	}
	text, pause := p.redact(err.Error()), time.Minute
	if text == p.failure {
		pause *= 10
	}
	if time.Since(p.failedAt) < pause {
		p.due.Store(true) // until the pause is over
		return
	}
	p.log.Warn("events are lost because a rule fails", "err", text,
		"events", n-p.failures, "hint", "postbus plugin trace "+p.id)
	p.failures, p.failure, p.failedAt = n, text, time.Now()
}

// reconcile applies spec next unless it already runs or failed.
func (p *plugin) reconcile(ctx context.Context, next *Spec) {
	p.mu.Lock()
	same := p.running != nil && p.running.version() == next.version() || p.startErr != nil && p.tried == next.version()
	p.mu.Unlock()
	if same {
		return
	}
	p.setPhase(StateStarting)
	if !p.openQueues(ctx, next) {
		return // the program is stopping
	}
	err := p.apply(next)
	p.mu.Lock()
	p.phase, p.startErr, p.tried = "", err, next.version()
	if err == nil {
		p.running = next
		p.generation++
	}
	generation := p.generation
	p.mu.Unlock()
	if err != nil {
		p.log.Error("plugin not updated: the previous version keeps running",
			"generation", generation, "err", p.redact(err.Error()))
		return
	}
	p.dropUnread(next)
	p.log.Info("plugin started", "generation", generation, "file", next.File)
	if events := next.entities(p.s.o.Host); len(events) > 0 {
		_ = p.mapper.announce(ctx, events) // an error means that the program is stopping
	}
}

// apply replaces the running version with next. On an error the previous version runs.
func (p *plugin) apply(next *Spec) error {
	keep, add, drop := p.compare(next)
	if p.running == nil { // there is no previous version: each source is retried until it starts
		for _, s := range add {
			r := p.newRunner(s)
			r.caughtUp = p.mapper.fallBehind()
			keep = append(keep, r)
		}
		p.swap(next)
		for _, r := range keep {
			r.start(nil)
		}
		p.setRunners(keep)
		p.setActions(next)
		return nil
	}
	if slices.ContainsFunc(drop, func(r *runner) bool { return overlap(r.spec.claims, add) }) {
		return p.applyInTurn(next, keep, add, drop)
	}
	fresh, srcs, err := p.openAll(add)
	if err != nil {
		return err
	}
	p.stopRunners(drop)
	p.commit(next, append(keep, fresh...))
	for i, r := range fresh {
		r.start(srcs[i])
	}
	return nil
}

// applyInTurn stops the old sources first, because both need a resource that allows one owner.
func (p *plugin) applyInTurn(next *Spec, keep []*runner, add []*sourceSpec, drop []*runner) (err error) {
	p.keepHeld(func() {
		p.stopRunners(drop)
		var fresh []*runner
		var srcs []any
		if fresh, srcs, err = p.openAll(add); err != nil {
			for _, r := range drop { // return to the previous version
				again := p.newRunner(r.spec)
				again.start(nil)
				keep = append(keep, again)
			}
			p.setRunners(keep)
			return
		}
		p.commit(next, append(keep, fresh...))
		for i, r := range fresh {
			r.start(srcs[i])
		}
	})
	return err
}

func (p *plugin) commit(next *Spec, runners []*runner) {
	p.swap(next)
	p.setRunners(runners)
	p.setActions(next)
}

// swap makes next the version that maps.
func (p *plugin) swap(next *Spec) {
	timers, unread := p.mapper.swap(next)
	if timers > 0 {
		p.log.Warn("timers and windows dropped: their entries were edited or removed", "timers", timers, "file", next.File)
	}
	if unread != nil {
		p.log.Error("what entries kept for some keys is lost", "err", unread)
	}
}

// openAll opens every source or none.
func (p *plugin) openAll(specs []*sourceSpec) (runners []*runner, srcs []any, err error) {
	for _, s := range specs {
		r := p.newRunner(s)
		src, err := r.open(r.ctx)
		if err != nil {
			for i, o := range runners {
				_ = o.shut(srcs[i])
			}
			return nil, nil, fmt.Errorf("source %s: %w", s.kind.Name, err)
		}
		runners, srcs = append(runners, r), append(srcs, src)
	}
	return runners, srcs, nil
}

// compare finds the sources that stay open, that are added and that are removed.
func (p *plugin) compare(next *Spec) (keep []*runner, add []*sourceSpec, drop []*runner) {
	p.mu.Lock()
	drop = slices.Clone(p.runners)
	p.mu.Unlock()
	for _, s := range next.sources {
		if i := slices.IndexFunc(drop, func(r *runner) bool { return r.spec.hash == s.hash }); i >= 0 {
			keep, drop = append(keep, drop[i]), slices.Delete(drop, i, i+1)
		} else {
			add = append(add, s)
		}
	}
	return keep, add, drop
}

func overlap(claims []string, specs []*sourceSpec) bool {
	return slices.ContainsFunc(specs, func(s *sourceSpec) bool { return overlapping(s.claims, claims) })
}

// ownersOf waits until the sources that share a resource with an action have opened it, so that a
// port is opened as the source needs it, even if the queue already has a job.
func (p *plugin) ownersOf(ctx context.Context, a *actionSpec) error {
	for again := true; again; {
		p.holdMu.Lock()
		handing := p.handing
		p.holdMu.Unlock()
		p.mu.Lock()
		runners := slices.Clone(p.runners)
		p.mu.Unlock()
		again = false
		for _, r := range runners {
			if !overlapping(r.spec.claims, a.claims) {
				continue
			}
			wait := r.tried
			if handing != nil {
				wait, again = handing, true
			}
			select {
			case <-wait:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

func (p *plugin) setRunners(list []*runner) {
	p.mu.Lock()
	p.runners = list
	p.mu.Unlock()
}

func (p *plugin) stopRunners(list []*runner) {
	var wg sync.WaitGroup
	for _, r := range list {
		wg.Go(func() {
			if err := r.stop(); err != nil {
				p.log.Error(err.Error())
				p.mapper.fail(err)
			}
		})
	}
	wg.Wait()
}

// setActions sets the actions to those of next. It leaves unchanged actions alone.
func (p *plugin) setActions(next *Spec) {
	p.mu.Lock()
	old := slices.Clone(p.workers)
	p.mu.Unlock()
	var list []*worker
	var wanted []*actionSpec
	keys := map[string]bool{}
	for _, r := range next.rules {
		if r.action == nil {
			continue
		}
		keys[r.action.key] = true
		if i := slices.IndexFunc(old, func(w *worker) bool { return w.spec.key == r.action.key && w.spec.hash == r.action.hash }); i >= 0 {
			list, old = append(list, old[i]), slices.Delete(old, i, i+1)
		} else {
			wanted = append(wanted, r.action)
		}
	}
	p.stopWorkers(old)
	for _, w := range old {
		if !keys[w.spec.key] {
			p.dropQueue(w.spec.key)
		}
	}
	for _, a := range wanted {
		list = append(list, p.newWorker(a))
	}
	p.mu.Lock()
	p.workers = list
	p.mu.Unlock()
}

// openQueues makes the durable cursors of actions, and of recorded events, before an event can arrive for them. It waits
// while the disk refuses, and returns false if ctx ends first.
func (p *plugin) openQueues(ctx context.Context, next *Spec) bool {
	queues := map[string]string{}
	for _, r := range next.rules {
		if r.action != nil {
			queues[r.action.key] = queueTopic(p.id, r.action.key)
		}
	}
	if slices.ContainsFunc(next.sources, func(s *sourceSpec) bool { return s.record }) {
		queues[recordCursor] = recordedTopic(p.id)
	}
	for key, topic := range queues {
		name := cursorName(p.id, key)
		if slices.Contains(p.s.bus.Names(name), name) {
			continue
		}
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
			sub, err := p.s.bus.Subscribe(ctx, name, topic)
			if err == nil {
				sub.Close()
				break
			}
			p.mapper.flow.disk.Store(&err)
			p.publishState()
			select {
			case <-ctx.Done():
				return false
			case <-time.After(wait):
			}
		}
	}
	p.mapper.flow.disk.Store(nil)
	return true
}

// dropQueue ends the queue of an action that was removed from the file.
func (p *plugin) dropQueue(key string) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := p.s.bus.Unsubscribe(ctx, cursorName(p.id, key)); err != nil && !errors.Is(err, bus.ErrNoSession) {
		p.log.Warn("removing the queue of a former action failed", "action", key, "err", err)
	}
}

func (p *plugin) stopWorkers(list []*worker) {
	var wg sync.WaitGroup
	for _, w := range list {
		wg.Go(func() {
			if err := w.stop(); err != nil {
				p.log.Error(err.Error())
				p.mapper.fail(err)
			}
		})
	}
	wg.Wait()
}

// stopAll stops all sources and actions.
func (p *plugin) stopAll() {
	p.mu.Lock()
	runners, workers, was := p.runners, p.workers, p.running
	p.mu.Unlock()
	if was == nil {
		return
	}
	p.setPhase(StateStopping)
	p.mapper.pause()
	p.stopRunners(runners)
	p.stopWorkers(workers)
	p.mu.Lock()
	p.runners, p.workers, p.running, p.phase, p.startErr, p.tried = nil, nil, nil, "", nil, ""
	p.mu.Unlock()
}

func (p *plugin) setPhase(s State) {
	p.mu.Lock()
	p.phase = s
	p.mu.Unlock()
	p.publishState()
}

// hide adds secrets to those that are redacted.
func (p *plugin) hide(secrets []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secrets = newRedactor(append(secrets, p.secrets.secrets...))
	p.due.Store(true) // the published state may contain them
}

// secretLog is the plugin's log for its sources and actions: it redacts secrets.
func (p *plugin) secretLog() *slog.Logger {
	return slog.New(&hidingHandler{Handler: p.log.Handler(), redact: p.redact})
}

func (p *plugin) redact(s string) string {
	p.mu.Lock()
	r := p.secrets
	p.mu.Unlock()
	return r.text(s)
}

// The plugin's state ("set:") is a retained event that no client can see or set.

func memoryTopic(id string) string { return "$plugin/" + id + "/state" }

func (p *plugin) loadMemory() map[string]any {
	list, err := p.s.bus.Retained(memoryTopic(p.id))
	if err != nil || len(list) == 0 {
		return nil
	}
	v, ok := payload.JSON(list[0].Payload)
	m, is := v.(map[string]any)
	if !ok || !is && v != nil {
		p.log.Warn("the plugin's state is not readable; it starts empty")
		return nil
	}
	return m
}

// loadKept returns the values that are stored below a topic.
func (p *plugin) loadKept(prefix string) []storedValue {
	list, err := p.s.bus.Retained(prefix + "#")
	if err != nil {
		p.log.Error("what the plugin kept is lost", "err", err)
		return nil
	}
	out := make([]storedValue, len(list))
	for i, e := range list {
		out[i] = storedValue{e.Topic, e.Payload, e.Time}
	}
	return out
}

func (p *plugin) saveMemory() {
	m := p.mapper
	m.mu.Lock()
	memory, dirty := m.engine.memory, m.engine.dirty
	m.engine.dirty = false
	m.mu.Unlock()
	if !dirty {
		return
	}
	data, err := json.Marshal(wrap(memory))
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err = p.s.bus.Publish(ctx, bus.Event{Topic: memoryTopic(p.id), Payload: data, QoS: 1, Retain: true, Source: sourceName(p.id)})
	}
	if err != nil {
		p.log.Warn("saving the plugin's state failed, will retry", "err", err)
		m.mu.Lock()
		m.engine.dirty = true
		m.mu.Unlock()
	}
}
