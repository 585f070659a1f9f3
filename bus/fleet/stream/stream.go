// This file has the Stream: one connection at a time, checked before anything is sent on it.
//
//	connect ─▶ check (version, JetStream, stream, sizes) ─▶ in use ─▶ lost ─▶ pause ─▶ connect
//
// The NATS client's own reconnecting is not used: a connection that came back by itself could lead
// to another hub, or to one that forgot, before anybody looked.

package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postbus/postbus/bus/quiet"
)

// Message is one message of the stream.
type Message struct {
	Seq     uint64
	Subject string
	Data    []byte
	Stored  time.Time // by the hub's clock
}

// Stream is one log on a hub. See the package's comment.
type Stream struct {
	o      Options
	ctx    context.Context // ends when the Stream is closed
	cancel context.CancelFunc
	wait   sync.WaitGroup

	foreign quiet.Log // messages that are not genuine

	mu     sync.Mutex
	link   *link         // the connection in use; nil while there is none
	err    error         // why there is none
	change chan struct{} // closed at the next change
}

// link is one connection.
type link struct {
	nc     *nats.Conn
	closed chan struct{} // closed when the client ended it, and its callbacks

	mu    sync.Mutex
	calls map[*call]struct{}
}

// call is a request that waits, for errors that the hub reports apart from answers.
type call struct {
	subject string
	cancel  context.CancelCauseFunc
}

// Open connects. It returns a *Fault if the hub was reached and can't be used until somebody
// changes something; if it can't be reached, it returns a Stream that goes on trying.
func Open(ctx context.Context, o Options) (*Stream, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	s := &Stream{o: o, change: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, s.cancel)
	l, err := s.connect(s.ctx)
	if !stop() || isFault(err) {
		if l != nil {
			l.close()
		}
		s.cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	s.set(l, err)
	s.wait.Go(func() { s.run(l) })
	return s, nil
}

// Close ends the connection and all calls, and waits for them.
func (s *Stream) Close() {
	s.mu.Lock() // no Listen may begin from now on
	s.cancel()
	s.mu.Unlock()
	s.wait.Wait()
}

// Connected reports whether a hub is connected and fit for use; if not, why.
func (s *Stream) Connected() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link != nil, s.err
}

// WaitConnected waits until Connected. It returns ErrClosed, or ctx's error with the reason why
// there is no connection.
func (s *Stream) WaitConnected(ctx context.Context) error {
	_, err := s.waitLink(ctx, nil)
	return err
}

// run keeps a connection until the Stream is closed. It is the only one to change it.
func (s *Stream) run(l *link) {
	defer func() {
		s.set(nil, ErrClosed)
		if l != nil {
			l.close()
		}
	}()
	_, err := s.Connected()
	told := ""
	for failed := 0; ; {
		if news := fmt.Sprint(l != nil, err); news != told {
			told = news
			s.report(l, err)
		}
		if l != nil {
			since := time.Now()
			select {
			case <-s.ctx.Done():
				return
			case <-l.closed:
			}
			if time.Since(since) > s.o.Retry { // else it flaps, and the pauses grow
				failed = 0
			}
			err = fmt.Errorf("%w: %w", ErrOffline, lostReason(l.nc.LastError()))
			l = nil
			s.set(nil, err)
			continue
		}
		failed++
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(pause(failed, s.o.Retry)):
		}
		if l, err = s.connect(s.ctx); s.ctx.Err() != nil {
			return
		}
		s.set(l, err)
	}
}

// report tells of a change.
func (s *Stream) report(l *link, err error) {
	var f *Fault
	switch {
	case l != nil:
		s.o.Logger.Info("connected to the hub", "stream", s.o.Stream, "server", l.nc.ConnectedUrlRedacted())
	case errors.As(err, &f):
		s.o.Logger.Error("the hub can't be used, will retry", "stream", s.o.Stream, "error", err, "hint", f.Hint())
	default:
		s.o.Logger.Warn("the hub is not connected, will retry", "stream", s.o.Stream, "error", err)
	}
	if s.o.Changed != nil {
		s.o.Changed(l != nil, err)
	}
}

func lostReason(err error) error {
	if err == nil {
		return errors.New("the hub closed the connection")
	}
	return explainConnect(err)
}

func (s *Stream) set(l *link, err error) {
	s.mu.Lock()
	s.link, s.err = l, err
	close(s.change)
	s.change = make(chan struct{})
	s.mu.Unlock()
}

