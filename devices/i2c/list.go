// This file is what `postbus devices` lists.

package i2c

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// busInfo is a bus.
type busInfo struct {
	Number int    // what to write as bus
	Path   string // /dev/i2c-1
	Name   string // of its adapter
}

// answering is an address that answers.
type answering struct {
	Address Address
	Driver  string   // the kernel driver that owns it; empty when it is free
	Sensors []string // this kind's sensors that usually have this address; it may be another device
}

func sensorsAt(a Address) []string {
	var list []string
	for s, first := range usual {
		last := first
		switch s {
		case "bme280", "sht3x":
			last = first + 1
		case "sht4x":
			last = first + 2
		case "bh1750":
			if a == 0x5c {
				last = 0x5c
				first = 0x5c
			}
		case "ads1115", "tmp102":
			last = first + 3
		case "ina219":
			last = first + 15
		case "mcp23017":
			last = first + 7
		}
		if a >= first && a <= last {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	return list
}

// Describe lists the buses and the devices that answer, as they are written in a file. It takes up
// to three seconds for a bus that hangs.
func Describe() []string {
	var out []string
	for _, d := range buses() {
		out = append(out, fmt.Sprintf("bus: %d  # %s", d.Number, d.Name))
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		found, err := scanBus(ctx, d.Number)
		cancel()
		for _, f := range found {
			what := "something else"
			if len(f.Sensors) > 0 {
				what = "perhaps " + strings.Join(f.Sensors, " or ")
			}
			if f.Driver != "" {
				what = "held by the kernel's driver " + f.Driver
			}
			out = append(out, fmt.Sprintf("  address: %s  # %s", f.Address, what))
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("the bus is slow or hangs; not every address was queried")
		}
		if err != nil {
			out = append(out, "  # "+err.Error())
		}
	}
	return out
}
