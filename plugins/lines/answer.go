package lines

// This file answers lines: "ok", or "error: " and why, in the order of the lines.

import (
	"context"
	"errors"
	"strings"
	"time"
)

const (
	maxOpen    = 64                     // lines of one client whose event is on its way; it is not read from meanwhile
	answerTime = 10 * time.Second       // for a client to take an answer
	parting    = 500 * time.Millisecond // for the answers under way when the source ends
)

// errLater seals a line that this source does not take.
var errLater = errors.New("later")

// seal says what a line's answer is; nil when lines are not answered.
type seal func(error)

func (s seal) with(err error) {
	if s != nil {
		s(err)
	}
}

// answers writes the answers of one client. Without Server.Answer it is nil, and its methods do nothing.
type answers struct {
	c     *Client
	queue chan chan error // one for each line, in their order
	quit  chan struct{}   // closed: the client is given up
	ended chan struct{}   // closed by the goroutine
	bad   bool            // the client can't be written to; read when ended
}

func (s *Server) answers(c *Client) *answers {
	if !s.Answer {
		return nil
	}
	a := &answers{c: c, queue: make(chan chan error, maxOpen), quit: make(chan struct{}), ended: make(chan struct{})}
	go a.write()
	return a
}

// expect makes room for a line's answer, which seal gives; it is false when ctx ended before.
func (a *answers) expect(ctx context.Context) (s seal, ok bool) {
	if a == nil {
		return nil, true
	}
	e := make(chan error, 1)
	select {
	case a.queue <- e:
		return func(err error) {
			select {
			case e <- err:
			default: // it has one
			}
		}, true
	case <-ctx.Done():
		return nil, false
	}
}

func (a *answers) write() {
	defer close(a.ended)
	for e := range a.queue {
		var err error
		select {
		case err = <-e:
		case <-a.quit:
			a.bad = true
			return
		}
		if a.bad || errors.Is(err, errLater) {
			continue
		}
		text := "ok\n"
		if err != nil {
			text = "error: " + strings.Join(strings.Fields(Text([]byte(err.Error()))), " ") + "\n"
		}
		_ = a.c.conn.SetWriteDeadline(time.Now().Add(answerTime)) // fails only with the write
		if _, err := a.c.conn.Write([]byte(text)); err != nil {
			a.bad = true
			a.c.conn.Close() // which its reader sees
		}
	}
}

// finish waits for the answers that are due; after ctx ended only a moment. It is false when the client did not take
// them all: then it can't go on.
func (a *answers) finish(ctx context.Context) bool {
	if a == nil {
		return true
	}
	close(a.queue)
	select {
	case <-a.ended:
		return !a.bad
	case <-ctx.Done():
	}
	t := time.NewTimer(parting)
	defer t.Stop()
	select {
	case <-a.ended:
	case <-t.C:
		a.c.conn.Close()
		close(a.quit)
		<-a.ended
		return false
	}
	return !a.bad
}