// connect tries each address once, in an order by chance, and checks the first that answers. The
// error is a *Fault only if every address has one.
func (s *Stream) connect(ctx context.Context) (*link, error) {
	var list []error
	urls := slices.Clone(s.o.URLs)
	rand.Shuffle(len(urls), func(i, k int) { urls[i], urls[k] = urls[k], urls[i] })
	faults := 0
	for _, u := range urls {
		l, err := s.o.dial(ctx, u)
		if err == nil {
			if err = s.o.check(ctx, l); err == nil {
				return l, nil
			}
			l.close()
		}
		if ctx.Err() != nil {
			return nil, ErrClosed
		}
		if isFault(err) {
			faults++
		}
		list = append(list, atAddress(u, err))
	}
	if faults == len(urls) {
		return nil, list[0]
	}
	return nil, fmt.Errorf("%w: %w", ErrOffline, errors.Join(withoutFaults(list)...))
}

// withoutFaults hides that an error is a *Fault, for errors that time may mend.
func withoutFaults(list []error) []error {
	for i, err := range list {
		var f *Fault
		if errors.As(err, &f) {
			list[i] = errors.New(err.Error())
		}
	}
	return list
}

// atAddress names the address, without a password, in front of an error.
func atAddress(address string, err error) error {
	name := address
	if u, e := url.Parse(address); e == nil {
		name = u.Redacted()
	}
	var f *Fault
	if errors.As(err, &f) {
		return &Fault{what: name + ": " + f.what, hint: f.hint, err: f.err}
	}
	return fmt.Errorf("%s: %w", name, err)
}

// dial makes one connection.
func (o *Options) dial(ctx context.Context, address string) (*link, error) {
	d := &dialer{ctx: ctx, under: o.Dialer}
	options, err := o.client(d)
	if err != nil {
		return nil, err
	}
	l := &link{closed: make(chan struct{}), calls: map[*call]struct{}{}}
	options = append(options,
		nats.ClosedHandler(func(*nats.Conn) { close(l.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.failed(o, err) }))
	if l.nc, err = nats.Connect(address, options...); errors.Is(err, nats.ErrNoServers) && d.err != nil {
		err = d.err // the client hides why
	}
	if err != nil {
		return nil, explainConnect(err)
	}
	return l, nil
}

// close ends the connection and waits for its callbacks.
func (l *link) close() {
	l.nc.Close()
	<-l.closed
}

// failed ends the calls that an error of the hub is about: the hub reports a missing permission
// apart, and never answers the request.
func (l *link) failed(o *Options, err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		o.Logger.Warn("the hub reports an error", "stream", o.Stream, "error", err)
		return
	}
	text := strings.ToLower(err.Error())
	all := strings.Contains(text, strings.ToLower(`"`+o.Inbox)) // no answer can arrive
	found := false
	l.mu.Lock()
	for c := range l.calls {
		if all || strings.Contains(text, strings.ToLower(`"`+c.subject+`"`)) {
			c.cancel(forbidden(err))
			found = true
		}
	}
	l.mu.Unlock()
	if !found {
		o.Logger.Error("the hub forbids something that the bus needs",
			"stream", o.Stream, "error", err, "hint", forbidden(err).Hint())
	}
}

func forbidden(err error) *Fault {
	return fault("the hub forbids this", "give this bus the permissions that `postbus fleet add` prints", err)
}

// register makes a call known, so that a missing permission ends ctx with a *Fault as its cause.
func (l *link) register(ctx context.Context, subject string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &call{subject, cancel}
	l.mu.Lock()
	l.calls[c] = struct{}{}
	l.mu.Unlock()
	return ctx, func() {
		l.mu.Lock()
		delete(l.calls, c)
		l.mu.Unlock()
		cancel(nil)
	}
}

// current is the connection in use.
func (s *Stream) current() (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.link != nil:
		return s.link, nil
	case s.ctx.Err() != nil:
		return nil, ErrClosed
	}
	return nil, s.err
}

// waitLink waits for a connection that is not old.
func (s *Stream) waitLink(ctx context.Context, old *link) (*link, error) {
	for {
		s.mu.Lock()
		l, reason, change := s.link, s.err, s.change
		s.mu.Unlock()
		switch {
		case s.ctx.Err() != nil:
			return nil, ErrClosed
		case l != nil && l != old:
			return l, nil
		}
		select {
		case <-ctx.Done():
			if reason != nil {
				return nil, fmt.Errorf("%w: %w", ctx.Err(), reason)
			}
			return nil, ctx.Err()
		case <-s.ctx.Done():
		case <-change:
		}
	}
}
