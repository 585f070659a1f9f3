// Package websocket receives the messages of a WebSocket server as events, and sends events to one.
//
// What the source promises: a connection, and an event per message in their order, at the pace of the bus: a
// server that sends faster is slowed down by TCP. When the connection ends, or the server does not answer pings, the
// source ends and is opened again after a while. What the server sends meanwhile is not received: the protocol
// acknowledges nothing. A message larger than max_message ends the connection.
//
// What the action promises: see Action.
//
// Each costs one connection, a goroutine or two, and the memory of one message. Errors contain only scheme
// and host of the URL, and no header's value: the rest may be secret.
package websocket

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/postbus/postbus/plugins/internal/headers"
	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// sample is a complete plugin file with this source.
//
//go:embed sample.yaml
var sample string

// about is the source's description, in Markdown.
const about = "Connects to a WebSocket server. Each message makes an event. Messages of `send` are sent after connecting, as to subscribe. When the connection ends, or pings are not answered, " +
	"it is opened again after a while; what the server sends meanwhile is missed. A message larger than `max_message` ends the connection. It costs one connection, two goroutines and " +
	"the memory of one message. It runs on every platform."

// Options of the source.
type Options struct {
	URL        string            `key:"url" doc:"the URL, as wss://example.com/feed" need:"yes" url:"ws|wss"`
	Headers    map[string]string `key:"headers" doc:"headers of the request that opens the connection" secret:"yes"`
	Protocols  []string          `key:"protocols" doc:"subprotocols, of which the server chooses one"`
	Send       []string          `key:"send" doc:"messages to send after connecting" secret:"within"`
	Ping       time.Duration     `key:"ping" doc:"time from one ping to the next" min:"1s" max:"1h"`
	Timeout    time.Duration     `key:"timeout" doc:"the maximum time for connecting, for sending, and for the answer to a ping" min:"100ms" max:"10m"`
	MaxMessage int64             `key:"max_message" doc:"the maximum size of a message; a larger one ends the connection" unit:"size" min:"1B" max:"16MiB"`
	Insecure   bool              `key:"insecure" doc:"accept any TLS certificate: anyone on the network path can then read and change the traffic"`

	Decode decode.Encoding `key:"decode" doc:"the encoding of a message, whose value is in event.json; csv: a list of records, each a list of texts; none: it is not decoded" oneof:"json|cbor|msgpack|csv|none"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{Ping: 30 * time.Second, Timeout: 10 * time.Second, MaxMessage: 1 << 20, Decode: decode.JSON}
}

// Check checks the headers.
func (o Options) Check() []error { return checkHeaders(o.Headers) }

// checkHeaders refuses also those of the handshake.
func checkHeaders(list map[string]string) []error {
	errs := headers.Check(list)
	for name := range list {
		if headers.Is(name, "Upgrade", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol") {
			errs = append(errs, kind.Wrong("headers."+name, fmt.Sprintf("the header %s is set by the bus", name), "protocols is for subprotocols"))
		}
	}
	return errs
}

func (o Options) dial() dialOptions {
	return dialOptions{url: o.URL, headers: o.Headers, protocols: o.Protocols, insecure: o.Insecure, timeout: o.Timeout, ping: o.Ping, max: o.MaxMessage}
}

// event documents the fields of an event.
type event struct {
	Text        string `key:"text" doc:"the message; bytes that are not UTF-8 are replaced"`
	JSON        any    `key:"json" doc:"the decoded message, see decode; nil if it cannot be decoded"`
	DecodeError string `key:"decode_error" doc:"why the message is not CBOR, MessagePack or CSV, if decode says that it is; otherwise nil"`
	Binary      bool   `key:"binary" doc:"whether the server sent it as binary"`
	Bytes       any    `key:"bytes" doc:"the unchanged message, if it is not UTF-8"`
}

// Source is one connection. An instance runs once: New, Open, Stream, Close.
type Source struct {
	o Options
	l *link
}

// New makes a source of checked options.
func New(o Options, _ kind.Env) *Source { return &Source{o: o} }

// Open connects, and sends what the file says.
func (s *Source) Open(ctx context.Context) (err error) {
	if s.l, err = dial(ctx, s.o.dial()); err != nil {
		return err
	}
	defer kind.Interrupt(ctx, func() { _ = s.l.Close() })()
	for _, text := range s.o.Send {
		_ = s.l.SetWriteDeadline(time.Now().Add(s.o.Timeout))
		if err := s.l.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			return s.o.dial().failure(err)
		}
	}
	return nil
}

// Close ends the connection.
func (s *Source) Close() error {
	if s.l != nil {
		s.l.close()
	}
	return nil
}

// Stream posts messages until ctx ends or the connection does.
func (s *Source) Stream(ctx context.Context, post kind.Post) error {
	defer kind.Interrupt(ctx, s.l.close)()
	for {
		_ = s.l.sign() // the bus may have been slow
		how, message, err := s.l.ReadMessage()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return s.o.dial().failure(ended(err, s.o.MaxMessage))
		}
		fields := map[string]any{"text": lines.Text(message), "binary": how == websocket.BinaryMessage, "bytes": nil}
		if !utf8.Valid(message) {
			fields["bytes"] = message
		}
		s.o.Decode.Payload(message, fields)
		if err := post(ctx, time.Now(), fields, nil); err != nil {
			return err
		}
	}
}

// ended says why a connection ended.
func ended(err error, max int64) error {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, websocket.ErrReadLimit):
		return fmt.Errorf("a message is larger than max_message, %d bytes", max)
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("the server does not answer pings")
	}
	return fmt.Errorf("the connection ended: %w", err)
}
