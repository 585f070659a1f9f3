// Package host is the kind `host`: readings of this machine, taken at an interval.
//
// What it promises:
//
//   - One event every interval with what the file asks for. The first follows a first interval of
//     at most a second, so that percentages and rates are measured over a real time; there is no
//     made-up first value.
//   - A value that can't be read is nil. A reading that fails or hangs (statfs on a dead NFS mount)
//     delays neither the others nor the end of the source: each has its own goroutine and at most
//     one of them. A goroutine that hangs in the kernel ends when the kernel returns; nothing can
//     interrupt it.
//   - A thing that the file names, but this machine doesn't have, is reported once. A thing of the
//     default list that this machine doesn't have is nil and not reported.
//
// It runs no program and needs no permissions. Numbers are as the system reports them, not rounded.
package host

import (
	"context"
	_ "embed"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a commented plugin file.
//
//go:embed sample.yaml
var sample string

// about is what the kind does, for the documentation.
const about = "Reads this machine: processor, memory, disk, temperature, network, load, uptime, battery and a Raspberry Pi's throttling, one event " +
	"every interval. A value that the machine doesn't have is nil. A reading that hangs, such as a disk on a dead network mount, is nil as " +
	"well and delays nothing. Linux, macOS and Windows; the battery is read on Linux, load averages don't exist on Windows, and " +
	"`temperature` there stays nil: its firmware zones, in `temperatures`, aren't the processor's."

// Options of the source.
type Options struct {
	Collect   []string      `key:"collect" doc:"what to read" oneof:"cpu|memory|disk|temperature|network|load|uptime|battery|throttling"`
	Every     time.Duration `key:"every" doc:"time between two events" min:"1s" max:"8760h"`
	Disk      string        `key:"disk" doc:"the mount point (on Windows the drive) that disk measures"`
	Interface string        `key:"interface" doc:"the network interface to count; empty for the sum of all but loopback, in which the traffic of bridges and tunnels counts twice"`
	Sys       string        `key:"sys" doc:"where sysfs is mounted, for containers that mount the machine's elsewhere; Linux only"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	disk := "/"
	if runtime.GOOS == "windows" {
		disk = "C:"
	}
	return Options{Collect: defaultCollect(), Every: 10 * time.Second, Disk: disk, Sys: "/sys"}
}

func defaultCollect() []string { return []string{"cpu", "memory", "disk", "temperature", "uptime"} }

// things are what can be collected.
var things = []string{"cpu", "memory", "disk", "temperature", "network", "load", "uptime", "battery", "throttling"}

// Check checks the options against each other.
func (o Options) Check() []error {
	var errs []error
	bad := func(key, reason, hint string) { errs = append(errs, kind.Wrong(key, reason, hint)) }
	if len(o.Collect) == 0 {
		bad("collect", "nothing to read is listed", "leave it out or name one of "+strings.Join(things, ", "))
	}
	seen := map[string]bool{}
	for _, c := range o.Collect {
		switch {
		case !slices.Contains(things, c):
			bad("collect", fmt.Sprintf("%q can't be read", c), "one of "+strings.Join(things, ", "))
		case seen[c]:
			bad("collect", fmt.Sprintf("%q is listed twice", c), "")
		}
		seen[c] = true
	}
	if o.Disk == "" || strings.ContainsRune(o.Disk, 0) {
		bad("disk", "this is not a mount point", "for example / or, on Windows, C:")
	}
	if strings.ContainsAny(o.Interface, "/\x00 ") {
		bad("interface", fmt.Sprintf("%q is not the name of an interface", o.Interface), "the name as in `ip link`, for example eth0")
	}
	if o.Sys == "" {
		bad("sys", "it is empty", "leave it out for /sys")
	}
	return errs
}

// eventFields is what the source emits. It has the fields of what is collected, nil where a value
// can't be read.
type eventFields struct {
	CPU          float64            `key:"cpu" doc:"use of all processors since the previous event, in percent (0 to 100)"`
	Memory       float64            `key:"memory" doc:"used memory in percent"`
	MemoryUsed   int64              `key:"memory_used" doc:"used memory in bytes"`
	MemoryTotal  int64              `key:"memory_total" doc:"total memory in bytes"`
	Swap         float64            `key:"swap" doc:"used swap space in percent; nil without swap (with memory)"`
	Disk         float64            `key:"disk" doc:"used space of the file system in percent"`
	DiskFree     int64              `key:"disk_free" doc:"bytes that users other than root can still write"`
	DiskTotal    int64              `key:"disk_total" doc:"the size of the file system in bytes"`
	Temperature  float64            `key:"temperature" doc:"the hottest sensor of the processor, in degrees Celsius"`
	Temperatures map[string]float64 `key:"temperatures" doc:"every sensor by name, in degrees Celsius (with temperature)"`
	RX           float64            `key:"rx" doc:"received bytes per second since the previous event (with network)"`
	TX           float64            `key:"tx" doc:"sent bytes per second since the previous event (with network)"`
	RXTotal      int64              `key:"rx_total" doc:"received bytes since the machine started"`
	TXTotal      int64              `key:"tx_total" doc:"sent bytes since the machine started"`
	Load1        float64            `key:"load1" doc:"load average over 1 minute; not on Windows"`
	Load5        float64            `key:"load5" doc:"load average over 5 minutes; not on Windows"`
	Load15       float64            `key:"load15" doc:"load average over 15 minutes; not on Windows"`
	Uptime       int64              `key:"uptime" doc:"seconds since the machine started"`
	Battery      float64            `key:"battery" doc:"charge in percent, of all batteries together; nil without one"`
	Charging     bool               `key:"charging" doc:"the battery is charging (with battery)"`

	UnderVoltage     bool `key:"under_voltage" doc:"a Raspberry Pi's supply is below 4.63 V now (with throttling)"`
	Capped           bool `key:"frequency_capped" doc:"its processor's frequency is capped now (with throttling)"`
	Throttled        bool `key:"throttled" doc:"its processor is throttled now (with throttling)"`
	SoftLimit        bool `key:"soft_temperature_limit" doc:"its soft temperature limit is active now (with throttling)"`
	UnderVoltageOnce bool `key:"under_voltage_occurred" doc:"the same since the machine started"`
	CappedOnce       bool `key:"frequency_capped_occurred" doc:"the same since the machine started"`
	ThrottledOnce    bool `key:"throttled_occurred" doc:"the same since the machine started"`
	SoftLimitOnce    bool `key:"soft_temperature_limit_occurred" doc:"the same since the machine started"`
}

// Source reads the machine. An instance runs once.
type Source struct {
	o   Options
	env kind.Env

	collectors    []*collector
	firstInterval time.Duration // the maximum of the first interval
	timeout       time.Duration // for one round of readings
	endTimeout    time.Duration // how long Run waits for readings when it ends
}

// New makes a source. It reads nothing yet.
func New(o Options, env kind.Env) *Source {
	s := &Source{o: o, env: env, firstInterval: time.Second, timeout: min(2*time.Second, o.Every/2), endTimeout: 500 * time.Millisecond}
	for _, name := range o.Collect {
		s.collectors = append(s.collectors, newCollector(name, reader(name, o), o.named(name)))
	}
	return s
}

// named reports whether the user asked for the thing explicitly. The default list written out can't
// be distinguished from the default.
func (o Options) named(name string) bool {
	return !slices.Equal(o.Collect, defaultCollect()) || name == "disk" && o.Disk != defaults().Disk
}

// Run emits an event every interval until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer s.end(stop)
	if slices.ContainsFunc(s.o.Collect, func(c string) bool { return c == "cpu" || c == "network" }) {
		s.round(ctx, reading, map[string]any{})
		if kind.Sleep(ctx, min(s.o.Every, s.firstInterval)) != nil {
			return nil
		}
	}
	tick := time.NewTicker(s.o.Every)
	defer tick.Stop()
	for {
		fields := map[string]any{}
		missing := s.round(ctx, reading, fields)
		if ctx.Err() != nil {
			return nil
		}
		s.env.Degraded(condition(missing))
		if err := emit(ctx, time.Now(), fields); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// round fills fields with one reading of everything and returns what the user should know.
func (s *Source) round(ctx, reading context.Context, fields map[string]any) (missing []string) {
	for _, c := range s.collectors {
		c.start(reading)
	}
	late := time.NewTimer(s.timeout)
	defer late.Stop()
	for _, c := range s.collectors {
		if err := c.wait(ctx, late, fields); err != nil && c.named {
			missing = append(missing, c.name+": "+err.Error())
		}
	}
	return missing
}

// condition is the error of what is missing, or nil.
func condition(missing []string) error {
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("not everything can be read: %s", strings.Join(missing, "; "))
}

// end waits a moment for the running readings.
func (s *Source) end(stop context.CancelFunc) {
	stop()
	late := time.NewTimer(s.endTimeout)
	defer late.Stop()
	for _, c := range s.collectors {
		c.awaitEnd(late)
	}
}
