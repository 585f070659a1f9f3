// This file decides which of a machine's sensors is the processor's.

package host

import (
	"errors"
	"fmt"
	"strings"
)

// sensor is one reading in degrees Celsius.
type sensor struct {
	name    string
	celsius float64
}

// processors are the prefixes of the names of processors' sensors, by rank. The first rank that a
// machine has counts, because a driver's reading of the whole package is more accurate than a
// board's zone.
var processors = [][]string{
	{"cpu_thermal", "cpu-thermal", "soc_thermal", "soc-thermal", "cpu0_thermal", "cpu0-thermal", "bcm2835_thermal"}, // Raspberry Pi and other ARM boards
	{"coretemp_package"}, // Intel
	{"k10temp_tdie"},     // AMD; Tctl may have an offset for fan control
	{"k10temp", "zenpower"},
	{"x86_pkg_temp"},
	{"coretemp", "cputemp", "cpu"},
	{"PMU tdie", "pACC", "eACC", "TC0P", "TC0D"}, // Apple
}

var errNoSensor = errors.New("this machine has no sensor of the processor's temperature")

// hottest returns the highest reading of the processor.
func hottest(all []sensor) (float64, bool) {
	for _, names := range processors {
		best, found := 0.0, false
		for _, s := range all {
			for _, n := range names {
				if strings.HasPrefix(strings.ToLower(s.name), strings.ToLower(n)) && (!found || s.celsius > best) {
					best, found = s.celsius, true
				}
			}
		}
		if found {
			return best, true
		}
	}
	return 0, false
}

// temperatures returns the fields for a machine's sensors.
func temperatures(all []sensor) (map[string]any, error) {
	fields := map[string]any{}
	var sane []sensor
	byName := map[string]any{}
	for _, s := range all {
		if s.celsius <= -100 || s.celsius > 250 || s.celsius == 0 && strings.HasPrefix(s.name, "acpitz") {
			continue // a sensor that isn't connected
		}
		sane = append(sane, s)
		name := s.name
		for i := 2; byName[name] != nil; i++ { // two sensors of one name: two disks
			name = fmt.Sprintf("%s_%d", s.name, i)
		}
		byName[name] = s.celsius
	}
	if len(byName) > 0 {
		fields["temperatures"] = byName
	}
	if c, ok := hottest(sane); ok {
		fields["temperature"] = c
		return fields, nil
	}
	return fields, errNoSensor
}
