// Package onewire is the kind `onewire`: the temperatures of DS18B20 sensors and similar ones on a
// 1-Wire bus, as the kernel's driver w1_therm reports them in sysfs.
//
// What it promises: an event for each sensor every interval, with a temperature whose checksum is
// correct. False readings of such sensors, the 85 °C that they report after power-up without a
// conversion before it, make no event. New sensors are found and missing ones reported. A sensor
// that doesn't answer delays the others only by its reading time, up to a second. The kernel's
// documentation is Documentation/w1/slaves/w1_therm.rst.
package onewire

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var sample string

// about is what the source does, for the documentation.
const about = "Reads DS18B20 temperature sensors (and DS18S20, DS1822, DS28EA00) on a 1-Wire bus at an interval: one event for each. Readings with a wrong checksum are retried; " +
	"the 85 °C that a sensor reports after power-up is not an event. Sensors may be added and removed. Linux only, through sysfs; on a Raspberry Pi write `dtoverlay=w1-gpio` into " +
	"`config.txt` and restart it. It needs no permissions."

// Options of the source.
type Options struct {
	Sensors []string          `key:"sensors" doc:"only these sensors, by their ids, as 28-00000a1b2c3d; empty for all"`
	Names   map[string]string `key:"names" doc:"names for the sensors in events: id to name"`
	Every   time.Duration     `key:"every" doc:"time between two readings of all sensors" min:"1s" max:"24h"`
	Root    string            `key:"root" doc:"the folder of the devices, for containers that mount sysfs elsewhere"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Every: 30 * time.Second, Root: "/sys/bus/w1/devices"} }

// families are the first two digits of the ids of sensors that w1_therm reads.
var families = []string{"10", "22", "28", "3b", "42"}

// Check checks the options against each other.
func (o Options) Check() []error {
	var errs []error
	for _, id := range o.Sensors {
		if !isSensor(id) {
			errs = append(errs, kind.Wrong("sensors", fmt.Sprintf("%q is not an id of a sensor", id), "write it as 28-00000a1b2c3d; `postbus devices` lists them"))
		}
	}
	for id := range o.Names {
		if !isSensor(id) {
			errs = append(errs, kind.Wrong("names."+id, fmt.Sprintf("%q is not an id of a sensor", id), "write names: {28-00000a1b2c3d: cellar}"))
		}
	}
	return errs
}

// isSensor reports whether id has the form that the kernel writes: in lower case.
func isSensor(id string) bool {
	family, number, ok := strings.Cut(id, "-")
	_, err := strconv.ParseUint(number, 16, 64)
	return ok && slices.Contains(families, family) && err == nil && len(number) == 12 && number == strings.ToLower(number)
}

// Access is the devices that the source uses.
func (o Options) Access() []string { return []string{"device:" + o.Root + "/*"} }

// eventFields documents the fields of an event.
type eventFields struct {
	ID          string  `key:"id" doc:"the sensor's id, as 28-00000a1b2c3d, which never changes"`
	Name        string  `key:"name" doc:"its name from names; the id without one"`
	Temperature float64 `key:"temperature" doc:"in degrees Celsius"`
}

// Source is the sensors of one plugin. An instance runs once: New, Run.
type Source struct {
	o    Options
	env  kind.Env
	last map[string]float64 // the last good temperature of each sensor
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source { return &Source{o: o, env: env, last: map[string]float64{}} }

// Run emits until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	if runtime.GOOS != "linux" {
		return errors.New("onewire is on Linux only")
	}
	next := time.Now()
	for {
		if kind.Sleep(ctx, time.Until(next)) != nil {
			return nil
		}
		ids, err := s.sensors()
		errs := []error{err}
		for _, id := range ids {
			celsius, err := s.read(ctx, id)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			name := s.o.Names[id]
			if name == "" {
				name = id
			}
			if err := emit(ctx, time.Now(), map[string]any{"id": id, "name": name, "temperature": celsius}); err != nil {
				return err
			}
		}
		s.env.Degraded(errors.Join(errs...))
		next = kind.NextTick(next, s.o.Every)
	}
}

// sensors returns the ids to read. The error names the missing ones.
func (s *Source) sensors() ([]string, error) {
	there := list(s.o.Root)
	if len(s.o.Sensors) == 0 {
		if len(there) == 0 {
			return nil, nothing(s.o.Root)
		}
		return there, nil
	}
	var ids, missing []string
	for _, id := range s.o.Sensors {
		if slices.Contains(there, id) {
			ids = append(ids, id)
		} else {
			missing = append(missing, id)
		}
	}
	switch {
	case len(missing) == 0:
		return ids, nil
	case len(there) == 0:
		return nil, nothing(s.o.Root)
	}
	return ids, fmt.Errorf("there is no sensor %s; available: %s", strings.Join(missing, ", "), strings.Join(there, ", "))
}

func nothing(root string) error {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("this machine has no 1-Wire bus: there is no %s; on a Raspberry Pi write dtoverlay=w1-gpio into config.txt and restart it, elsewhere `modprobe w1-gpio w1-therm`", root)
	}
	return errors.New("there is no temperature sensor on the 1-Wire bus: check the wires and the 4.7 kΩ resistor from data to 3.3 V")
}

// read returns a sensor's temperature. The kernel makes the sensor measure, which takes up to 0.75
// s.
func (s *Source) read(ctx context.Context, id string) (celsius float64, err error) {
	for range 3 {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		var text []byte
		if text, err = os.ReadFile(filepath.Join(s.o.Root, id, "w1_slave")); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return 0, fmt.Errorf("the sensor %s is gone", id)
			}
			continue
		}
		if celsius, err = parse(string(text)); err != nil {
			continue
		}
		// 85 is the value after power-up. It is accepted only when the last temperature was about
		// as high.
		if last, ok := s.last[id]; celsius == 85 && (!ok || math.Abs(last-85) > 5) {
			err = errors.New("it reports 85 °C, as sensors do that lost power before a conversion")
			continue
		}
		s.last[id] = celsius
		return celsius, nil
	}
	return 0, fmt.Errorf("the sensor %s: %w", id, err)
}

// parse parses the two lines of w1_slave: "… : crc=57 YES" and "… t=23125", in thousandths of a
// degree.
func parse(text string) (float64, error) {
	first, second, _ := strings.Cut(strings.TrimSpace(text), "\n")
	switch {
	case strings.TrimSpace(text) == "":
		return 0, errors.New("its file is empty")
	case !strings.HasSuffix(strings.TrimSpace(first), "YES"):
		return 0, errors.New("the checksum is wrong: the wire is too long or badly connected")
	case strings.HasPrefix(first, "00 00 00 00 00 00 00 00 00"): // its checksum is correct
		return 0, errors.New("the wire is short-circuited, or the sensor has no power")
	}
	_, number, ok := strings.Cut(second, "t=")
	milli, err := strconv.Atoi(strings.TrimSpace(number))
	if !ok || err != nil || milli < -55000 || milli > 125000 {
		return 0, fmt.Errorf("%.60q is not a temperature", second)
	}
	return float64(milli) / 1000, nil
}

func list(root string) []string {
	paths, _ := filepath.Glob(root + "/*-*")
	var ids []string
	for _, p := range paths {
		if id := filepath.Base(p); isSensor(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Describe lists the sensors as they are written in a file.
func Describe() []string {
	ids := list(defaults().Root)
	if len(ids) == 0 {
		return nil
	}
	return []string{"sensors: [" + strings.Join(ids, ", ") + "]"}
}
