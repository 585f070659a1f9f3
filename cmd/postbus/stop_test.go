package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestEachPartOfAStopGetsAShareOfTheTime: parts that use all of the time they get leave some for the
// bus, also if the plugins used most of it.
func TestEachPartOfAStopGetsAShareOfTheTime(t *testing.T) {
	for _, plugins := range []time.Duration{0, 1250 * time.Millisecond, 3750 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			s := &server{}
			var left time.Duration
			s.closing(func(ctx context.Context) error {
				end, _ := ctx.Deadline()
				left = time.Until(end)
				return nil
			})
			for _, part := range []struct {
				n     time.Duration
				limit time.Duration
			}{{2, clientTimeout}, {4, requestTimeout}} {
				s.closing(func(ctx context.Context) error {
					ctx, cancel := share(ctx, part.n, part.limit)
					defer cancel()
					<-ctx.Done()
					return nil
				})
			}
			s.closing(func(context.Context) error { time.Sleep(plugins); return nil })
			ctx, cancel := context.WithTimeout(t.Context(), stopTimeout)
			defer cancel()
			if err := s.close(ctx); err != nil {
				t.Fatal(err)
			}
			if left < 400*time.Millisecond {
				t.Errorf("with plugins that take %s, the bus has %s left", plugins, left)
			}
		})
	}
}
