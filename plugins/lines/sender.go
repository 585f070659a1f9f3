package lines

// This file sends lines over one connection that is kept.

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Sender sends lines over a connection, which it makes when it needs one. A goroutine reads what the other side says,
// so that its end is noticed and it never waits for us; Close ends it. Its methods may be called from everywhere.
type Sender struct {
	Name    string        // of the other side, for errors
	Timeout time.Duration // for connecting, for sending a line, and for an answer, each
	Answer  bool          // each line is answered by one
	Dial    func(ctx context.Context) (net.Conn, error)

	mu      sync.Mutex
	conn    net.Conn      // nil when there is none
	gone    chan struct{} // closed when the other side ended conn
	quit    chan struct{} // closed: nobody takes answers any more
	answers chan string
}

// severalLines is an error that no second attempt repairs.
type severalLines struct{}

func (severalLines) Error() string   { return "text has a line break within: it would be several lines" }
func (severalLines) Permanent() bool { return true }

// Send sends a text as one line, and returns its answer if it has one. An error with Permanent() true is about the text.
func (s *Sender) Send(ctx context.Context, text string) (answer string, err error) {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if strings.ContainsAny(text, "\r\n") {
		return "", severalLines{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.connect(ctx); err != nil {
		return "", err
	}
	for stale := true; stale; { // what was said without being asked answers nothing
		select {
		case <-s.answers:
		default:
			stale = false
		}
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.Timeout)) // fails only with the write
	conn, woken := s.conn, make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = conn.SetWriteDeadline(time.Unix(1, 0))
	})
	_, err = conn.Write([]byte(text + "\n"))
	if !stop() {
		<-woken
	}
	if err != nil {
		s.hangUp()
		return "", fmt.Errorf("sending to %s: %w", s.Name, err)
	}
	if !s.Answer {
		return "", nil
	}
	answer, err = s.answer(ctx)
	if err != nil {
		s.hangUp() // an answer that comes later would be taken for that of the next line
		return "", fmt.Errorf("waiting for the answer of %s: %w", s.Name, err)
	}
	return answer, nil
}

// connect makes a connection unless there is one.
func (s *Sender) connect(ctx context.Context) error {
	if s.conn != nil {
		select {
		case <-s.gone:
			s.hangUp()
		default:
			return nil
		}
	}
	dialing, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	c, err := s.Dial(dialing)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", s.Name, err)
	}
	s.conn, s.gone, s.quit, s.answers = c, make(chan struct{}), make(chan struct{}), make(chan string, 1)
	go func(gone, quit chan struct{}, answers chan string) {
		defer close(gone)
		if !s.Answer {
			_, _ = io.Copy(io.Discard, c) // whatever ended it, the connection is of no more use
			return
		}
		for r := NewReader(c, 0); ; {
			line, err := r.Next()
			if err != nil {
				return
			}
			select {
			case answers <- Text(line):
			case <-quit:
				return
			}
		}
	}(s.gone, s.quit, s.answers)
	return nil
}

func (s *Sender) answer(ctx context.Context) (string, error) {
	t := time.NewTimer(s.Timeout)
	defer t.Stop()
	select {
	case a := <-s.answers:
		return a, nil
	case <-s.gone:
		select {
		case a := <-s.answers: // its last words
			return a, nil
		default:
			return "", io.ErrUnexpectedEOF
		}
	case <-t.C:
		return "", fmt.Errorf("none came within %s", s.Timeout)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// hangUp closes the connection and waits for its reader.
func (s *Sender) hangUp() {
	s.conn.Close()
	close(s.quit)
	<-s.gone
	s.conn = nil
}

// Close ends the connection.
func (s *Sender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.hangUp()
	}
	return nil
}
