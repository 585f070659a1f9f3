package bench

// This file is the broker's memory and CPU time, measured from outside.

import (
	"context"
	"sync"
	"time"
)

// Memory is a process's memory by the operating system, in KiB.
type Memory struct {
	RSS  int64 `json:"rss_kib"`      // VmRSS: resident now
	Anon int64 `json:"rss_anon_kib"` // RssAnon: of these, its own data
	Peak int64 `json:"peak_kib"`     // VmHWM: the highest ever
}

// Usage is a broker's memory and CPU time over a scenario; nil in a result when no PID was given.
type Usage struct {
	Before  Memory  `json:"before"`
	After   Memory  `json:"after"`
	PeakRSS int64   `json:"peak_rss_kib"` // during the scenario; exact when it was the highest ever, otherwise sampled every 50 ms
	Growth  int64   `json:"growth_kib"`   // PeakRSS - Before.RSS
	CPU     float64 `json:"cpu_seconds"`
}

// watch samples a process until stop; nil when there is none to watch.
type watch struct {
	pid    int
	use    Usage
	cpu    float64
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func startWatch(ctx context.Context, pid int) (*watch, error) {
	if pid == 0 {
		return nil, nil
	}
	m, err := readMemory(pid)
	if err != nil {
		return nil, withHint(err,
			"--pid takes the number of the broker's running process; leave it out if it isn't on this machine")
	}
	w := &watch{pid: pid, use: Usage{Before: m, PeakRSS: m.RSS}}
	if w.cpu, err = readCPU(pid); err != nil {
		return nil, err
	}
	ctx, w.cancel = context.WithCancel(ctx)
	w.done.Go(func() {
		for ctx.Err() == nil {
			pause(ctx, 50*time.Millisecond)
			if m, err := readMemory(pid); err == nil {
				w.use.PeakRSS = max(w.use.PeakRSS, m.RSS)
			}
		}
	})
	return w, nil
}

// stop ends the sampling; call it once, also on a nil watch.
func (w *watch) stop() (*Usage, error) {
	if w == nil {
		return nil, nil
	}
	w.cancel()
	w.done.Wait()
	m, err := readMemory(w.pid)
	if err != nil {
		return nil, err
	}
	cpu, err := readCPU(w.pid)
	if err != nil {
		return nil, err
	}
	w.use.After, w.use.CPU = m, cpu-w.cpu
	w.use.PeakRSS = max(w.use.PeakRSS, m.RSS)
	if m.Peak > w.use.Before.Peak {
		w.use.PeakRSS = m.Peak
	}
	w.use.Growth = w.use.PeakRSS - w.use.Before.RSS
	return &w.use, nil
}
