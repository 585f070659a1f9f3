// This file is Linux's sensors and batteries, from sysfs. gopsutil reads no thermal zone when there
// is any hwmon sensor (then a board with a warm SSD has no processor), and no batteries.

package host

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxSensors bounds the sensors in one event on an unusual machine.
const maxSensors = 256

func readTemperature(ctx context.Context, sys string) (map[string]any, error) {
	var all []sensor
	inputs, _ := filepath.Glob(filepath.Join(escape(sys), "class/hwmon/hwmon*/temp*_input")) // the pattern is valid
	for _, in := range inputs {
		if ctx.Err() != nil || len(all) >= maxSensors {
			break
		}
		name := text(filepath.Join(filepath.Dir(in), "name"))
		if label := text(strings.TrimSuffix(in, "_input") + "_label"); label != "" {
			name += "_" + strings.ReplaceAll(strings.ToLower(label), " ", "_")
		}
		if c, ok := milli(in); ok && name != "" {
			all = append(all, sensor{name, c})
		}
	}
	zones, _ := filepath.Glob(filepath.Join(escape(sys), "class/thermal/thermal_zone*/temp"))
	for _, z := range zones {
		name := text(filepath.Join(filepath.Dir(z), "type"))
		if ctx.Err() != nil || len(all) >= maxSensors {
			break
		}
		if name == "" || known(all, name) { // most zones are an hwmon sensor as well
			continue
		}
		if c, ok := milli(z); ok {
			all = append(all, sensor{name, c})
		}
	}
	return temperatures(all)
}

func known(all []sensor, zone string) bool {
	for _, s := range all {
		if strings.ReplaceAll(s.name, "-", "_") == strings.ReplaceAll(zone, "-", "_") {
			return true
		}
	}
	return false
}

// readBattery adds up the batteries that power the machine. A battery of a wireless mouse is
// recognised by its scope.
func readBattery(sys string) (map[string]any, error) {
	dirs, _ := filepath.Glob(filepath.Join(escape(sys), "class/power_supply/*"))
	var now, full, sum float64
	n, weighed, charging := 0, 0, false
	var failed error
	for _, d := range dirs {
		if text(filepath.Join(d, "type")) != "Battery" || text(filepath.Join(d, "scope")) == "Device" || text(filepath.Join(d, "present")) == "0" {
			continue
		}
		percent, ok := number(filepath.Join(d, "capacity"))
		if !ok || percent < 0 {
			failed = fmt.Errorf("%s: its charge can't be read", filepath.Base(d))
			continue
		}
		n++
		sum += percent
		charging = charging || text(filepath.Join(d, "status")) == "Charging"
		for _, kind := range []string{"energy", "charge"} {
			f, ok := number(filepath.Join(d, kind+"_full"))
			if ok && f > 0 {
				now, full = now+f*percent, full+f
				weighed++
				break
			}
		}
	}
	switch {
	case n == 0 && failed != nil:
		return nil, failed
	case n == 0:
		return nil, errors.New("this machine has no battery")
	case n > 1 && weighed == n:
		return map[string]any{"battery": math.Min(100, now/full), "charging": charging}, failed
	}
	return map[string]any{"battery": math.Min(100, sum/float64(n)), "charging": charging}, failed
}

// text returns the content of a one-line file. It is empty when the file can't be read, as with a
// sensor that is asleep.
func text(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	var b [128]byte
	n, _ := f.Read(b[:])
	return strings.ToValidUTF8(strings.TrimSpace(string(b[:n])), "?")
}

func number(path string) (float64, bool) {
	v, err := strconv.ParseInt(text(path), 10, 64)
	return float64(v), err == nil
}

func milli(path string) (float64, bool) {
	v, ok := number(path)
	return v / 1000, ok
}

// escape returns a pattern that matches only path itself.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
