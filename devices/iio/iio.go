// Package iio is the kind `iio`: every sensor that the kernel knows as an Industrial I/O device, below
// /sys/bus/iio/devices: a DHT11 or DHT22, and some hundreds of others on I²C, SPI and in laptops.
//
// What it promises: an event for each sensor every interval, with the values that could be read, in the
// units of the kind. A failed reading is repeated twice, because a DHT11 often misses one; what still
// fails is reported and not invented. Sensors that appear are found, and missing ones reported. It reads
// at most maxSensors sensors with maxChannels values each, and reports it if there are more. The
// kernel's documentation is Documentation/ABI/testing/sysfs-bus-iio.
package iio

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
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
const about = "Reads the sensors that have a driver in the kernel (Industrial I/O), at an interval: one event for each, with all its values. On a Raspberry Pi a DHT11, DHT21 or DHT22 at GPIO 4 " +
	"needs the line `dtoverlay=dht11,gpiopin=4` in `config.txt` and a restart; other sensors have overlays, too (`dtoverlay -a`). A failed reading is repeated twice. Sensors may be added and removed. " +
	"Linux only, through sysfs. It needs no permissions."

// The bounds of a reading.
const (
	maxSensors  = 64
	maxChannels = 64
)

// Options of the source.
type Options struct {
	Sensors []string          `key:"sensors" doc:"only these sensors, by their name or label, as dht11@4, or as iio:device0; empty for all"`
	Names   map[string]string `key:"names" doc:"names for the sensors in events: what sensors would have, to name"`
	Every   time.Duration     `key:"every" doc:"time between two readings of all sensors; a DHT11 measures every two seconds at most" min:"1s" max:"24h"`
	Root    string            `key:"root" doc:"the folder of the devices, for containers that mount sysfs elsewhere"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Every: 10 * time.Second, Root: "/sys/bus/iio/devices"} }

// Access is the devices that the source uses.
func (o Options) Access() []string { return []string{"device:" + o.Root + "/*"} }

// eventFields documents the fields of an event.
type eventFields struct {
	Device      string             `key:"device" doc:"the kernel's name of the device, as iio:device0, which can change with a restart"`
	Sensor      string             `key:"sensor" doc:"the sensor's label, or its name, as dht11@4"`
	Name        string             `key:"name" doc:"its name from names; sensor without one"`
	Temperature float64            `key:"temperature" doc:"in degrees Celsius; nil without one"`
	Humidity    float64            `key:"humidity" doc:"relative, in percent; nil without one"`
	Pressure    float64            `key:"pressure" doc:"in hPa; nil without one"`
	Illuminance float64            `key:"illuminance" doc:"in lx; nil without one"`
	Values      map[string]float64 `key:"values" doc:"all values by the kernel's names of the channels, as voltage0 (V), current (A), power (W), accel_x (m/s²), resistance (Ω), concentration_co2 (%)"`
}

// Source is the sensors of one plugin. An instance runs once: New, Run.
type Source struct {
	o     Options
	env   kind.Env
	pause time.Duration // before a reading is repeated
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	return &Source{o: o, env: env, pause: 500 * time.Millisecond}
}

// Run emits until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	if runtime.GOOS != "linux" {
		return errors.New("iio is on Linux only")
	}
	next := time.Now()
	for {
		if kind.Sleep(ctx, time.Until(next)) != nil {
			return nil
		}
		sensors, err := s.sensors()
		errs := []error{err}
		for _, d := range sensors {
			values, err := s.read(ctx, d)
			if ctx.Err() != nil {
				return nil
			}
			errs = append(errs, err)
			if len(values) == 0 {
				continue
			}
			if err := emit(ctx, time.Now(), s.event(d, values)); err != nil {
				return err
			}
		}
		s.env.Degraded(errors.Join(errs...))
		next = kind.NextTick(next, s.o.Every)
	}
}

func (s *Source) event(d sensor, values map[string]any) map[string]any {
	e := map[string]any{"device": d.device, "sensor": d.name, "name": d.name, "values": values}
	for _, key := range []string{d.device, d.name} {
		if name := s.o.Names[key]; name != "" {
			e["name"] = name
		}
	}
	for _, common := range []string{"temperature", "humidity", "pressure", "illuminance"} {
		if v, ok := values[common]; ok {
			e[common] = v
		}
	}
	return e
}

// sensor is one device. Its name is its label, or the driver's.
type sensor struct{ device, name string }

// sensors returns what to read. The error names what is missing.
func (s *Source) sensors() ([]sensor, error) {
	there := list(s.o.Root)
	if len(there) == 0 {
		return nil, nothing(s.o.Root)
	}
	if len(s.o.Sensors) == 0 {
		return bounded(there)
	}
	var out []sensor
	var missing, known []string
	for _, want := range s.o.Sensors {
		found := false
		for _, d := range there {
			if (d.device == want || d.name == want) && !slices.Contains(out, d) {
				out, found = append(out, d), true
			}
		}
		if !found {
			missing = append(missing, want)
		}
	}
	if len(missing) == 0 {
		return bounded(out)
	}
	for _, d := range there {
		known = append(known, d.name)
	}
	return out[:min(len(out), maxSensors)], fmt.Errorf("there is no sensor %s; available: %s", strings.Join(missing, ", "), strings.Join(known, ", "))
}

func bounded(list []sensor) ([]sensor, error) {
	if len(list) > maxSensors {
		return list[:maxSensors], fmt.Errorf("there are %d sensors, of which %d are read: name them in sensors", len(list), maxSensors)
	}
	return list, nil
}

func nothing(root string) error {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the kernel has no sensor: there is no %s; on a Raspberry Pi write dtoverlay=dht11,gpiopin=4 into config.txt for a DHT11 or DHT22, and restart it", root)
	}
	return errors.New("the kernel has no sensor: check the overlay in config.txt, and `dmesg`")
}

// read returns the values of a sensor. The error names those that could not be read.
func (s *Source) read(ctx context.Context, d sensor) (values map[string]any, err error) {
	dir := filepath.Join(s.o.Root, d.device)
	files := channels(dir)
	var errs []error
	if len(files) == 0 {
		return nil, fmt.Errorf("the sensor %s has no values", d.name)
	}
	if len(files) > maxChannels {
		errs = append(errs, fmt.Errorf("the sensor %s has %d values, of which %d are read", d.name, len(files), maxChannels))
		files = files[:maxChannels]
	}
	values = map[string]any{}
	for _, f := range files {
		v, err := value(dir, f)
		for range 2 {
			if err == nil || errors.Is(err, errSeveral) || kind.Sleep(ctx, s.pause) != nil {
				break
			}
			v, err = value(dir, f)
		}
		switch {
		case errors.Is(err, errSeveral):
		case err != nil:
			errs = append(errs, fmt.Errorf("the sensor %s: %s: %w", d.name, f.name(), err))
		default:
			values[f.name()] = v
		}
	}
	return values, errors.Join(errs...)
}

// list returns the devices in the order of their numbers.
func list(root string) []sensor {
	paths, _ := filepath.Glob(filepath.Join(root, "iio:device*"))
	var out []sensor
	for _, p := range paths {
		d := sensor{device: filepath.Base(p)}
		for _, file := range []string{"label", "name"} {
			if text, err := os.ReadFile(filepath.Join(p, file)); err == nil && d.name == "" {
				d.name = strings.TrimSpace(strings.ToValidUTF8(string(text), "\uFFFD"))
			}
		}
		d.name = cmp.Or(d.name, d.device)
		if len(channels(p)) > 0 { // not a converter that only puts out
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b sensor) int {
		return cmp.Or(cmp.Compare(number(a.device), number(b.device)), cmp.Compare(a.device, b.device))
	})
	return out
}

func number(device string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(device, "iio:device"))
	return n
}

// Describe lists the sensors as they are written in a file.
func Describe() []string {
	var out []string
	for _, d := range list(defaults().Root) {
		var values []string
		for _, f := range channels(filepath.Join(defaults().Root, d.device)) {
			values = append(values, f.name())
		}
		out = append(out, fmt.Sprintf("sensors: [%s]   # %s: %s", d.name, d.device, strings.Join(values, ", ")))
	}
	return out
}
