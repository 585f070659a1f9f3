package fleet

// This file is what a fleet needs of its hub, and the place in the hub's stream.

import (
	"context"
	"time"

	"github.com/postbus/postbus/bus/fleet/stream"
)

// Hub is the stream of a fleet. *stream.Stream is one; see Via.
type Hub interface {
	// Bind returns what appends over the present connection only. If the hub restarts, and may have forgotten
	// what was sent before, it fails with stream.ErrRestarted: a message says that earlier ones are there.
	Bind() (stream.Appender, error)
	Last(ctx context.Context, subject string) (m stream.Message, ok bool, err error)
	At(ctx context.Context, seq uint64) (m stream.Message, ok bool, err error)
	Info(ctx context.Context) (stream.Info, error)
	// LastPerSubject calls each with the last message of every subject that matches.
	LastPerSubject(ctx context.Context, filter string, upTo uint64, each func(stream.Message) error) error
	Read(ctx context.Context, from uint64, subjects ...string) (Reader, error)
	// Ask sends a question that is not stored; an answer that does not come is an error.
	Ask(ctx context.Context, subject string, data []byte) ([]byte, error)
	Listen(subject string, answer func(subject string, data []byte) []byte) (stop func(), err error)
	Connected() (bool, error)
	WaitConnected(ctx context.Context) error
	Close()
}

// Reader reads a stream in its order.
type Reader interface {
	// Next returns the next message. It returns stream.ErrRestarted once when the stream may have changed
	// behind what was read.
	Next(ctx context.Context) (stream.Message, error)
	Close()
}

// Via returns the hub that a stream's options reach. It is what New wants.
func Via(o stream.Options) func(context.Context) (Hub, error) {
	return func(ctx context.Context) (Hub, error) {
		s, err := stream.Open(ctx, o)
		if err != nil {
			return nil, err
		}
		return via{s}, nil
	}
}

type via struct{ *stream.Stream }

func (v via) Read(ctx context.Context, from uint64, subjects ...string) (Reader, error) {
	r, err := v.Stream.Read(ctx, from, subjects...)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// place is a position in the hub's stream that can be checked: a sequence alone means something else after
// the hub lost its newest messages, or all.
type place struct {
	Created int64  `json:"created"`           // of the stream, Unix nanoseconds
	Seq     uint64 `json:"seq"`               // of the last message that was read or written; 0: none
	Subject string `json:"subject,omitempty"` // of that message
	Last    uint64 `json:"last,omitempty"`    // number of its last event
	Sent    int64  `json:"sent,omitempty"`    // of its header: a group that is sent again is another message
}

func placeOf(created time.Time, m stream.Message) place {
	p := place{Created: created.UnixNano(), Seq: m.Seq, Subject: m.Subject}
	if g, err := decodeHeader(m.Data); err == nil {
		p.Last, p.Sent = g.Last, g.Sent
	}
	return p
}

// holds reports whether the stream still has what it had at the place, or has removed it because of its age.
func (p place) holds(ctx context.Context, hub Hub, info stream.Info) (bool, error) {
	switch {
	case p.Created != info.Created.UnixNano():
		return false, nil
	case p.Seq == 0 || p.Seq < info.First && p.Seq <= info.Last:
		return true, nil
	case p.Seq > info.Last:
		return false, nil
	}
	m, ok, err := hub.At(ctx, p.Seq)
	if err != nil {
		return false, err
	}
	if !ok { // it was removed meanwhile
		info, err := hub.Info(ctx)
		return p.Seq < info.First && p.Seq <= info.Last, err
	}
	return placeOf(info.Created, m) == p, nil
}
