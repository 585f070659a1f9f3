package plugins

// This file runs an action, which reads its queue by a durable cursor; batch.go executes the jobs.
// Jobs that fail for good become dead letters.

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/kind"
)

// worker does the jobs of one action of one plugin.
type worker struct {
	p      *plugin
	spec   *actionSpec
	cancel context.CancelFunc
	ended  chan struct{}

	secrets map[string]string // those that jobs needed; run's

	mu       sync.Mutex
	err      error // why the current job, or the action, fails; nil if it does not
	attempts int   // of the first job that is not done
	degraded error

	dead atomic.Uint64 // jobs that were given up
}

func (p *plugin) newWorker(a *actionSpec) *worker {
	w := &worker{p: p, spec: a, ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go func() {
		defer close(w.ended)
		for wait := backoffMin; ctx.Err() == nil; wait = min(2*wait, backoffMax) {
			if err := w.run(ctx); err != nil && ctx.Err() == nil {
				w.p.log.Warn("action not running", "action", a.key, "err", p.redact(err.Error()))
				w.note(err, 0)
			}
			select {
			case <-ctx.Done():
			case <-time.After(wait*3/4 + rand.N(wait/2)):
			}
		}
	}()
	return w
}

// cursorName is the name of the durable cursor of an action, or of a source that reads the bus.
func cursorName(id, key string) string { return "plugin/" + id + "/" + key }

func (w *worker) note(err error, attempts int) {
	w.mu.Lock()
	changed := (err == nil) != (w.err == nil)
	w.err, w.attempts = err, attempts
	w.mu.Unlock()
	if changed {
		w.p.changed()
	} else {
		w.p.due.Store(true) // attempts are published once a second at most
	}
}

func (w *worker) run(ctx context.Context) error {
	options, secrets, err := resolve(w.spec.options, w.spec.urls, w.p.s.o.SecretDirs)
	if err != nil {
		return err
	}
	w.p.hide(secrets)
	w.secrets = map[string]string{}
	surroundings := &env{p: w.p, log: w.p.secretLog().With("action", w.spec.key), options: w.spec.options, scripts: w.spec.scripts, degraded: func(err error) {
		w.mu.Lock()
		w.degraded = err
		w.mu.Unlock()
		w.p.changed()
	}}
	var action kind.ClosableAction
	if err := safely(func() error { action = w.spec.kind.NewAction(options, surroundings); return nil }); err != nil {
		return err
	}
	defer func() { _ = safely(action.Close) }()
	var bounds kind.Batch
	if err := safely(func() error { bounds = action.Batch(); return nil }); err != nil {
		return err
	}
	sub, err := w.p.s.bus.Subscribe(ctx, cursorName(w.p.id, w.spec.key), queueTopic(w.p.id, w.spec.key))
	if err != nil {
		return err
	}
	defer sub.Close()
	q := w.newQueue(sub, bounds)
	for {
		jobs, err := q.collect(ctx)
		if err != nil {
			return err
		}
		if err := q.execute(ctx, action, jobs); err != nil {
			return err
		}
	}
}

// secret reads a secret once in the life of the action.
func (w *worker) secret(name string) (string, error) {
	if s, ok := w.secrets[name]; ok {
		return s, nil
	}
	s, err := ReadSecret(w.p.s.o.SecretDirs, name)
	if err != nil {
		return "", err
	}
	w.p.hide([]string{s})
	w.secrets[name] = s
	return s, nil
}

// deadLetter is the payload on $bus/dead/<id>.
type deadLetter struct {
	Plugin   string         `json:"plugin"`
	Action   string         `json:"action"`
	At       time.Time      `json:"at"` // of the event
	Args     map[string]any `json:"args"`
	Error    string         `json:"error"`
	Attempts int            `json:"attempts"`
}

// publishDeadLetter publishes a job that cannot be done as a dead letter, which is durable before
// the job is acknowledged.
func (w *worker) publishDeadLetter(ctx context.Context, o job, why error, attempts int) error {
	w.p.mapper.count.dead.Add(1)
	w.dead.Add(1)
	text := w.p.redact(why.Error())
	w.p.log.Warn("action failed for good", "action", w.spec.key, "attempts", attempts, "err", text, "dead_letter", deadTopic(w.p.id))
	w.p.traceText(w.spec.key, "gave up: "+text)
	payload, err := json.Marshal(deadLetter{w.p.id, w.spec.key, o.At, o.Args, text, attempts})
	if err != nil {
		return err
	}
	w.note(nil, 0)
	w.p.mapper.spoil(fmt.Errorf("%s: %w", w.spec.key, why))
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		_, err := w.p.s.bus.Publish(ctx, bus.Event{Topic: deadTopic(w.p.id), Payload: []byte(w.p.redact(string(payload))), QoS: 1, Source: sourceName(w.p.id)})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func deadTopic(id string) string { return "$bus/dead/" + id }

// stop ends the worker; the next one repeats the jobs that are not acknowledged.
func (w *worker) stop() error {
	w.cancel()
	patience := w.p.s.patience()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.ended:
		return nil
	case <-timer.C:
	}
	w.p.stuck.Add(1)
	go func() {
		<-w.ended
		w.p.stuck.Add(-1)
	}()
	return fmt.Errorf("action %s did not end within %s; it is abandoned", w.spec.key, patience)
}
