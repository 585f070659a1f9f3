// This file is sensors without sysfs, by gopsutil. Batteries and throttling are read on Linux only.

//go:build !linux

package host

import (
	"context"
	"errors"

	"github.com/shirou/gopsutil/v4/sensors"
)

func readTemperature(ctx context.Context, _ string) (map[string]any, error) {
	found, err := sensors.TemperaturesWithContext(ctx)
	if err != nil && len(found) == 0 {
		return nil, err
	}
	all := make([]sensor, 0, len(found))
	for _, s := range found {
		all = append(all, sensor{s.SensorKey, s.Temperature})
	}
	return temperatures(all)
}

func readBattery(string) (map[string]any, error) {
	return nil, errors.New("batteries are read on Linux only")
}

func readThrottling(string) (map[string]any, error) {
	return nil, errors.New("throttling is a Raspberry Pi's, and read on Linux only")
}
