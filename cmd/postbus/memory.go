// This file makes the garbage collector keep within the memory that the process may have.

package main

import (
	"log/slog"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryRatio leaves the rest to what the collector does not see, such as stacks of the kernel and
// pages of files.
const memoryRatio = 0.8

// limitMemory sets the collector's soft limit to a part of the control group's or the machine's
// memory. Otherwise garbage may take as much memory as everything in use, and the system kills a bus
// that would fit. GOMEMLIMIT takes precedence. Without a known limit the collector works as usual.
func limitMemory(log *slog.Logger) {
	limit, err := memlimit.Set(memlimit.WithRatio(memoryRatio), memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)))
	if err != nil {
		log.Debug("the memory limit is not known", "err", err)
		return
	}
	log.Debug("memory limit", "bytes", limit)
}
