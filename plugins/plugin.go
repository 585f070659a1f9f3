package plugins

// This file is one plugin's life: it is brought from what runs to what its file says, one step at a
// time, in a goroutine of its own.

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

// goal is what the folder says of a plugin.
type goal struct {
	file     string
	hash     string          // of the file on disk
	spec     *Spec           // of the newest good version; nil: there is none
	errors   yamlnode.Errors // of the file on disk
	approve  []string        // what waits for consent
	pending  *Spec           // and the version that waits
	disabled bool
	gone     bool
}

// plugin is one configured file with what runs of it.
type plugin struct {
	id     string
	s      *Supervisor
	log    *slog.Logger
	mapper *mapper
	stuck  atomic.Int32
	signal chan struct{}
	done   chan struct{}

	holdMu  sync.Mutex
	held    map[string]*held
	handing chan struct{} // while a source follows another one; closed then

	mu         sync.Mutex
	goal       goal
	running    *Spec // nil: stopped
	generation int
	runners    []*runner
	workers    []*worker
	startErr   error // why the newest version does not run
	tried      string
	over       bool  // it has ended for good
	phase      State // starting and stopping; else ""
	state      State // as it was told last
	since      time.Time
	secrets    redactor
	told       string // the state's JSON as it was told last

	// These are run's: what was logged of rules that fail.
	failures uint64
	failure  string
	failedAt time.Time
}

func newPlugin(s *Supervisor, id string) *plugin {
	p := &plugin{id: id, s: s, log: s.o.Logger.With("plugin", id), signal: make(chan struct{}, 1), done: make(chan struct{}), held: map[string]*held{}}
	p.mapper = newMapper(id, s.o.Host, s.o.Env, s.bus, p.log)
	p.mapper.trace = p.tracer
	p.mapper.memory = p.loadMemory()
	return p
}

// changed makes the plugin look at itself.
func (p *plugin) changed() {
	select {
	case p.signal <- struct{}{}:
	default:
	}
}

// aim sets the goal. It is false when the plugin has ended: a new one has to take its place.
func (p *plugin) aim(g goal) bool {
	p.mu.Lock()
	over := p.over
	p.goal = g
	p.mu.Unlock()
	p.changed()
	return !over
}

// finish ends the plugin's life, unless its file came back in the meantime.
func (p *plugin) finish() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.goal.gone {
		p.changed()
		return false
	}
	p.over = true
	p.s.bus.Announce(stateTopic(p.id), nil) // before a new plugin of this name can tell its state
	return true
}

// run lives until ctx ends or the file is gone.
func (p *plugin) run(ctx context.Context) {
	defer close(p.done)
	defer p.s.forget(p)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.halt()
			p.mapper.close(p.s.patience())
			p.saveMemory()
			return
		case <-p.signal:
		case <-tick.C:
			p.saveMemory()
			p.sayFailure()
		}
		p.mu.Lock()
		g := p.goal
		p.mu.Unlock()
		switch {
		case g.gone:
			p.halt()
			if !p.finish() {
				continue // the file is back
			}
			p.mapper.close(p.s.patience())
			p.log.Info("plugin removed")
			return
		case g.spec == nil: // disabled, refused, or not approved (any more)
			p.halt()
		default:
			if err := safely(func() error { p.bring(ctx, g.spec); return nil }); err != nil { // a mistake of the program
				p.s.printPanic("starting "+p.id, err)
				p.mu.Lock()
				p.phase, p.startErr, p.tried = "", err, g.spec.Hash
				p.mu.Unlock()
			}
		}
		p.tell()
	}
}

// sayFailure logs that rules fail: at once, another error a minute later, and the same one every ten minutes while it goes on.
func (p *plugin) sayFailure() {
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
		return
	}
	p.log.Warn("events are lost to a rule that fails", "err", text, "events", n-p.failures, "hint", "postbus plugin trace "+p.id)
	p.failures, p.failure, p.failedAt = n, text, time.Now()
}

