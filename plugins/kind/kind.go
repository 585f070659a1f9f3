package kind

import (
	"context"
	"time"
)

// Emit delivers one event of a source. at is when it happened; the zero time means now. fields are
// the values that expressions see as event.*; the engine owns them after the call. Emit returns
// when the event is settled: nil means that all its outcomes are durable, or that no rule wanted
// it, so that the source may acknowledge it upstream. With an error the source must return.
type Emit = func(ctx context.Context, at time.Time, fields map[string]any) error

// Post is Emit for a source that may be faster than the disk. It returns nil when the event is
// mapped and queued, and blocks only while too many are queued. done, which may be nil, is called
// once when the event is settled, in the order of the events and from any goroutine; its error is
// that of Emit. After an error of Post itself done is not called.
type Post = func(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error

// Source produces events one at a time.
type Source interface {
	// Run returns when ctx ends, or with an error when the device or connection is lost. The engine
	// opens another instance after a while.
	Run(ctx context.Context, emit Emit) error
}

// Stream produces events that may be in flight together. Stream returns as Source.Run does.
type Stream interface {
	Stream(ctx context.Context, post Post) error
}

// Action executes events one at a time; see [BatchAction] for several together. Do is called at
// least once for each; nil acknowledges. After an error it is called again with the same arguments,
// with increasing waits, unless the error is permanent ([Permanent]) or the attempts are used up.
type Action[A any] interface {
	Do(ctx context.Context, args A) error
}

// Opener is a source that acquires something before it runs. With an error it has not started, and
// keeps nothing open but what Close releases: Close is called in both cases.
type Opener interface {
	Open(ctx context.Context) error
}

// Consumer is a source whose events come from Env.Consume. It counts as running once that has
// subscribed.
type Consumer interface{ Consumes() }

// Optional methods of options. The engine calls them after it has read and checked all keys.
type (
	// Checker checks what concerns several keys. The errors are shown at their keys when they come
	// from [Wrong].
	Checker interface{ Check() []error }
	// GivenChecker is a method of arguments. It checks which of them an entry sets: given are their
	// keys. Constant ones have their values, and those with an expression the zero value.
	GivenChecker interface{ CheckGiven(given []string) []error }
	// Warner returns settings that are allowed but may be a mistake.
	Warner interface{ Warnings() []string }
	// Siter returns the place and the IANA time zone of a file's expressions: latitude and longitude
	// in degrees, nil if unknown, and "" for the machine's zone.
	Siter interface {
		Site() (at []float64, zone string)
	}
	// Claimer returns the resources that allow one owner, as "udp:127.0.0.1:9000". Two plugins that
	// claim the same resource cannot run together.
	Claimer interface{ Claims() []string }
	// Accessor returns the resources that are accessed, as "exec:./x.py", for permissions.access.
	Accessor interface{ Access() []string }
	// Commander returns the program and the arguments that are run, as they are in the file.
	Commander interface{ Runs() []string }
	// Filterer returns the topic filters of a source whose events have a topic.
	Filterer interface{ Filters() []string }
	// Reader returns the fields of an event of the bus, as Env.Consume gives it, for a source of such events. ok: the
	// source emits it; self is the source name of the plugin's own events.
	Reader interface {
		Read(event map[string]any, self string) (at time.Time, fields map[string]any, ok bool)
	}
	// Scripter returns the paths of the files in the plugins folder whose content decides what the
	// program does. A user approves their content together with the plugin file.
	Scripter interface{ Scripts(folder string) []string }
)

// Kind is a declared source or action. Its name is a key of "source:", or of an entry of "actions:".
type Kind struct {
	Name    string
	Action  bool
	About   string // Markdown: what it does and what it promises
	Sample  string // a complete plugin file
	Options any    // a struct with the defaults
	Args    any    // of an action: arguments that may differ from event to event; otherwise nil
	Event   any    // of a source: the fields of its events, nil when they are open

	Answer any // of an action whose Ask is used: the fields of its answers

	// Passthrough: without "publish" its events are published unchanged (topic, payload, qos,
	// retain).
	Passthrough bool
	// Answers: the sender of an event gets an answer. Post's done gets a permanent error when the
	// event has no outcome because a rule failed. For other kinds done treats such an event as
	// filtered, because they would only send it again.
	Answers bool
	// Hands: the action passes each event on and does not learn the result. The event counts as
	// sent, not as done.
	Hands bool
	// Persistent: the action's events do not expire and are retried until they succeed or fail
	// permanently, unless the file says otherwise.
	Persistent bool

	source func(options any, env Env) any
	action func(options any, env Env) ClosableAction
}

// SourceOf declares a source.
func SourceOf[O any, S Source](name, about, sample string, defaults O, event any, open func(O, Env) S) *Kind {
	return &Kind{Name: name, About: about, Sample: sample, Options: defaults, Event: event,
		source: func(o any, e Env) any { return open(o.(O), e) }}
}

// StreamOf declares a source that may be faster than the disk.
func StreamOf[O any, S Stream](name, about, sample string, defaults O, event any, open func(O, Env) S) *Kind {
	return &Kind{Name: name, About: about, Sample: sample, Options: defaults, Event: event,
		source: func(o any, e Env) any { return open(o.(O), e) }}
}

// ActionOf declares an action. The arguments are a struct.
func ActionOf[O, A any, D Action[A]](name, about, sample string, defaults O, open func(O, Env) D) *Kind {
	var args A
	return &Kind{Name: name, Action: true, About: about, Sample: sample, Options: defaults, Args: args,
		action: func(o any, e Env) ClosableAction { return untyped[A]{single[A]{open(o.(O), e)}} }}
}

// PassesThrough sets Passthrough.
func (k *Kind) PassesThrough() *Kind {
	k.Passthrough = true
	return k
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

// Reporting sets Answer.
func (k *Kind) Reporting(answer any) *Kind {
	k.Answer = answer
	return k
}

// Persisting sets Persistent.
func (k *Kind) Persisting() *Kind {
	k.Persistent = true
	return k
}

// NewSource constructs an instance of a source, which is a Source or a Stream. options has the type
// of Options.
func (k *Kind) NewSource(options any, env Env) any { return k.source(options, env) }

// NewAction constructs an instance of an action. options has the type of Options.
func (k *Kind) NewAction(options any, env Env) ClosableAction { return k.action(options, env) }
