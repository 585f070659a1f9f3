// Package mqtt is the kind `mqtt`: topics of this bus as a source, and a publish as an action.
//
// What it promises:
//
//   - Source: every event that matches one of the filters becomes an event of the plugin, in the
//     bus's order, at least once. The plugin's cursor in the journal advances when the events that
//     the mapping made are durable, and it survives restarts.
//   - A topic that matches two filters is delivered once.
//   - A plugin can't feed itself: it does not receive its own events unless the file says so (as
//     MQTT's No Local).
//   - Action: the publish is acknowledged when it is durable.
//
// It knows nothing of connections: it asks postbus for events. The kind `bridge` connects other
// brokers.
package mqtt

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var sample string

// about is what the source does, for the documentation.
const about = "Subscribes to events of this bus: at least once, in order, and also those that were published while the plugin was not running. " +
	"`event.topic` is the topic's levels, so that `event.topic[1]` is the second; `event.json` is the decoded payload. An event is acknowledged " +
	"when its results are durable. The plugin does not receive its own events. Use `bridge` for another broker's topics."

// Options of the source.
type Options struct {
	Topics   []string `key:"topics" doc:"topic filters, where + matches one level and # all that follow; topics below $bus and $SYS match only filters that begin with these" need:"yes"`
	Retained bool     `key:"retained" doc:"deliver the retained events that exist when the plugin first subscribes"`
	Own      bool     `key:"own" doc:"also deliver the plugin's own events; without a when that stops it, this is an endless loop"`

	Decode decode.Encoding `key:"decode" doc:"the encoding of the payload, whose value is in event.json; csv: a list of records, each a list of texts; none: it is not decoded" oneof:"json|cbor|msgpack|csv|none"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Retained: true, Decode: decode.JSON} }

// Check checks the options against each other.
func (o Options) Check() []error {
	if len(o.Topics) == 0 {
		return []error{kind.Wrong("topics", "there is no topic filter", "for example [home/+/doorbell]")}
	}
	var errs []error
	seen := map[string]bool{}
	for i, f := range o.Topics {
		key := fmt.Sprintf("topics[%d]", i)
		if err := checkFilter(f); err != nil {
			errs = append(errs, kind.Wrong(key, err.Error(), ""))
		} else if seen[f] {
			errs = append(errs, kind.Wrong(key, fmt.Sprintf("%q is given twice", f), ""))
		}
		seen[f] = true
	}
	return errs
}

// Filters returns the topic filters.
func (o Options) Filters() []string { return o.Topics }

// checkFilter reports why f is not a valid topic filter for a plugin.
func checkFilter(f string) error {
	if topic.Shared(f) {
		return fmt.Errorf("%q: a plugin gets all events and shares none; leave out $share and the group", f)
	}
	return topic.Reason(topic.CheckSubscription(f))
}

// Levels are a topic's levels.
type Levels []string

func (l Levels) String() string { return strings.Join(l, "/") }

// event is what the source emits.
type event struct {
	Topic       Levels    `key:"topic" doc:"the topic's levels; as text they are joined by /"`
	Name        string    `key:"name" doc:"the topic as text" levels:"yes"`
	Bytes       []byte    `key:"bytes" doc:"the payload"`
	Text        string    `key:"text" doc:"the payload as text; bytes that are not UTF-8 are replaced"`
	JSON        any       `key:"json" doc:"the decoded payload of at most 1 MiB, see decode; nil if it cannot be decoded"`
	DecodeError string    `key:"decode_error" doc:"why the payload is not CBOR, MessagePack or CSV, if decode says that it is; otherwise nil"`
	QoS         int       `key:"qos" doc:"the quality of service it was published with, 0 to 2"`
	Retain      bool      `key:"retain" doc:"whether it is retained"`
	Source      string    `key:"source" doc:"who published it; @fleet/BUS/SOURCE if that was at another bus of the fleet"`
	Origin      *origin   `key:"origin" doc:"the other bus of the fleet that accepted it first; nil: this bus did"`
	Hops        int       `key:"hops" doc:"how many plugins it has passed through; 0 from a client. At 16 it counts as a loop and is dropped"`
	Seq         uint64    `key:"seq" doc:"its sequence number in the journal"`
	Time        time.Time `key:"time" doc:"when the bus accepted it"`
	Redelivered bool      `key:"redelivered" doc:"whether it may have been delivered before"`
	Stored      bool      `key:"stored" doc:"whether it is the topic's retained message, received because the plugin subscribed"`
}

// origin is another bus.
type origin struct {
	Bus  string    `key:"bus" doc:"its name; nil if there is none"`
	Time time.Time `key:"time" doc:"when it accepted the event, by this bus's clock; nil: not known"`
}

// Source consumes events of the bus. An instance runs once.
type Source struct {
	o   Options
	env kind.Env
}

// New makes a source.
func New(o Options, env kind.Env) *Source { return &Source{o: o, env: env} }

// Consumes marks the source as one that runs once it has subscribed.
func (*Source) Consumes() {}

// Stream posts events until ctx ends.
func (s *Source) Stream(ctx context.Context, post kind.Post) error {
	return kind.ReadBus(ctx, s.env, "source", s.o.Topics, s.o, post)
}

// fromSubscribing reports whether the plugin received the event because it subscribed, and not
// because a client published it just then. The bus marks such an event with "retained", or as MQTT
// does with a RETAIN flag that other events don't carry.
func fromSubscribing(m map[string]any) bool {
	if r, ok := m["retained"].(bool); ok {
		return r
	}
	r, _ := m["retain"].(bool)
	return r
}

// Read returns the fields of an event of the bus. They share no memory with m except the payload's copy. ok: the
// source emits it; self is the source name of the plugin's own events.
func (o Options) Read(m map[string]any, self string) (at time.Time, fields map[string]any, ok bool) {
	stored := fromSubscribing(m)
	if stored && !o.Retained || !stored && !o.Own && m["source"] == self {
		return at, nil, false
	}
	name, _ := m["topic"].(string)
	payload, _ := m["payload"].([]byte)
	payload = bytes.Clone(payload)
	at, _ = m["time"].(time.Time)
	fields = map[string]any{
		"topic": Levels(strings.Split(name, "/")), "name": name, "bytes": payload, "text": lines.Text(payload),
		"qos": m["qos"], "retain": m["retain"], "source": m["source"], "origin": m["origin"], "hops": m["hops"], "seq": m["seq"], "time": m["time"], "redelivered": m["redelivered"], "stored": stored,
	}
	o.Decode.Message(payload, fields)
	return at, fields, true
}
