// This file is load averages, where the system has them. gopsutil emulates them on Windows with a
// goroutine that never ends, so they are left out there.

//go:build !windows

package host

import (
	"context"

	"github.com/shirou/gopsutil/v4/load"
)

func readLoad(ctx context.Context) (map[string]any, error) {
	l, err := load.AvgWithContext(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]any{"load1": l.Load1, "load5": l.Load5, "load15": l.Load15}, nil
}
