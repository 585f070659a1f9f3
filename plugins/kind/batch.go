package kind

// This file is the contract of an action that executes several events together.

import (
	"context"
	"io"
	"time"
)

// BatchAction executes events in batches, in the order in which they were queued. [BatchActionOf]
// declares it.
type BatchAction[A any] interface {
	// Batch returns the bounds of a batch. The engine calls it once, before DoAll.
	Batch() Batch
	// DoAll executes jobs, which are at least one, in their order. It is called at least once for
	// each. done is how many of them, counted from the first, are done: the engine acknowledges
	// those. err is nil if done is len(jobs). Otherwise it says why jobs[done] is not done, or why
	// nothing can be done now.
	//
	// After an error the engine calls DoAll again for the jobs from done on, perhaps fewer together
	// or with later ones, with increasing waits. When err is permanent ([Permanent]), when the
	// attempts are used up, and after a panic, one job has to be given up. The engine first finds out
	// which: it calls DoAll at once with fewer jobs, in the end with a single one, and only a job that
	// failed alone becomes a dead letter. So an action that cannot tell which job the other side
	// refused returns 0 and a permanent error, and the neighbours of such a job are executed.
	//
	// When ctx ends DoAll returns soon; done is right also then. The engine repeats what is not
	// acknowledged, with the same IDs, after a restart or crash too. An event that DoAll publishes for
	// one of the jobs is published with [WithCause] and the job's Cause.
	DoAll(ctx context.Context, jobs []Job[A]) (done int, err error)
}

// Job is one event for an action.
type Job[A any] struct {
	// ID identifies the job among all jobs of all actions and buses. It is the same whenever the job
	// is repeated, also when its event was mapped again after a crash of the bus, if the event is in
	// the bus's journal, and when the mapping's entry keeps its name. It has at most 64 characters:
	// ASCII letters, digits, _ and -. Another side that stores the IDs can tell repetitions.
	ID    string
	Cause Cause
	Args  A
	// Answer is nil unless entries wait for what the other side answers, see Kind.Answer. DoAll calls it
	// once before the job counts as done, with the fields of the answer, and ends with its error: nil
	// means that what the entries publish is durable.
	Answer func(ctx context.Context, fields map[string]any) error
}

// Batch bounds what is executed together. As an option with the key "batch" it is written
// {count: 500, bytes: 1MiB, every: 5s}.
type Batch struct {
	Count int           `key:"count" doc:"the maximum number of events in a batch" min:"1" max:"4096"`
	Bytes int64         `key:"bytes" doc:"the maximum size of a batch, as JSON in the queue, unless it is a single event" unit:"size" min:"1KiB" max:"16MiB"`
	Every time.Duration `key:"every" doc:"how long the first event of a batch waits for others, at most half of expires; 0s: what is queued makes a batch at once" min:"0s" max:"1h"`
}

// ClosableAction is an instance of an action for the engine. Each job's Args have the type of
// Kind.Args. Close does nothing if the action has no Close of its own.
type ClosableAction interface {
	BatchAction[any]
	io.Closer
}

// BatchActionOf declares an action that executes several events together. The arguments are a struct.
func BatchActionOf[O, A any, D BatchAction[A]](name, about, sample string, defaults O, open func(O, Env) D) *Kind {
	var args A
	return &Kind{Name: name, Action: true, About: about, Sample: sample, Options: defaults, Args: args,
		action: func(o any, e Env) ClosableAction { return untyped[A]{open(o.(O), e)} }}
}

// untyped is an action whose arguments are of type A.
type untyped[A any] struct{ BatchAction[A] }

func (u untyped[A]) DoAll(ctx context.Context, jobs []Job[any]) (int, error) {
	typed := make([]Job[A], len(jobs))
	for i, j := range jobs {
		typed[i] = Job[A]{j.ID, j.Cause, j.Args.(A), j.Answer}
	}
	return u.BatchAction.DoAll(ctx, typed)
}

func (u untyped[A]) Close() error { return closeIt(u.BatchAction) }

// single is an action that executes one event at a time.
type single[A any] struct{ Action[A] }

func (s single[A]) Batch() Batch { return Batch{Count: 1} }

func (s single[A]) DoAll(ctx context.Context, jobs []Job[A]) (int, error) {
	for i, j := range jobs {
		if err := s.Do(WithCause(ctx, j.Cause), j.Args); err != nil {
			return i, err
		}
	}
	return len(jobs), nil
}

func (s single[A]) Close() error { return closeIt(s.Action) }

func closeIt(action any) error {
	if c, ok := action.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Cause is what caused the events that an action publishes.
type Cause struct {
	Seq  uint64 // of the job in the journal; 0: not known
	Hops byte   // of the events: the number of plugins that they came through, so that a loop ends
}

type causeKey struct{}

// WithCause returns a context with which [Env].Publish publishes events of that cause. The context of
// Do has it already. That of DoAll has it if there is one job, and otherwise the highest Hops of all.
func WithCause(ctx context.Context, c Cause) context.Context {
	return context.WithValue(ctx, causeKey{}, c)
}

// CauseOf returns what WithCause set; the zero Cause: ctx is not that of a job.
func CauseOf(ctx context.Context) Cause {
	c, _ := ctx.Value(causeKey{}).(Cause)
	return c
}
