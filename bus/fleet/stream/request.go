// This file has requests to JetStream's API: subjects below $JS.API, JSON there and back
// (nats-architecture-and-design, ADR-1 and on).

package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// request sends a message and waits for the answer, at most Options.Timeout.
func (o *Options) request(ctx context.Context, l *link, m *nats.Msg) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	ctx, done := l.register(ctx, m.Subject)
	defer done()
	answer, err := l.nc.RequestMsgWithContext(ctx, m)
	var f *Fault
	switch {
	case err == nil:
		return answer, nil
	case errors.As(context.Cause(ctx), &f):
		return nil, f
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("the hub did not answer in time: %w", err)
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, fault(fmt.Sprintf("a message of %d bytes is larger than the hub allows", len(m.Data)),
			"raise max_payload in the hub's configuration", err)
	}
	return nil, err
}

// api asks JetStream. verb is such as STREAM.INFO; answer may have a field error.
func (o *Options) api(ctx context.Context, l *link, verb string, question, answer any) error {
	data, err := json.Marshal(question)
	if err != nil {
		return err
	}
	m, err := o.request(ctx, l, &nats.Msg{Subject: "$JS.API." + verb, Data: data})
	if err != nil {
		return err
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return fmt.Errorf("the hub's answer to %s: %w", verb, err)
	}
	if failed.Error != nil {
		return o.explainAPI(failed.Error)
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("the hub's answer to %s: %w", verb, err)
	}
	return nil
}

// ask is api on the connection in use. The call ends when the Stream is closed.
func (s *Stream) ask(ctx context.Context, verb string, question, answer any) error {
	l, err := s.current()
	if err != nil {
		return err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	return s.closedOr(s.o.api(ctx, l, verb, question, answer))
}

// within ends ctx when the Stream is closed, too.
func (s *Stream) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// closedOr is ErrClosed when the Stream was closed meanwhile, else err.
func (s *Stream) closedOr(err error) error {
	if err != nil && s.ctx.Err() != nil {
		return ErrClosed
	}
	return err
}
