package kind

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		if err := Sleep(ctx, time.Hour); err != nil || time.Since(began) != time.Hour {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		time.AfterFunc(time.Minute, cancel)
		if err := Sleep(ctx, time.Hour); err != context.Canceled || time.Since(began) != time.Hour+time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		Interrupt(t.Context(), func() { calls++ })()
		ctx, cancel := context.WithCancel(t.Context())
		stop := Interrupt(ctx, func() { time.Sleep(time.Second); calls++ })
		cancel()
		stop()
		if calls != 1 {
			t.Errorf("stop has returned before wake, or wake was called without need: %d", calls)
		}
		stop() // a second call does nothing
	})
}

func TestInterruptReadsAndWrites(t *testing.T) {
	ours, theirs := net.Pipe() // its writes block until the other end reads
	defer ours.Close()
	defer theirs.Close()
	for name, block := range map[string]func(ctx context.Context) error{
		"read": func(ctx context.Context) error {
			defer InterruptReads(ctx, ours)()
			_, err := ours.Read(make([]byte, 1))
			return err
		},
		"write": func(ctx context.Context) error {
			defer InterruptWrites(ctx, ours)()
			_, err := ours.Write([]byte("x"))
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- block(ctx) }()
		cancel()
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadUntilAfterTheEnd(t *testing.T) {
	c, _ := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	if err := ReadUntil(ctx, c, time.Time{}); err != nil {
		t.Error(err)
	}
	cancel()
	if err := ReadUntil(ctx, c, time.Time{}); err != context.Canceled {
		t.Error(err)
	}
	c.Close()
	if err := ReadUntil(t.Context(), c, time.Time{}); err == nil {
		t.Error("a closed connection takes a deadline")
	}
}