// bring makes the plugin run the spec, unless it does or could not.
func (p *plugin) bring(ctx context.Context, next *Spec) {
	p.mu.Lock()
	same := p.running != nil && p.running.Hash == next.Hash || p.startErr != nil && p.tried == next.Hash
	p.mu.Unlock()
	if same {
		return
	}
	p.setPhase(StateStarting)
	if !p.openQueues(ctx, next) {
		return // the program stops
	}
	err := p.apply(next)
	p.mu.Lock()
	p.phase, p.startErr, p.tried = "", err, next.Hash
	if err == nil {
		p.running = next
		p.generation++
	}
	generation := p.generation
	p.mu.Unlock()
	if err != nil {
		p.log.Error("plugin not changed: the former version goes on", "generation", generation, "err", p.redact(err.Error()))
		return
	}
	p.log.Info("plugin runs", "generation", generation, "file", next.File)
	if events := next.entities(p.s.o.Host); len(events) > 0 {
		_ = p.mapper.announce(ctx, events) // an error means that the program stops
	}
}

// apply replaces what runs by next. On an error what ran runs.
func (p *plugin) apply(next *Spec) error {
	keep, add, drop := p.compare(next)
	if p.running == nil { // nothing to go back to: each source is tried until it starts
		p.mapper.swap(next)
		for _, s := range add {
			r := p.newRunner(s)
			keep = append(keep, r)
			r.start(nil)
		}
		p.setRunners(keep)
		p.work(next)
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

// applyInTurn stops the old sources first: both need a thing that can be held once.
func (p *plugin) applyInTurn(next *Spec, keep []*runner, add []*sourceSpec, drop []*runner) (err error) {
	p.keepHeld(func() {
		p.stopRunners(drop)
		var fresh []*runner
		var srcs []any
		if fresh, srcs, err = p.openAll(add); err != nil {
			for _, r := range drop { // back to what was
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
	p.mapper.swap(next)
	p.setRunners(runners)
	p.work(next)
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

// compare finds which sources stay open, which come and which go.
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

// ownersOf waits until the sources that share something with an action have it: a port is opened as the source wants it, also
// when there is an order in the queue already.
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

// work brings the actions to what next says. Those that stay are not touched.
func (p *plugin) work(next *Spec) {
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

// openQueues makes the durable places of actions, before an event can come for them. It waits for a disk
// that refuses, and is false when ctx ends first.
func (p *plugin) openQueues(ctx context.Context, next *Spec) bool {
	for _, r := range next.rules {
		if r.action == nil || slices.Contains(p.s.bus.Names(cursorName(p.id, r.action.key)), cursorName(p.id, r.action.key)) {
			continue
		}
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
			sub, err := p.s.bus.Subscribe(ctx, cursorName(p.id, r.action.key), queueTopic(p.id, r.action.key))
			if err == nil {
				sub.Close()
				break
			}
			p.mapper.flow.disk.Store(&err)
			p.tell()
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

// dropQueue ends the queue of an action that the file has no more.
func (p *plugin) dropQueue(key string) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := p.s.bus.Unsubscribe(ctx, cursorName(p.id, key)); err != nil && !errors.Is(err, bus.ErrNoSession) {
		p.log.Warn("queue of a former action not dropped", "action", key, "err", err)
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

// halt stops everything.
func (p *plugin) halt() {
	p.mu.Lock()
	runners, workers, was := p.runners, p.workers, p.running
	p.mu.Unlock()
	if was == nil {
		return
	}
	p.setPhase(StateStopping)
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
	p.tell()
}

// hide adds secrets to those that are not shown.
func (p *plugin) hide(secrets []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secrets = newRedactor(append(secrets, p.secrets.secrets...))
}

// secretLog is the plugin's log for what its sources and actions write: secrets are hidden in it.
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

func (p *plugin) saveMemory() {
	m := p.mapper
	m.mu.Lock()
	memory, dirty := m.memory, m.dirty
	m.dirty = false
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
		p.log.Warn("the plugin's state is not saved yet", "err", err)
		m.mu.Lock()
		m.dirty = true
		m.mu.Unlock()
	}
}
