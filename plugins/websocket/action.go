package websocket

// This file is the action, which sends an event as a message over a connection that is kept.

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gorilla/websocket"

	"github.com/postbus/postbus/plugins/kind"
)

// actionSample is a complete plugin file with this action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is the action's description, in Markdown.
const actionAbout = "Sends `text` or `json` as one message to a WebSocket server. The connection is kept, and opened again when it has ended. " +
	"An event counts as sent when the message was handed to the network: a server that fails at that moment may not have received it. " +
	"What the server sends is ignored; a source `websocket` receives it. It costs one connection, two goroutines, and the memory of one message. It runs on every platform."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	URL       string            `key:"url" doc:"the URL, as wss://example.com/feed" need:"yes" url:"ws|wss"`
	Headers   map[string]string `key:"headers" doc:"headers of the request that opens the connection" secret:"yes"`
	Protocols []string          `key:"protocols" doc:"subprotocols, of which the server chooses one"`
	Ping      time.Duration     `key:"ping" doc:"time from one ping to the next" min:"1s" max:"1h"`
	Timeout   time.Duration     `key:"timeout" doc:"the maximum time for connecting, for sending, and for the answer to a ping" min:"100ms" max:"10m"`
	Insecure  bool              `key:"insecure" doc:"accept any TLS certificate: anyone on the network path can then read and change the traffic"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions {
	return ActionOptions{Ping: 30 * time.Second, Timeout: 10 * time.Second}
}

// Check checks the headers.
func (o ActionOptions) Check() []error { return checkHeaders(o.Headers) }

func (o ActionOptions) dial() dialOptions {
	const ignored = 16 << 20 // of a message that the server sends; it is not kept
	return dialOptions{url: o.URL, headers: o.Headers, protocols: o.Protocols, insecure: o.Insecure, timeout: o.Timeout, ping: o.Ping, max: ignored}
}

// Args are the arguments for one event.
type Args struct {
	Text string `key:"text" doc:"the message as text; either this or json"`
	JSON any    `key:"json" doc:"the message as JSON"`
}

// CheckGiven checks that there is one message.
func (Args) CheckGiven(given []string) []error {
	switch len(given) {
	case 0:
		return []error{errors.New("there is no message: write text or json")}
	case 1:
		return nil
	}
	return []error{kind.Wrong("json", "a message is either text or json", "leave one of them out")}
}

// Action sends messages over one connection, each at least once to the network.
type Action struct {
	o    ActionOptions
	l    *link         // nil: there is no connection
	over chan struct{} // closed when nobody reads from l any more: it has ended
}

// NewAction makes an action of checked options.
func NewAction(o ActionOptions, _ kind.Env) *Action { return &Action{o: o} }

// Do sends one message.
func (a *Action) Do(ctx context.Context, args Args) error {
	message := []byte(args.Text)
	if args.JSON != nil {
		var err error
		if message, err = json.Marshal(args.JSON); err != nil {
			return kind.Permanent(fmt.Errorf("json: %w", err))
		}
	}
	if a.l != nil {
		select {
		case <-a.over: // the server ended it meanwhile
			a.drop()
		default:
		}
	}
	if a.l == nil {
		l, err := dial(ctx, a.o.dial())
		if err != nil {
			return err
		}
		a.l, a.over = l, make(chan struct{})
		go ignore(l, a.over)
	}
	stop := kind.Interrupt(ctx, func() { _ = a.l.Close() })
	defer stop()
	err := a.l.SetWriteDeadline(time.Now().Add(a.o.Timeout))
	if err == nil {
		err = a.l.WriteMessage(websocket.TextMessage, message)
	}
	if err != nil {
		stop()
		a.drop()
		return a.o.dial().failure(fmt.Errorf("the connection ended: %w", err))
	}
	return nil
}

// ignore reads what the server sends, so that pings and the end of the connection are noticed.
func ignore(l *link, over chan<- struct{}) {
	defer close(over)
	for {
		_ = l.sign()
		if _, _, err := l.NextReader(); err != nil {
			_ = l.Close()
			return
		}
	}
}

// drop ends the connection and waits for its goroutines.
func (a *Action) drop() {
	a.l.close()
	<-a.over
	a.l = nil
}

// Close ends the connection.
func (a *Action) Close() error {
	if a.l != nil {
		a.drop()
	}
	return nil
}
