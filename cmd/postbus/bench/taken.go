package bench

// This file is one client of Takeover. It behaves correctly: it reads its connections one after the
// other, answers what it reads, and keeps the identifiers of QoS 2 for as long as its session
// lasts.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// takenClient is owned by the goroutine that drives it, except sub.
type takenClient struct {
	round   *takeoverRound
	target  target
	id      string
	filters []string
	random  *rand.Rand
	sub     *subscriber // owned by the reader of the oldest connection that is still read
	current *takenLink

	connects              hist
	sessionsLost, refused int
	refusal               error
	leftOpen              atomic.Int32
}

// takenLink is one connection of a takenClient.
type takenLink struct {
	conn       *conn
	superseded atomic.Int64  // clock when the next CONNECT was sent
	done       chan struct{} // closed when everything received was read
	err        error
}

func (c *takenClient) begin(ctx context.Context) error {
	conn, _, err := c.target.connect(ctx, c.id, false)
	if err != nil {
		return err
	}
	if err := conn.subscribe(byte(c.round.o.QoS), c.filters...); err != nil {
		conn.close()
		return err
	}
	c.read(ctx, conn, false)
	return nil
}

// drive connects repeatedly until publishing ends.
func (c *takenClient) drive(ctx, publishing context.Context) {
	for {
		sleep(publishing, c.interval())
		if publishing.Err() != nil {
			return
		}
		c.step(ctx)
	}
}

func (c *takenClient) interval() time.Duration {
	low, high := c.round.o.IntervalMin, c.round.o.IntervalMax
	return low + time.Duration(c.random.Int64N(int64(high-low)+1))
}

// step is one takeover or one reconnect.
func (c *takenClient) step(ctx context.Context) {
	leave := c.round.o.Mode == ModeReconnect || c.round.o.Mode == ModeGroup && c.random.IntN(2) == 0
	if leave {
		if c.random.IntN(2) == 0 {
			c.current.conn.disconnect()
		} else {
			c.current.conn.close()
		}
		if c.random.IntN(2) == 0 {
			sleep(ctx, c.interval())
		}
	}
	c.connect(ctx)
}

// connect resumes the session. The old connection may be alive, and is read to its end.
func (c *takenClient) connect(ctx context.Context) {
	old := c.current
	old.superseded.Store(clock())
	start := clock()
	conn, present, err := c.target.connect(ctx, c.id, false)
	if err != nil {
		old.superseded.Store(0)
		c.refused++
		c.refusal = err
		return
	}
	c.connects.add(clock() - start)
	if !present {
		c.sessionsLost++
		if err := conn.subscribe(byte(c.round.o.QoS), c.filters...); err != nil {
			c.refusal = err
		}
	}
	c.read(ctx, conn, !present)
}

// read starts a goroutine that owns conn. It begins when the last connection was read to its end,
// because the order of a session can be judged only in the order in which the broker sent it.
func (c *takenClient) read(ctx context.Context, conn *conn, fresh bool) {
	before := c.current
	l := &takenLink{conn: conn, done: make(chan struct{})}
	c.current = l
	over := complete(c.sub.check, c.round.publishers, c.round.o.Idle, c.round.finished.Load)
	c.round.reading.Go(func() {
		defer close(l.done)
		defer conn.close()
		if before != nil {
			<-before.done
		}
		if fresh {
			c.sub.held = nil
		}
		c.sub.link = c.sub.check.newLink()
		l.err = c.sub.run(conn, func(quiet bool) bool {
			if at := l.superseded.Load(); at > 0 && clock()-at > int64(2*time.Second) {
				c.leftOpen.Add(1)
				return true
			}
			return over(quiet)
		})
	})
}

// drain lets the last connection receive the remaining events.
func (c *takenClient) drain(ctx context.Context) error {
	for try := 0; ; try++ {
		<-c.current.done
		if c.current.err == nil && c.current.superseded.Load() == 0 {
			return nil
		}
		if try == 5 || ctx.Err() != nil {
			return fmt.Errorf("the subscriber %s: %w", c.id, firstError(c.current.err, c.refusal, errClosed))
		}
		c.connect(ctx)
	}
}
