package uds

// This file is the action, which sends an event as a line to an app over a persistent connection.

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
)

// actionSample is a complete plugin file with this action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is the action's description, in Markdown.
const actionAbout = "Sends `text` as one line to an app's unix socket. The connection is kept, and opened again when the app has closed it. " +
	"With `answer` an event counts as done when the app has answered with a line; if that begins with `error`, the event is retried. Without it, " +
	"it counts as done when the line was handed to the kernel: an app that fails at that moment may not have received it. " +
	"Text that contains a line break is refused, because it would be several lines. On Unix systems."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	To      string        `key:"to" doc:"the path of the app's socket, as /run/player/control.sock; @name: an abstract socket (Linux)" need:"yes"`
	Answer  bool          `key:"answer" doc:"whether the app answers each line with a line; after an answer that begins with error the event is retried"`
	Timeout time.Duration `key:"timeout" doc:"the maximum time for connecting, for sending a line, and for an answer" min:"100ms" max:"10m"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions { return ActionOptions{Timeout: 10 * time.Second} }

// Check checks the options against each other.
func (o ActionOptions) Check() []error { return checkPath("to", o.To) }

// Access is the socket that the action connects to.
func (o ActionOptions) Access() []string { return []string{"path:" + where(o.To)} }

// Args are the arguments for one event.
type Args struct {
	Text string `key:"text" doc:"the line to send, without a line end" need:"yes"`
}

// Action sends lines over one connection.
type Action struct{ s lines.Sender }

// NewAction makes an action of checked options.
func NewAction(o ActionOptions, _ kind.Env) *Action {
	to := where(o.To)
	return &Action{lines.Sender{Name: to, Timeout: o.Timeout, Answer: o.Answer, Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", to)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("the socket does not exist: is the app running? %w", err)
		case errors.Is(err, syscall.ECONNREFUSED):
			return nil, fmt.Errorf("no process serves the socket: is the app running? %w", err)
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("no permission: the user that runs postbus must be in the socket's group: %w", err)
		}
		return c, err
	}}}
}

// Do sends one line.
func (a *Action) Do(ctx context.Context, args Args) error {
	answer, err := a.s.Send(ctx, args.Text)
	if err == nil && strings.HasPrefix(strings.ToLower(answer), "error") {
		return fmt.Errorf("%s answered: %s", a.s.Name, answer)
	}
	return err
}

// Close closes the connection.
func (a *Action) Close() error { return a.s.Close() }
