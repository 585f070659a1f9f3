// This file is one request and its answer, over TCP and over RTU.

package modbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

const (
	turnaround  = 100 * time.Millisecond // granted to all units of a line after a broadcast, which none answers
	maxMissed   = 3                      // after this many requests in a row without a byte of an answer, the connection is made again
	maxReceived = 2048                   // received bytes that are kept
)

// noAnswer is the error of a request that was not answered in time.
type noAnswer struct {
	unit    byte
	timeout time.Duration
	trouble string
}

func (n noAnswer) Error() string {
	s := fmt.Sprintf("unit %d did not answer within %s", n.unit, n.timeout)
	if n.trouble != "" {
		s += ": " + n.trouble
	}
	return s
}

// once sends a request once and waits for its answer.
func (l *link) once(ctx context.Context, q request, h askOptions) ([]byte, error) {
	l.mu.Lock()
	c := l.c
	l.mu.Unlock()
	if c == nil {
		return nil, errClosed
	}
	defer kind.InterruptReads(ctx, c)()
	defer kind.InterruptWrites(ctx, c)()
	if l.set.tcp != "" {
		return l.overTCP(ctx, c, q, h)
	}
	return l.overRTU(ctx, c, q, h)
}

// overTCP sends a request over TCP. Its answer has the request's number; answers with other numbers
// are late or stray.
func (l *link) overTCP(ctx context.Context, c conn, q request, h askOptions) ([]byte, error) {
	if d := time.Until(l.quiet); d > 0 && kind.Sleep(ctx, d) != nil {
		return nil, ctx.Err()
	}
	l.number++
	end := time.Now().Add(h.timeout)
	if err := c.SetWriteDeadline(end); err != nil {
		return nil, err
	}
	if _, err := c.Write(mbap(l.number, q.unit, q.pdu())); err != nil {
		return nil, err
	}
	trouble, silent := "", true
	for {
		for {
			number, unit, pdu, n, err := readMBAP(l.buf)
			if err != nil {
				return nil, err
			}
			if n == 0 {
				break
			}
			l.buf = l.buf[n:]
			if number != l.number {
				continue
			}
			if unit != q.unit {
				trouble = fmt.Sprintf("an answer of unit %d was received", unit)
				continue
			}
			data, err := q.read(pdu)
			if m := (malformed{}); errors.As(err, &m) {
				trouble = err.Error() + " was received"
				continue
			}
			l.missed = 0
			return bytes.Clone(data), err
		}
		n, err := l.receive(ctx, c, end)
		silent = silent && n == 0
		if err == nil {
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return nil, err
		}
		l.countMissed(silent)
		return nil, noAnswer{q.unit, h.timeout, trouble}
	}
}

// receive reads further bytes.
func (l *link) receive(ctx context.Context, c conn, end time.Time) (int, error) {
	if err := kind.ReadUntil(ctx, c, end); err != nil {
		return 0, err
	}
	chunk := make([]byte, 512)
	n, err := c.Read(chunk)
	l.buf = append(l.buf, chunk[:n]...)
	if over := len(l.buf) - maxReceived; over > 0 {
		l.buf = append([]byte(nil), l.buf[over:]...)
	}
	if n > 0 {
		err = nil // the next read will return the error again
	}
	return n, err
}

// countMissed counts requests without a byte of an answer, because the peer may be gone and TCP
// notices only much later.
func (l *link) countMissed(silent bool) {
	if !silent {
		l.missed = 0
		return
	}
	if l.missed++; l.missed >= maxMissed && l.set.port == "" {
		l.disconnect()
	}
}

// overRTU sends a request over a serial line. Answers there have no number, so a late one is
// awaited before the next request.
func (l *link) overRTU(ctx context.Context, c conn, q request, h askOptions) ([]byte, error) {
	if err := l.awaitSilence(ctx, c, q.unit, h.timeout); err != nil {
		return nil, err
	}
	sent := rtu(q.unit, q.pdu())
	end := time.Now().Add(h.timeout + l.set.transmitTime(len(sent)+3+q.answer()))
	if err := c.SetWriteDeadline(end); err != nil {
		return nil, err
	}
	if _, err := c.Write(sent); err != nil {
		return nil, err
	}
	if q.unit == 0 { // a broadcast, which is not answered
		l.quiet = time.Now().Add(turnaround + l.set.transmitTime(len(sent)))
		return nil, nil
	}
	echo, silent := l.set.echo, true
	for {
		trouble := ""
		if echo && len(l.buf) >= len(sent) {
			if at := bytes.Index(l.buf, sent); at >= 0 {
				l.buf, echo = l.buf[at+len(sent):], false
			}
		}
		if !echo {
			var pdu []byte
			var ok bool
			if pdu, ok, trouble = findRTU(l.buf, q); ok {
				data, err := q.read(pdu)
				if m := (malformed{}); !errors.As(err, &m) {
					l.missed = 0
					l.quiet = time.Now().Add(l.set.silence())
					return bytes.Clone(data), err
				}
				trouble = err.Error() + " was received"
			}
		} else if len(l.buf) > 0 {
			trouble = "the echo of the request was incomplete"
		}
		n, err := l.receive(ctx, c, end)
		silent = silent && n == 0
		if err == nil {
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return nil, err
		}
		l.late = time.Now().Add(h.timeout)
		l.countMissed(silent)
		return nil, noAnswer{q.unit, h.timeout, trouble}
	}
}

// awaitSilence discards input until the line is silent, and no late answer can arrive any more.
func (l *link) awaitSilence(ctx context.Context, c conn, unit byte, timeout time.Duration) error {
	gap := l.set.silence()
	target := later(later(l.quiet, l.late), time.Now().Add(time.Millisecond))
	limit := target.Add(timeout)
	for {
		l.buf = l.buf[:0]
		n, err := l.receive(ctx, c, target)
		switch {
		case n > 0:
			if target = later(target, time.Now().Add(gap)); target.After(limit) {
				return noAnswer{unit, timeout, "no request was sent, because the line is never silent"}
			}
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
			l.late, l.buf = time.Time{}, l.buf[:0]
			return nil
		case err != nil:
			return err
		}
	}
}

// transmitTime returns how long n bytes take on the line; 0 when the line isn't local.
func (s setting) transmitTime(n int) time.Duration {
	if s.port == "" {
		return 0
	}
	return time.Duration(n) * 11 * time.Second / time.Duration(s.baud)
}

// silence returns the time that separates frames: 3.5 characters, and at least 1.75 ms.
func (s setting) silence() time.Duration { return max(s.transmitTime(7)/2, 1750*time.Microsecond) }
