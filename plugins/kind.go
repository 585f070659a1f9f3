package plugins

// This file is what a kind is: the small interfaces that a source or an action satisfies, and its
// declaration, which is all that the checker, the reference page and the JSON Schema know of it.

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"
)

// Source is something that has events. It is used once: New, Open (if it has it), Run, Close (if it has
// it).
type Source interface {
	// Run returns when ctx ends or the thing is gone. emit returns when the event's fate is sealed: nil
	// when what came of it is durable or it was filtered, so that the source may acknowledge its own
	// upstream; an error when the source is to stop.
	Run(ctx context.Context, emit func(ctx context.Context, at time.Time, fields map[string]any) error) error
}

// Stream is a source that may be faster than the disk. post returns when the event is mapped and on its
// way, and blocks only when too much is on its way; done, which may be nil, is called once, in the order
// of the events, when the event's fate is sealed. The fields belong to the plugin from then on.
type Stream interface {
	Stream(ctx context.Context, post func(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error) error
}

// opener is a source that acquires something first. An error means that it did not start.
type opener interface {
	Open(ctx context.Context) error
}

// consumer is a source whose events are those of Env.Consume: it runs from when that has subscribed.
type consumer interface{ Consumes() }

// closer is a source or action that has something to release: after Run, or after Open without Run.
type closer = io.Closer

// Abilities of options.
type (
	checker   interface{ Check() []error }     // mistakes across keys; an error may have Key() and Hint()
	claimer   interface{ Claims() []string }   // what can be held once, as "udp:127.0.0.1:9000"
	accessor  interface{ Access() []string }   // what it touches, as "exec:./x.py"
	warner    interface{ Warnings() []string } // what is allowed, and may not be what was meant
	commander interface{ Runs() []string }     // the program and arguments that it runs, as the file has them
	permer    interface{ Permanent() bool }    // an action's error that trying again does not help
)

// Kind is a declared source or action: what can stand under "source:" or in an entry of "actions:".
type Kind struct {
	Name    string
	Action  bool
	About   string // Markdown: what it does and promises
	Sample  string // a complete plugin file
	Options any    // a struct with the defaults
	Args    any    // of an action: what may differ from event to event
	Event   any    // of a source: the fields of its events, nil when they are open

	// Passthrough: without "publish" its events are published as they are (topic, payload, qos, retain).
	Passthrough bool
	// Answers: whoever sent an event is answered. done is given a Permanent error when nothing came of it for a rule that
	// failed; for other kinds such an event is done like one that was filtered, since they would only send it again.
	Answers bool
	// Hands: the action hands each event on and doesn't learn what becomes of it. It is counted as sent, and not as done.
	Hands bool

	source func(options any, env *Env) any
	action func(options any, env *Env) (do func(context.Context, reflect.Value) error, close func() error)
}

// NewSource declares a source. open makes one; it does no I/O.
func NewSource[O any, S Source](name, about, sample string, defaults O, event any, open func(O, *Env) S) *Kind {
	return &Kind{Name: name, About: about, Sample: sample, Options: defaults, Event: event,
		source: func(o any, e *Env) any { return open(o.(O), e) }}
}

// NewStream declares a source that may be faster than the disk.
func NewStream[O any, S Stream](name, about, sample string, defaults O, event any, open func(O, *Env) S) *Kind {
	return &Kind{Name: name, About: about, Sample: sample, Options: defaults, Event: event,
		source: func(o any, e *Env) any { return open(o.(O), e) }}
}

// Answering says that the kind Answers.
func (k *Kind) Answering() *Kind {
	k.Answers = true
	return k
}

// Handing says that the action Hands.
func (k *Kind) Handing() *Kind {
	k.Hands = true
	return k
}

// NewAction declares an action. Do is called for one event at a time, at least once for each; nil
// acknowledges. An error is tried again unless it has Permanent() true.
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

// Catalog is every kind there is.
type Catalog struct {
	kinds   []*Kind
	sources map[string]*Kind
	actions map[string]*Kind
}

// NewCatalog lists the kinds. It panics when two of a sort have one name, or a declaration's tags are
// wrong, or an option or argument has a type that no file could set: all are mistakes in the program, and
// the text says where.
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

// Kinds lists the declared kinds, in their order.
func (c *Catalog) Kinds() []*Kind { return c.kinds }

// Named returns the source, and the action, of a name; nil where there is none.
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
