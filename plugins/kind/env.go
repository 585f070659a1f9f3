package kind

import (
	"context"
	"io"
	"log/slog"
	"net/http"
)

// Env is what a source or an action may use of the program. All methods may be called from any
// goroutine, from the constructor on, but Degraded, Lost, Consume, Publish and Hold only from Open
// until Close returns.
type Env interface {
	// Log is the plugin's log. Secrets of the plugin's file are redacted in it.
	Log() *slog.Logger
	// ID is the plugin's id: its file's name without the ending.
	ID() string
	// Dir is the absolute path of the plugins folder.
	Dir() string
	// Data is the absolute path of the folder for what kinds keep, such as databases. It may not exist
	// yet. It is empty if the program has none.
	Data() string
	// Source is the name by which the bus knows this plugin's events: "plugin:" and the id.
	Source() string
	// Origin is this bus's name among buses that bridges connect. It never changes.
	Origin() string

	// Degraded reports that the source or action runs but has a problem, which status, metrics and
	// /readyz show; nil reports that the problem is gone. Each call replaces the one before.
	Degraded(err error)
	// MayRun is called right before a program is started. It returns an error when a file that
	// Scripts lists has changed since a user approved it.
	MayRun() error
	// Lost counts n events that were lost on the way to the bus, and reports them with the reason.
	Lost(n int, reason string)

	// Publish publishes an event as the plugin. nil means that it is durable at QoS 1 and 2. The
	// error is permanent when the topic is not allowed.
	Publish(ctx context.Context, topic string, payload []byte, qos int, retain bool) error
	// Consume delivers the events that match the filters from a durable cursor of this plugin,
	// which the name tells from its others. It calls each for one event after another, with topic,
	// payload, qos, retain, retained, source, hops, time, seq, redelivered, and if the event has
	// them properties and expiry. done(nil) acknowledges an event, in any order and from any
	// goroutine; with an error the event is not acknowledged, and the next call of Consume gets it
	// again. When ctx ends, Consume waits for the delivered events for a limited time and returns
	// ctx's error.
	Consume(ctx context.Context, name string, filters []string, each func(event map[string]any, done func(error))) error
	// Handle mounts h on the bus's HTTP listener. public means that h authenticates its callers
	// itself. If this plugin has mounted the path already, h replaces the old handler. remove
	// unmounts h unless it was replaced. The error says why the path cannot be had.
	Handle(path string, public bool, h http.Handler) (remove func(), err error)
	// Hold shares a resource that allows one owner: all callers of one plugin with the same key get
	// the same object, also across a reload, as long as one of them holds it. The first one opens
	// it. Call release, and do not close the object. The error is that of open.
	Hold(key string, open func() (io.Closer, error)) (held io.Closer, release func(), err error)
}
