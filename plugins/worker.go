package plugins

// This file runs an action: a durable cursor on its queue, one job after the other, with retries.
// Jobs that fail for good become dead letters.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
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
	err      error // the last failure; nil if the last job was done
	attempts int   // of the current job
	degraded error
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
	sub, err := w.p.s.bus.Subscribe(ctx, cursorName(w.p.id, w.spec.key), queueTopic(w.p.id, w.spec.key))
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		if e.Missed > 0 {
			w.p.mapper.count.expired.Add(e.Missed)
			w.p.traceText(w.spec.key, fmt.Sprintf("%d jobs before this one were too old or lost", e.Missed))
		}
		if err := w.one(ctx, e, action); err != nil {
			return err
		}
		if err := sub.Ack(e); err != nil {
			return err
		}
	}
}

// secret reads a secret once in the life of the action.
func (w *worker) secret(name string) (string, error) {
	if s, ok := w.secrets[name]; ok {
		return s, nil
	}
	s, err := readSecret(w.p.s.o.SecretDirs, name)
	if err != nil {
		return "", err
	}
	w.p.hide([]string{s})
	w.secrets[name] = s
	return s, nil
}

// one does a job, or gives it up. An error means that the worker is stopping.
func (w *worker) one(ctx context.Context, e bus.Event, action kind.ClosableAction) error {
	o, args, err := decodeJob(e.Payload, w.spec, w.secret)
	if absent := (*secretError)(nil); errors.As(err, &absent) {
		return err // the worker starts again, and the secret may be there then
	}
	if err != nil {
		return w.publishDeadLetter(ctx, o, err, 0)
	}
	var failed error
	wait := w.spec.retry.min
	for attempt := 1; ; attempt++ {
		if err := w.p.ownersOf(ctx, w.spec); err != nil {
			return err
		}
		if w.spec.expires > 0 && time.Since(o.At) > w.spec.expires+time.Second { // the queue counts whole seconds
			if failed != nil { // publishDeadLetter counts it
				return w.publishDeadLetter(ctx, o, fmt.Errorf("older than %s: %w", w.spec.expires, failed), attempt-1)
			}
			w.p.mapper.count.expired.Add(1)
			w.p.traceText(w.spec.key, "expired: the job is older than "+w.spec.expires.String())
			w.p.s.bus.ReportLoss(cursorName(w.p.id, w.spec.key), "expired", 1)
			w.note(nil, 0)
			return nil
		}
		err := safely(func() error { return w.do(ctx, e, o, action, args.Interface()) })
		if err == nil {
			if w.spec.kind.Hands {
				w.p.mapper.count.sent.Add(1)
				w.p.traceText(w.spec.key, "sent; the result is unknown")
			} else {
				w.p.mapper.count.done.Add(1)
				w.p.traceText(w.spec.key, "done")
			}
			w.note(nil, 0)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err = w.p.s.withPermissionHint(w.spec.kind.Name, err)
		failed = err
		w.note(err, attempt)
		w.p.mapper.count.failed.Add(1)
		w.p.mapper.fail(fmt.Errorf("%s: %w", w.spec.key, err))
		if kind.IsPermanent(err) || attempt >= w.spec.retry.attempts {
			return w.publishDeadLetter(ctx, o, err, attempt)
		}
		w.p.traceText(w.spec.key, fmt.Sprintf("failed, %s: %v", w.spec.retry.attempt(attempt), err))
		w.p.mapper.count.retried.Add(1)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(wait*3/4+rand.N(wait/2+1), kind.WaitOf(err))):
		}
		wait = min(2*wait, w.spec.retry.max)
	}
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
	text := w.p.redact(why.Error())
	w.p.log.Warn("action failed for good", "action", w.spec.key, "attempts", attempts, "err", text, "dead_letter", deadTopic(w.p.id))
	w.p.traceText(w.spec.key, "gave up: "+text)
	payload, err := json.Marshal(deadLetter{w.p.id, w.spec.key, o.At, o.Args, text, attempts})
	if err != nil {
		return err
	}
	w.note(why, 0)
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

// stop ends the worker; the next one repeats the current job.
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
