// This file is the action, which publishes on this bus.

package mqtt

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload"
)

// actionSample is a commented plugin file with the action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is what the action does, for the documentation.
const actionAbout = "Publishes on this bus. It is like an entry of `publish`, but is retried, has a rate and an expiry as all actions, and the payload may be " +
	"anything: text and numbers are written as they are, mappings and lists as JSON. It counts as done when the event is durable."

// ActionOptions are the options of the action, fixed when the file is loaded; it has none.
type ActionOptions struct{}

// actionDefaults returns the empty options.
func actionDefaults() ActionOptions { return ActionOptions{} }

// Args are the arguments for one event.
type Args struct {
	Topic   string   `key:"topic" doc:"the topic to publish on" need:"yes" topic:"here"`
	Payload any      `key:"payload" doc:"the payload to publish: text, numbers and booleans as they are, mappings and lists as JSON; an empty mapping or list is written as null"`
	QoS     kind.QoS `key:"qos" doc:"the quality of service, 0 to 2; default 1"`
	Retain  bool     `key:"retain" doc:"retain it as the topic's last value; an empty payload clears the value"`
}

// Action publishes events on the bus.
type Action struct{ env kind.Env }

// NewAction makes an action.
func NewAction(_ ActionOptions, env kind.Env) *Action { return &Action{env} }

// Do publishes one event. It returns nil once the event is durable.
func (a *Action) Do(ctx context.Context, args Args) error {
	if err := topic.CheckName(args.Topic); err != nil {
		return kind.Permanent(fmt.Errorf("topic: %w", topic.Reason(err)))
	}
	body, err := payload.Encode(args.Payload)
	if err != nil {
		return kind.Permanent(fmt.Errorf("payload: %w", err))
	}
	return a.env.Publish(ctx, args.Topic, body, int(args.QoS.Level()), args.Retain)
}
