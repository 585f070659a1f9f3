package plugins

// This file takes jobs from the queue of an action and executes them in batches. An action that
// executes one event at a time has batches of one.

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/kind"
)

// queued is a job that was received and is not acknowledged.
type queued struct {
	event bus.Event
	job   job
	args  any
	wrong error // why the job cannot be decoded
}

// queue is the queue of an action.
type queue struct {
	w      *worker
	sub    *bus.Subscription
	bounds kind.Batch
	held   *queued // it was too large for the batch before it
	tag    string  // see jobID
}

func (w *worker) newQueue(sub *bus.Subscription, bounds kind.Batch) *queue {
	if w.spec.expires > 0 { // no job expires because its batch waits for others
		bounds.Every = min(bounds.Every, w.spec.expires/2)
	}
	return &queue{w: w, sub: sub, bounds: bounds, tag: jobTag(w.p.s.bus.Epoch(), w.p.id, w.spec.key)}
}

// collect waits for a job, and returns it with those that may be executed together with it.
func (q *queue) collect(ctx context.Context) (jobs []queued, err error) {
	var size int64
	take := func(j *queued) (full bool) {
		jobs = append(jobs, *j)
		size += int64(len(j.event.Payload))
		return len(jobs) >= q.bounds.Count || size >= q.bounds.Bytes
	}
	if q.held == nil {
		if q.held, err = q.next(ctx); err != nil {
			return nil, err
		}
	}
	first := q.held
	q.held = nil
	if take(first) {
		return jobs, nil
	}
	waiting, cancel := context.WithTimeout(ctx, q.bounds.Every)
	defer cancel()
	for {
		j, err := q.next(waiting)
		switch {
		case err != nil && waiting.Err() != nil && ctx.Err() == nil: // it has waited long enough
			return jobs, nil
		case err != nil:
			return nil, err
		case size+int64(len(j.event.Payload)) > q.bounds.Bytes:
			q.held = j
			return jobs, nil
		case take(j):
			return jobs, nil
		}
	}
}

// next returns the next job of the queue. It returns one that is there also when ctx has ended.
func (q *queue) next(ctx context.Context) (*queued, error) {
	e, err := q.sub.Next(ctx)
	if err != nil {
		return nil, err
	}
	if e.Missed > 0 {
		q.w.p.mapper.count.expired.Add(e.Missed)
		q.w.p.traceText(q.w.spec.key, fmt.Sprintf("%d jobs before this one were too old or lost", e.Missed))
	}
	o, args, err := decodeJob(e.Payload, q.w.spec, q.w.secret)
	return &queued{e, o, args.Interface(), err}, nil
}

