package lines

// This file sends lines over one persistent connection.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// Sender sends lines over a connection, which it opens when needed. A goroutine reads from the
// server, so that the connection's end is noticed and the server never blocks on us; Close ends it.
// Any goroutine may call its methods.
type Sender struct {
	Name    string        // of the server, for errors
	Timeout time.Duration // for connecting, for sending a line, and for an answer, each
	Answer  bool          // the server answers each line with one line
	Dial    func(ctx context.Context) (net.Conn, error)

	mu      sync.Mutex
	conn    net.Conn      // nil while disconnected
	gone    chan struct{} // closed when the server ended conn
	quit    chan struct{} // closed when answers are no longer read
	answers chan string
}

var errSeveralLines = errors.New("text contains a line break: it would be several lines")

// Send sends a text as one line, and returns the answer if lines are answered. A permanent error is
// about the text.
func (s *Sender) Send(ctx context.Context, text string) (answer string, err error) {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if strings.ContainsAny(text, "\r\n") {
		return "", kind.Permanent(errSeveralLines)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.connect(ctx); err != nil {
		return "", err
	}
	for stale := true; stale; { // a line that was sent unasked is not an answer
		select {
		case <-s.answers:
		default:
			stale = false
		}
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.Timeout)) // fails only when the write fails too
	stop := kind.InterruptWrites(ctx, s.conn)
	_, err = s.conn.Write([]byte(text + "\n"))
	stop()
	if err != nil {
		s.disconnect()
		return "", fmt.Errorf("sending to %s: %w", s.Name, err)
	}
	if !s.Answer {
		return "", nil
	}
	answer, err = s.answer(ctx)
	if err != nil {
		s.disconnect() // a late answer would be read as the next line's
		return "", fmt.Errorf("waiting for the answer of %s: %w", s.Name, err)
	}
	return answer, nil
}

// connect opens a connection unless one is open.
func (s *Sender) connect(ctx context.Context) error {
	if s.conn != nil {
		select {
		case <-s.gone:
			s.disconnect()
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
			_, _ = io.Copy(io.Discard, c) // after any error the connection is useless
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
		case a := <-s.answers: // its last answer
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

// disconnect closes the connection and waits for its reader.
func (s *Sender) disconnect() {
	s.conn.Close()
	close(s.quit)
	<-s.gone
	s.conn = nil
}

// Close closes the connection.
func (s *Sender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.disconnect()
	}
	return nil
}
