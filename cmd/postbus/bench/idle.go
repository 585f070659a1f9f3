package bench

// This file is Idle: the cost of an idle connection to the broker.

import (
	"context"
	"sync"
	"time"
)

// IdleOptions adds the connections to Options; PID is required.
type IdleOptions struct {
	Options
	Connections int           // default 1000
	Settle      time.Duration // how long to wait before reading the memory; default 3 s
}

// IdleResult is what Idle measured.
type IdleResult struct {
	Scenario    string  `json:"scenario"`
	Target      string  `json:"target"`
	Connections int     `json:"connections"`
	Before      Memory  `json:"before"`
	After       Memory  `json:"after"`
	PerRSS      float64 `json:"rss_kib_each"`
	PerAnon     float64 `json:"rss_anon_kib_each"`
	Seconds     float64 `json:"connected_in_seconds"`
}

// Idle opens connections that send nothing and reads the broker's memory, which does not include
// the kernel's socket buffers. Use a freshly started broker: memory that an earlier load left is
// reused and hides the cost.
func Idle(ctx context.Context, io IdleOptions) (IdleResult, error) {
	o, err := io.Options.prepare()
	if err != nil {
		return IdleResult{}, err
	}
	n, settle := io.Connections, io.Settle
	if n == 0 {
		n = 1000
	}
	if settle == 0 {
		settle = 3 * time.Second
	}
	switch {
	case n < 0 || settle < 0:
		return IdleResult{}, usage("--connections and --settle can't be negative")
	case o.PID == 0:
		return IdleResult{}, usage("bench idle reads the broker's memory: give its process with --pid")
	}
	r := IdleResult{Scenario: "idle", Target: o.Target, Connections: n}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sleep(ctx, settle/2)
	if r.Before, err = readMemory(o.PID); err != nil {
		return r, err
	}
	start := clock()
	conns := make([]*conn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.disconnect()
			}
		}
	}()
	const dialers = 16
	var work sync.WaitGroup
	errs := make([]error, dialers)
	for d := range dialers {
		work.Go(func() {
			for i := d; i < n && ctx.Err() == nil; i += dialers {
				c, _, err := o.target.connect(ctx, o.clientID("i", i), true)
				if err != nil {
					errs[d] = withHint(err, "the limit of open files may be too low: ulimit -n")
					cancel()
					return
				}
				c.buf = nil // it will read nothing
				conns[i] = c
			}
		})
	}
	work.Wait()
	if err := firstError(errs...); err != nil {
		return r, err // the other errors follow from it
	}
	r.Seconds = float64(clock()-start) / 1e9
	sleep(ctx, settle)
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	if r.After, err = readMemory(o.PID); err != nil {
		return r, err
	}
	r.PerRSS = float64(r.After.RSS-r.Before.RSS) / float64(n)
	r.PerAnon = float64(r.After.Anon-r.Before.Anon) / float64(n)
	return r, nil
}
