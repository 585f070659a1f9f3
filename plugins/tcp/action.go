package tcp

// This file is the action, which sends an event as a line to a server over a persistent connection.

import (
	"context"
	_ "embed"
	"net"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
)

// actionSample is a complete plugin file with this action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is the action's description, in Markdown.
const actionAbout = "Sends `text` as one line to a TCP server. The connection is kept, and opened again when the server has closed it. " +
	"An event counts as done when the line was handed to the network: a server that fails at that moment may not have received it. " +
	"There is no TLS. Text that contains a line break is refused, because it would be several lines. It runs on every platform."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	To      string        `key:"to" doc:"the server's address, as 192.168.1.7:9000" need:"yes"`
	Timeout time.Duration `key:"timeout" doc:"the maximum time for connecting, and for sending a line" min:"100ms" max:"10m"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions { return ActionOptions{Timeout: 10 * time.Second} }

// Check checks the options against each other.
func (o ActionOptions) Check() []error { return kind.CheckAddress("to", o.To, false) }

// Access is the server that the action connects to.
func (o ActionOptions) Access() []string { return []string{"host:" + o.To} }

// Args are the arguments for one event.
type Args struct {
	Text string `key:"text" doc:"the line to send, without a line end" need:"yes"`
}

// Action sends lines over one connection.
type Action struct{ s lines.Sender }

// NewAction makes an action of checked options.
func NewAction(o ActionOptions, _ kind.Env) *Action {
	return &Action{lines.Sender{Name: o.To, Timeout: o.Timeout, Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", o.To)
	}}}
}

// Do sends one line.
func (a *Action) Do(ctx context.Context, args Args) error {
	_, err := a.s.Send(ctx, args.Text)
	return err
}

// Close closes the connection.
func (a *Action) Close() error { return a.s.Close() }
