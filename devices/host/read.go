// This file is readings of processor, memory, disk, load and uptime.

package host

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
)

// keysOf are the fields of each thing.
var keysOf = map[string][]string{
	"cpu":         {"cpu"},
	"memory":      {"memory", "memory_used", "memory_total", "swap"},
	"disk":        {"disk", "disk_free", "disk_total"},
	"temperature": {"temperature", "temperatures"},
	"network":     {"rx", "tx", "rx_total", "tx_total"},
	"load":        {"load1", "load5", "load15"},
	"uptime":      {"uptime"},
	"battery":     {"battery", "charging"},
	"throttling": {"under_voltage", "frequency_capped", "throttled", "soft_temperature_limit",
		"under_voltage_occurred", "frequency_capped_occurred", "throttled_occurred", "soft_temperature_limit_occurred"},
}

// reader returns the read of a checked thing.
func reader(name string, o Options) read {
	switch name {
	case "cpu":
		return readCPU()
	case "memory":
		return readMemory
	case "disk":
		return func(ctx context.Context) (map[string]any, error) { return readDisk(ctx, o.Disk) }
	case "temperature":
		return func(ctx context.Context) (map[string]any, error) { return readTemperature(ctx, o.Sys) }
	case "network":
		return readNetwork(o.Interface)
	case "load":
		return readLoad
	case "uptime":
		return readUptime
	case "battery":
		return func(context.Context) (map[string]any, error) { return readBattery(o.Sys) }
	case "throttling":
		return func(context.Context) (map[string]any, error) { return readThrottling(o.Sys) }
	}
	return func(context.Context) (map[string]any, error) {
		return nil, fmt.Errorf("%q can't be read", name)
	}
}

// readCPU returns a read of the share of busy time since the last call; nil at the first.
func readCPU() read {
	var last cpu.TimesStat
	first := true
	return func(ctx context.Context) (map[string]any, error) {
		all, err := cpu.TimesWithContext(ctx, false)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			return nil, errors.New("the system reports no processor times")
		}
		now := all[0]
		defer func() { last, first = now, false }()
		if first {
			return nil, nil
		}
		if p, ok := busy(last, now); ok {
			return map[string]any{"cpu": p}, nil
		}
		return nil, nil // two readings within one tick of the kernel's clock
	}
}

// busy returns the percentage of time that was neither idle nor waiting for a disk.
func busy(a, b cpu.TimesStat) (float64, bool) {
	total := func(t cpu.TimesStat) float64 {
		sum := t.User + t.System + t.Nice + t.Idle + t.Iowait + t.Irq + t.Softirq + t.Steal
		if runtime.GOOS != "linux" { // on Linux user and nice include guests
			sum += t.Guest + t.GuestNice
		}
		return sum
	}
	all := total(b) - total(a)
	idle := b.Idle + b.Iowait - a.Idle - a.Iowait
	if !(all > 0) {
		return 0, false
	}
	return math.Min(100, math.Max(0, 100*(all-idle)/all)), true // iowait may decrease
}

func readMemory(ctx context.Context) (map[string]any, error) {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{"memory": m.UsedPercent, "memory_used": int64(m.Used), "memory_total": int64(m.Total)}
	s, err := mem.SwapMemoryWithContext(ctx)
	if err != nil {
		return fields, fmt.Errorf("swap: %w", err)
	}
	if s.Total > 0 {
		fields["swap"] = s.UsedPercent
	}
	return fields, nil
}

func readDisk(ctx context.Context, path string) (map[string]any, error) {
	u, err := disk.UsageWithContext(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return map[string]any{"disk": u.UsedPercent, "disk_free": int64(u.Free), "disk_total": int64(u.Total)}, nil
}

func readUptime(ctx context.Context) (map[string]any, error) {
	up, err := host.UptimeWithContext(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]any{"uptime": int64(up)}, nil
}
