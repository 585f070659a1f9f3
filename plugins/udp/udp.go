// Package udp receives datagrams as events and sends events as datagrams.
//
// What it promises: one event per datagram, or per line of one with `split: line`. The port stays
// open over a reload, and datagrams that wait in it meanwhile are kept. Datagrams arrive at the
// sender's pace: when the bus is slower, the kernel drops them; on Linux they are counted. UDP
// authenticates no sender and confirms no delivery.
package udp

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"time"
	"unicode/utf8"

	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// sample is a complete plugin file with this source.
//
//go:embed sample.yaml
var sample string

// about is the source's description, in Markdown.
const about = "Listens on a UDP port. Each datagram makes an event, or each line with `split: line`. " +
	"The sender's address can be forged: listen on a loopback or trusted network. Datagrams that arrive faster " +
	"than the bus accepts them are dropped by the kernel; on Linux they are counted. The port stays open over a reload. It runs on every platform."

// Options of the source.
type Options struct {
	Listen string `key:"listen" doc:"address to listen on, as 127.0.0.1:9000; :9000 is all interfaces" need:"yes"`
	Split  string `key:"split" doc:"whether each datagram is an event, or each line of one" oneof:"datagram|line"`

	Decode decode.Encoding `key:"decode" doc:"the encoding of the datagram or line, whose value is in event.json; csv: a list of records, each a list of texts; none: it is not decoded; of a line, csv is one record" oneof:"json|cbor|msgpack|csv|none"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Split: "datagram", Decode: decode.JSON} }

// Check checks the options against each other.
func (o Options) Check() []error {
	errs := kind.CheckAddress("listen", o.Listen, true)
	if o.Split == "line" && o.Decode.Binary() {
		errs = append(errs, kind.Wrong("decode", fmt.Sprintf("a line cannot hold %s, which may contain line ends", o.Decode), "write split: datagram"))
	}
	return errs
}

// Claims is what only one plugin can hold: the port.
func (o Options) Claims() []string { return []string{"udp:" + o.Listen} }

// Access is the address that the source listens on.
func (o Options) Access() []string { return []string{"listen:" + o.Listen} }

// event documents the fields of an event.
type event struct {
	Text        string `key:"text" doc:"the datagram or line without its line end; bytes that are not UTF-8 are replaced"`
	JSON        any    `key:"json" doc:"the decoded datagram or line, see decode; nil if it cannot be decoded"`
	DecodeError string `key:"decode_error" doc:"why the datagram or line is not CBOR, MessagePack or CSV, if decode says that it is; otherwise nil"`
	Bytes       any    `key:"bytes" doc:"the unchanged datagram or line, if it is not UTF-8"`
	From        string `key:"from" doc:"the sender's address, as 192.168.1.7:50000"`
}

// Source is one UDP port. An instance runs once: New, Open, Stream, Close.
type Source struct {
	o       Options
	env     kind.Env
	s       *socket
	release func()
}

// socket outlives its source when a reload hands it over.
type socket struct {
	*net.UDPConn
	dropped uint32 // the kernel's count when last read
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source { return &Source{o: o, env: env} }

// Open binds the port, or takes it over from this plugin's previous source.
func (s *Source) Open(ctx context.Context) error {
	held, release, err := s.env.Hold("udp:"+s.o.Listen, func() (io.Closer, error) {
		var l net.ListenConfig
		c, err := l.ListenPacket(ctx, "udp", s.o.Listen)
		if err != nil {
			return nil, err
		}
		conn := c.(*net.UDPConn)
		countDrops(conn)
		return &socket{UDPConn: conn}, nil
	})
	if err != nil {
		return fmt.Errorf("listening on %s: %w", s.o.Listen, err)
	}
	s.release = release
	var ok bool
	if s.s, ok = held.(*socket); !ok {
		return fmt.Errorf("listening on %s: the port is still held by the previous source of this plugin", s.o.Listen)
	}
	return s.s.SetReadDeadline(time.Time{})
}

// Close releases the port.
func (s *Source) Close() error {
	if s.release != nil {
		s.release()
		s.release = nil
	}
	return nil
}

// Stream posts received datagrams until ctx ends.
func (s *Source) Stream(ctx context.Context, post kind.Post) error {
	defer kind.InterruptReads(ctx, s.s)() // the next source sets another deadline
	buf, control := make([]byte, 64<<10), make([]byte, 64)
	for {
		n, c, _, from, err := s.s.ReadMsgUDPAddrPort(buf, control)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				s.env.Lost(1, "received while stopping")
			}
			return nil
		case err != nil:
			return fmt.Errorf("receiving on %s: %w", s.o.Listen, err)
		}
		if total, ok := drops(control[:c]); ok && total != s.s.dropped {
			s.env.Lost(int(total-s.s.dropped), "arrived faster than the bus accepted them")
			s.s.dropped = total
		}
		sender := net.JoinHostPort(from.Addr().Unmap().String(), fmt.Sprint(from.Port()))
		at := time.Now()
		if s.o.Split != "line" {
			if err := post(ctx, at, s.fields(buf[:n], sender), nil); err != nil {
				s.env.Lost(1, "received while stopping")
				return err
			}
			continue
		}
		for line := range bytes.SplitSeq(buf[:n], []byte("\n")) {
			if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
				continue
			}
			if err := post(ctx, at, s.fields(line, sender), nil); err != nil {
				s.env.Lost(1, "received while stopping")
				return err
			}
		}
	}
}

// fields returns the fields of the event that data makes. They share no memory with data.
func (s *Source) fields(data []byte, from string) map[string]any {
	line := bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	f := map[string]any{"text": lines.Text(line), "bytes": nil, "from": from}
	if !utf8.Valid(data) {
		f["bytes"] = bytes.Clone(data)
	}
	switch {
	case s.o.Split == "line":
		s.o.Decode.Line(line, f)
	case s.o.Decode.Binary():
		s.o.Decode.Payload(data, f) // its last byte may look like a line end
	default:
		s.o.Decode.Payload(line, f)
	}
	return f
}
