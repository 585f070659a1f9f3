package udp

// This file is the action, which sends an event as a datagram.

import (
	"context"
	_ "embed"
	"fmt"
	"net"

	"github.com/postbus/postbus/plugins/kind"
)

// maxDatagram is the largest payload of a datagram over IPv4, in bytes.
const maxDatagram = 65507

// actionSample is a complete plugin file with this action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is the action's description, in Markdown.
const actionAbout = "Sends `text` as one UDP datagram of at most 65507 bytes. An event counts as done when this machine has sent it: " +
	"UDP does not report whether it arrived. The address may be a broadcast address. It runs on every platform."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	To string `key:"to" doc:"address to send to, as 192.168.1.7:9000; a name is looked up for each event" need:"yes"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions { return ActionOptions{} }

// Check checks the options against each other.
func (o ActionOptions) Check() []error { return kind.CheckAddress("to", o.To, false) }

// Access is the address that the action sends to.
func (o ActionOptions) Access() []string { return []string{"host:" + o.To} }

// Args are the arguments for one event.
type Args struct {
	Text string `key:"text" doc:"the text to send, at most 65507 bytes" need:"yes"`
}

// Action sends datagrams. It keeps nothing open between two events.
type Action struct{ o ActionOptions }

// NewAction makes an action of checked options.
func NewAction(o ActionOptions, _ kind.Env) *Action { return &Action{o} }

// Do sends one datagram.
func (a *Action) Do(ctx context.Context, args Args) error {
	if len(args.Text) > maxDatagram {
		return kind.Permanent(fmt.Errorf("text has %d bytes, more than the %d of a datagram", len(args.Text), maxDatagram))
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", a.o.To)
	if err != nil {
		return fmt.Errorf("sending to %s: %w", a.o.To, err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(args.Text)); err != nil {
		return fmt.Errorf("sending to %s: %w", a.o.To, err)
	}
	return nil
}
