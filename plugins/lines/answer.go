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

// answers writes the answers of one client, and lives as long as the client is connected: what a source that ended has
// posted is answered by the same goroutine while the next one reads on. Its methods do nothing when it is nil, as it is
// while no source answers lines.
type answers struct {
	c     *Client
	queue chan answer   // one for each line, in their order
	quit  chan struct{} // closed: the client is given up
	ended chan struct{} // closed by the goroutine
}

// answer is what a line is answered once its fate is known, or a mark that all before it are written.
type answer struct {
	fate    chan error
	written chan struct{}
}

func newAnswers(c *Client) *answers {
	a := &answers{c: c, queue: make(chan answer, maxOpen), quit: make(chan struct{}), ended: make(chan struct{})}
	go a.write()
	return a
}

// expect makes room for a line's answer, which seal gives; it is false when ctx ended before.
func (a *answers) expect(ctx context.Context) (s seal, ok bool) {
	fate := make(chan error, 1)
	select {
	case a.queue <- answer{fate: fate}:
		return func(err error) {
			select {
			case fate <- err:
			default: // it has one
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
		if bad || errors.Is(err, errLater) {
			continue
		}
		text := "ok\n"
		if err != nil {
			text = "error: " + strings.Join(strings.Fields(Text([]byte(err.Error()))), " ") + "\n"
		}
		_ = a.c.conn.SetWriteDeadline(time.Now().Add(answerTime)) // fails only with the write
		if _, err := a.c.conn.Write([]byte(text)); err != nil {
			bad = true
			a.c.conn.Close() // which its reader sees
		}
	}
}

// flush waits until the answers that are due are written; after ctx ended only a moment. It reports whether they are.
func (a *answers) flush(ctx context.Context) bool {
	if a == nil {
		return true
	}
	over := make(chan struct{}) // closed a moment after ctx ended
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(parting, func() { close(over) }) })
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

// close gives the answers up that are not written yet; the connection is closed.
func (a *answers) close() {
	if a != nil {
		close(a.quit)
		<-a.ended
	}
}
