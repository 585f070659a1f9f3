package tcp

// The action: an event as a line to a server, over one connection that is kept.

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/option"
)

// ActionSample is a complete plugin file with this action.
//
//go:embed action.yaml
var ActionSample string

// ActionAbout is the action's description, in Markdown.
const ActionAbout = "Sends `text` as one line to a TCP server. The connection is kept and made again when the server closed it. " +
	"An event counts as done when the line was handed to the network: a server that goes away in that moment may not have got it. " +
	"There is no TLS here. Text with a line break within is refused, since it would be several lines. It runs on every platform."

// ActionOptions are fixed when the file is loaded.
type ActionOptions struct {
	To      string        `key:"to" doc:"server, as 192.168.1.7:9000" need:"yes"`
	Timeout time.Duration `key:"timeout" doc:"longest time for connecting and for sending a line, each" min:"100ms" max:"10m"`
}

// ActionDefaults of the options.
func ActionDefaults() ActionOptions { return ActionOptions{Timeout: 10 * time.Second} }

// Check finds what is wrong across the keys.
func (o ActionOptions) Check() []error { return option.CheckAddress("to", o.To, false) }

// Access is what the action touches.
func (o ActionOptions) Access() []string { return []string{"host:" + o.To} }

// Args are of each event.
type Args struct {
	Text string `key:"text" doc:"the line to send, without its line end" need:"yes"`
}

// ActionEnv is what the action needs of the bus: nothing.
type ActionEnv interface{}

// Action sends lines over one connection. A goroutine reads what the server says and drops it, so that the
// server's end is noticed and it never waits for us; Close ends it.
type Action struct {
	o ActionOptions

	mu   sync.Mutex
	conn net.Conn      // nil when there is none
	gone chan struct{} // closed when the server ended conn
}

// NewAction makes an action; the options were checked.
func NewAction(o ActionOptions, _ ActionEnv) *Action { return &Action{o: o} }

// severalLines is an error that no second attempt repairs.
type severalLines struct{}

func (severalLines) Error() string   { return "text has a line break within: it would be several lines" }
func (severalLines) Permanent() bool { return true }

// Do sends one line.
func (a *Action) Do(ctx context.Context, args Args) error {
	text := strings.TrimSuffix(strings.TrimSuffix(args.Text, "\n"), "\r")
	if strings.ContainsAny(text, "\r\n") {
		return severalLines{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil {
		select {
		case <-a.gone:
			a.hangUp()
		default:
		}
	}
	if a.conn == nil {
		d := net.Dialer{Timeout: a.o.Timeout}
		c, err := d.DialContext(ctx, "tcp", a.o.To)
		if err != nil {
			return fmt.Errorf("connecting to %s: %w", a.o.To, err)
		}
		a.conn, a.gone = c, make(chan struct{})
		go func(gone chan struct{}) {
			defer close(gone)
			_, _ = io.Copy(io.Discard, c) // whatever ended it, the connection is of no more use
		}(a.gone)
	}
	_ = a.conn.SetWriteDeadline(time.Now().Add(a.o.Timeout)) // fails only with the write
	conn, woken := a.conn, make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = conn.SetWriteDeadline(time.Unix(1, 0))
	})
	_, err := conn.Write([]byte(text + "\n"))
	if !stop() {
		<-woken
	}
	if err != nil {
		a.hangUp()
		return fmt.Errorf("sending to %s: %w", a.o.To, err)
	}
	return nil
}

// hangUp closes the connection and waits for its reader.
func (a *Action) hangUp() {
	a.conn.Close()
	<-a.gone
	a.conn = nil
}

// Close ends the connection.
func (a *Action) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil {
		a.hangUp()
	}
	return nil
}
