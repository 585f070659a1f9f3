package plugins

// This file defines a kind: the small interfaces that a source or an action satisfies, and the
// declaration, from which the checker, the reference page and the JSON Schema get everything they
// know of it.

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"
)

// Source produces events. Each one is used once: New, Open (if it has it), Run, Close (if it has
// it).
type Source interface {
	// Run returns when ctx ends or its device or connection is lost. emit returns when the event is
	// settled: with nil when its outcomes are durable or it was filtered, so that the source may
	// acknowledge it upstream; with an error when the source must stop.
	Run(ctx context.Context, emit func(ctx context.Context, at time.Time, fields map[string]any) error) error
}

// Stream is a source that may be faster than the disk. post returns when the event is mapped and
// queued, and blocks only when too many are queued. done, which may be nil, is called once, in the
// order of the events, when the event is settled. The fields belong to the plugin after the call.
type Stream interface {
	Stream(ctx context.Context, post func(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error) error
}

// opener is a source that first acquires a resource. An error means that it did not start.
type opener interface {
	Open(ctx context.Context) error
}

// consumer is a source that gets its events from Env.Consume: it counts as running once that has
// subscribed.
type consumer interface{ Consumes() }

// closer is a source or action with a resource to release: after Run, or after Open without Run.
type closer = io.Closer

// Optional interfaces of options.
type (
	checker   interface{ Check() []error }     // checks across keys; an error may have Key() and Hint()
	claimer   interface{ Claims() []string }   // the resources that allow one owner, as "udp:127.0.0.1:9000"
	accessor  interface{ Access() []string }   // the resources that it accesses, as "exec:./x.py"
	warner    interface{ Warnings() []string } // settings that are allowed but may be a mistake
	commander interface{ Runs() []string }     // the program and arguments that it runs, as in the file
	permer    interface{ Permanent() bool }    // an action's error that a retry does not fix
)

// Kind is a declared source or action, whose name is a key of "source:" or of an entry of
// "actions:".
type Kind struct {
	Name    string
	Action  bool
	About   string // Markdown: its function and its promises
	Sample  string // a complete plugin file
	Options any    // a struct with the defaults
	Args    any    // for an action: arguments that may differ from event to event
	Event   any    // for a source: the fields of its events, nil when they are open

	// Passthrough: without "publish" its events are published unchanged (topic, payload, qos,
	// retain).
	Passthrough bool
	// Answers: the sender of an event gets an answer. done gets a Permanent error when the event
	// has no outcome because a rule failed. For other kinds done treats such an event as filtered,
	// because they would only send it again.
	Answers bool
	// Hands: the action passes each event on and does not learn the result. The event counts as
	// sent, not as done.
	Hands bool

	source func(options any, env *Env) any
	action func(options any, env *Env) (do func(context.Context, reflect.Value) error, close func() error)
}

// NewSource declares a source. open makes one without I/O.
func NewSource[O any, S Source](name, about, sample string, defaults O, event any, open func(O, *Env) S) *Kind {
	return &Kind{Name: name, About: about, Sample: sample, Options: defaults, Event: event,
		source: func(o any, e *Env) any { return open(o.(O), e) }}
}

// NewStream declares a source that may be faster than the disk.
func NewStream[O any, S Stream](name, about, sample string, defaults O, event any, open func(O, *Env) S) *Kind {
	return &Kind{Name: name, About: about, Sample: sample, Options: defaults, Event: event,
		source: func(o any, e *Env) any { return open(o.(O), e) }}
}

// Answering sets Answers.
func (k *Kind) Answering() *Kind {
	k.Answers = true
	return k
}

// Handing sets Hands.
func (k *Kind) Handing() *Kind {
	k.Hands = true
	return k
}

// NewAction declares an action. Do is called for one event at a time, at least once for each; nil
// acknowledges. An error is retried unless its Permanent() returns true.
func NewAction[O, A any, D interface {
	Do(ctx context.Context, args A) error
}](name, about, sample string, defaults O, open func(O, *Env) D) *Kind {
	var args A
	return &Kind{Name: name, Action: true, About: about, Sample: sample, Options: defaults, Args: args,
		action: func(o any, e *Env) (func(context.Context, reflect.Value) error, func() error) {
			d := open(o.(O), e)
			end := func() error { return nil }
			if c, ok := any(d).(closer); ok {
				end = c.Close
			}
			return func(ctx context.Context, v reflect.Value) error { return d.Do(ctx, v.Interface().(A)) }, end
		}}
}

// Catalog is the set of all kinds.
type Catalog struct {
	kinds   []*Kind
	sources map[string]*Kind
	actions map[string]*Kind
}

// NewCatalog makes a catalog of the kinds. It panics if two sources or two actions have the same
// name, if a declaration's tags are invalid, or if no file could set the type of an option or
// argument. All of these are bugs in the program, and the text names the place.
func NewCatalog(kinds ...*Kind) *Catalog {
	c := &Catalog{kinds: kinds, sources: map[string]*Kind{}, actions: map[string]*Kind{}}
	for _, k := range kinds {
		m := c.sources
		if k.Action {
			m = c.actions
		}
		if m[k.Name] != nil {
			panic(fmt.Sprintf("two kinds are called %s", k.Name))
		}
		m[k.Name] = k
		for _, s := range []any{k.Options, k.Args, k.Event} {
			if s != nil {
				fieldsOf(reflect.TypeOf(s))
			}
		}
		for _, s := range []any{k.Options, k.Args} {
			if s == nil {
				continue
			}
			if err := settable(reflect.TypeOf(s), "", nil); err != nil {
				panic(fmt.Sprintf("the kind %s: %v", k.Name, err))
			}
		}
	}
	return c
}

// Kinds returns the declared kinds in their order.
func (c *Catalog) Kinds() []*Kind { return c.kinds }

// Named returns the source and the action of a name; nil if there is none.
func (c *Catalog) Named(name string) (source, action *Kind) {
	return c.sources[name], c.actions[name]
}

func names(m map[string]*Kind) []string {
	var list []string
	for n := range m {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}
