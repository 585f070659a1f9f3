package lines

// This file answers lines: "ok", or "error: " and the reason, in the order of the lines.

import (
	"context"
	"errors"
	"strings"
	"time"
)

const (
	maxOpen     = 64                     // unanswered lines of one client, after which it is not read from until one is answered
	answerTime  = 10 * time.Second       // for a client to accept an answer
	answerGrace = 500 * time.Millisecond // for the pending answers when the source ends
)

// errNextSource settles a line that this source leaves to the next one.
var errNextSource = errors.New("the line is left to the next source")

// settle sets a line's answer; nil when lines are not answered.
type settle func(error)

func (s settle) with(err error) {
	if s != nil {
		s(err)
	}
}

// answers writes the answers of one client, and lives as long as the client is connected. When a
// source ended, the same goroutine answers the lines that it posted, while the next source reads
// further lines. Its methods do nothing when it is nil, as it is while no source answers lines.
type answers struct {
	c     *Client
	queue chan answer   // one for each line, in order
	quit  chan struct{} // closed when the client is given up
	ended chan struct{} // closed by the goroutine
}

// answer is a line's answer, known once the event is stored or refused, or a mark that all answers
// before it are written.
type answer struct {
	fate    chan error
	written chan struct{}
}

func newAnswers(c *Client) *answers {
	a := &answers{c: c, queue: make(chan answer, maxOpen), quit: make(chan struct{}), ended: make(chan struct{})}
	go a.write()
	return a
}

// expect reserves a line's answer, which settle later sets. ok is false when ctx ended first.
func (a *answers) expect(ctx context.Context) (s settle, ok bool) {
	fate := make(chan error, 1)
	select {
	case a.queue <- answer{fate: fate}:
		return func(err error) {
			select {
			case fate <- err:
			default: // it is set already
			}
		}, true
	case <-ctx.Done():
		return nil, false
	}
}

func (a *answers) write() {
	defer close(a.ended)
	bad := false // the client can't be written to
	for {
		var next answer
		select {
		case next = <-a.queue:
		case <-a.quit:
			return
		}
		if next.written != nil {
			close(next.written)
			continue
		}
		var err error
		select {
		case err = <-next.fate:
		case <-a.quit:
			return
		}
		if bad || errors.Is(err, errNextSource) {
			continue
		}
		text := "ok\n"
		if err != nil {
			text = "error: " + strings.Join(strings.Fields(Text([]byte(err.Error()))), " ") + "\n"
		}
		_ = a.c.conn.SetWriteDeadline(time.Now().Add(answerTime)) // fails only when the write fails too
		if _, err := a.c.conn.Write([]byte(text)); err != nil {
			bad = true
			a.c.conn.Close() // its reader notices
		}
	}
}

// flush waits until the pending answers are written, after ctx's end only for a moment. It reports
// whether they are.
func (a *answers) flush(ctx context.Context) bool {
	if a == nil {
		return true
	}
	over := make(chan struct{}) // closed a moment after ctx ended
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(answerGrace, func() { close(over) }) })
	defer stop()
	mark := answer{written: make(chan struct{})}
	select {
	case a.queue <- mark:
	case <-over:
		return false
	}
	select {
	case <-mark.written:
		return true
	case <-over:
		return false
	}
}

// close discards the answers that are not written yet. The connection must be closed.
func (a *answers) close() {
	if a != nil {
		close(a.quit)
		<-a.ended
	}
}