// jobTag tells the jobs of an action from those of all others, of this bus and of other buses.
func jobTag(epoch [16]byte, plugin, key string) string {
	sum := sha256.Sum256(fmt.Appendf(epoch[:], "%s/%s", plugin, key))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// jobID is kind.Job.ID. An event of the journal that is mapped again after a crash makes another
// record in the queue, so that the event's own sequence counts. Other events and timers have only
// the sequence of that record.
func (q *queue) jobID(j *queued) string {
	if j.job.Seq == 0 {
		return "q" + strconv.FormatUint(j.event.Seq, 10) + "-" + q.tag
	}
	return strconv.FormatUint(j.job.Seq, 10) + "-" + strconv.FormatInt(j.job.Item, 10) + "-" + q.tag
}

// tries is what the first of the jobs that are left has gone through.
type tries struct {
	attempts int           // that failed
	failed   error         // the last of them
	wait     time.Duration // before the next, doubled each time
	pause    bool          // wait now
	together int           // how many jobs are executed together
}

func (w *worker) newTries(together int) *tries {
	return &tries{wait: w.spec.retry.min, together: together}
}

// execute does the jobs of a batch, or gives them up, and acknowledges them in their order. An error
// means that the worker is stopping.
func (q *queue) execute(ctx context.Context, action kind.ClosableAction, jobs []queued) error {
	w := q.w
	t := w.newTries(len(jobs))
	for len(jobs) > 0 {
		if err := w.p.ownersOf(ctx, w.spec); err != nil {
			return err
		}
		done, err := q.advance(ctx, action, jobs, t)
		for _, j := range jobs[:done] { // also when the worker is stopping
			if err := q.sub.Ack(j.event); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		jobs = jobs[done:]
		if t.pause {
			if err := kind.Sleep(ctx, max(t.wait*3/4+rand.N(t.wait/2+1), kind.WaitOf(t.failed))); err != nil {
				return err
			}
			t.wait, t.pause = min(2*t.wait, w.spec.retry.max), false
		}
	}
	return nil
}

// advance settles some of the first jobs, or makes an attempt that fails. done is how many may be
// acknowledged.
func (q *queue) advance(ctx context.Context, action kind.ClosableAction, jobs []queued, t *tries) (done int, err error) {
	w, first := q.w, &jobs[0]
	absent := (*secretError)(nil)
	switch n := w.ready(jobs[:min(t.together, len(jobs))]); {
	case errors.As(first.wrong, &absent):
		return 0, first.wrong // the worker starts again, and the secret may be there then
	case first.wrong != nil:
		err = w.publishDeadLetter(ctx, first.job, first.wrong, 0)
	case n > 0:
		return q.attempt(ctx, action, jobs[:n], t)
	case t.failed != nil: // publishDeadLetter counts it
		err = w.publishDeadLetter(ctx, first.job, fmt.Errorf("older than %s: %w", w.spec.expires, t.failed), t.attempts)
	default:
		w.p.mapper.count.expired.Add(1)
		w.p.traceText(w.spec.key, "expired: the job is older than "+w.spec.expires.String())
		w.p.s.bus.ReportLoss(cursorName(w.p.id, w.spec.key), "expired", 1)
		w.note(nil, 0)
	}
	if err != nil {
		return 0, err
	}
	*t = *w.newTries(t.together)
	return 1, nil
}

// ready is how many jobs, from the first, can be executed: they are neither broken nor too old.
func (w *worker) ready(jobs []queued) int {
	for i, j := range jobs {
		if j.wrong != nil || w.spec.expires > 0 && time.Since(j.job.At) > w.spec.expires+time.Second { // the queue counts whole seconds
			return i
		}
	}
	return len(jobs)
}

// attempt executes jobs together. When one of them has to be given up, it first has to fail alone.
func (q *queue) attempt(ctx context.Context, action kind.ClosableAction, jobs []queued, t *tries) (done int, err error) {
	w := q.w
	done, err = q.call(ctx, action, jobs)
	if done > 0 {
		w.countDone(done)
		*t = *w.newTries(t.together)
	}
	if err == nil {
		w.note(nil, 0)
		t.together *= 2 // advance limits it to the jobs that are left
		return done, nil
	}
	if ctx.Err() != nil {
		return done, ctx.Err()
	}
	err = w.p.s.withPermissionHint(w.spec.kind.Name, err)
	w.p.mapper.count.failed.Add(1)
	w.p.mapper.fail(fmt.Errorf("%s: %w", w.spec.key, err))
	var crash *panicked
	final := kind.IsPermanent(err) || t.attempts+1 >= w.spec.retry.attempts
	switch {
	case len(jobs) > 1 && (final || errors.As(err, &crash)):
		w.p.traceText(w.spec.key, fmt.Sprintf("failed for one of %d jobs together, will try fewer: %v", len(jobs)-done, err))
		w.p.mapper.count.retried.Add(1)
		if t.together = len(jobs) / 2; done > 0 {
			t.together = 1
		}
		return done, nil
	case final:
		if err := w.publishDeadLetter(ctx, jobs[0].job, err, t.attempts+1); err != nil {
			return 0, err
		}
		*t = *w.newTries(1)
		return 1, nil
	}
	t.attempts++
	t.failed, t.pause = err, true
	w.note(err, t.attempts)
	w.p.traceText(w.spec.key, fmt.Sprintf("failed, %s: %v", w.spec.retry.attempt(t.attempts), err))
	w.p.mapper.count.retried.Add(1)
	return done, nil
}

// call calls the action, and makes its answer one of those that the contract allows.
func (q *queue) call(ctx context.Context, action kind.ClosableAction, jobs []queued) (done int, err error) {
	list := make([]kind.Job[any], len(jobs))
	var all kind.Cause
	for i := range jobs {
		e := &jobs[i].event
		list[i] = kind.Job[any]{ID: q.jobID(&jobs[i]), Cause: kind.Cause{Seq: e.Seq, Hops: e.Hops}, Args: jobs[i].args}
		if q.w.spec.answers {
			list[i].Answer = q.w.answered(&jobs[i])
		}
		all.Hops = max(all.Hops, e.Hops)
	}
	if len(list) == 1 {
		all = list[0].Cause
	}
	err = safely(func() (err error) { done, err = action.DoAll(kind.WithCause(ctx, all), list); return err })
	switch done = min(max(done, 0), len(list)); {
	case done == len(list):
		return done, nil
	case err == nil:
		err = fmt.Errorf("the action did %d of %d jobs and gave no reason", done, len(list))
	}
	return done, err
}

// countDone counts jobs that are done.
func (w *worker) countDone(n int) {
	count, text := &w.p.mapper.count.done, "done"
	if w.spec.kind.Hands {
		count, text = &w.p.mapper.count.sent, "sent; the result is unknown"
	}
	count.Add(uint64(n))
	if n > 1 {
		text = fmt.Sprintf("%d jobs together: %s", n, text)
	}
	w.p.traceText(w.spec.key, text)
}
