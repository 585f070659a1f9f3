// Package pwm is the kind `pwm`, an action: the duty cycle of a hardware PWM channel, for dimmed
// lamps, fans and servos.
//
// What it promises: the channel has its initial duty from when the plugin is loaded, the requested
// duty when the event is acknowledged, and its safe duty when the plugin or postbus ends properly.
// A chip that is absent at first is waited for. Other programs are not excluded from the channel,
// because sysfs, through which it is used, knows no holders (Documentation/driver-api/pwm.rst).
package pwm

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
	"sync"
	"syscall"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// actionSample is a commented plugin file with the action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is what the action does, for the documentation.
const actionAbout = "Sets the duty cycle of a hardware PWM channel, in percent. The channel has its `initial` duty as soon as the plugin is loaded and its `safe` one when the plugin " +
	"or postbus ends. Linux only, through sysfs; on a Raspberry Pi the device tree must enable it (`dtoverlay=pwm`), and postbus needs permission to write there."

// Chip is a PWM chip, as pwmchip0.
type Chip string

// UnmarshalText reads pwmchip0 or 0.
func (c *Chip) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(string(text), "pwmchip"), 10, 16)
	if err != nil {
		return kind.Wrong("", fmt.Sprintf("%q is not a PWM chip", text), "write pwmchip0, or its number")
	}
	*c = Chip(fmt.Sprintf("pwmchip%d", n))
	return nil
}

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	Chip      Chip    `key:"chip" doc:"the chip: pwmchip0, or its number" need:"yes"`
	Channel   int     `key:"channel" doc:"the channel on the chip, from 0" min:"0" max:"1023"`
	Frequency float64 `key:"frequency" doc:"in Hz" min:"0.1" max:"10000000"`
	Inverted  bool    `key:"inverted" doc:"whether the duty cycle is the part of the time that the line is low"`
	Initial   float64 `key:"initial" doc:"duty cycle when the plugin is loaded, in percent" min:"0" max:"100"`
	Safe      float64 `key:"safe" doc:"duty cycle when the plugin or postbus ends, in percent" min:"0" max:"100"`
	Root      string  `key:"root" doc:"the folder of the chips, for containers that mount sysfs elsewhere"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions { return ActionOptions{Frequency: 1000, Root: "/sys/class/pwm"} }

// Claims is what only one plugin can hold: the channel.
func (o ActionOptions) Claims() []string {
	return []string{fmt.Sprintf("pwm:%s/%d", o.Chip, o.Channel)}
}

// Access is the device that the action uses.
func (o ActionOptions) Access() []string {
	return []string{"device:" + filepath.Join(o.Root, string(o.Chip))}
}

// Args are the arguments for one event.
type Args struct {
	Duty      float64 `key:"duty" doc:"the part of the time that the line is high, in percent" need:"yes" min:"0" max:"100"`
	Frequency float64 `key:"hz" doc:"new frequency, in Hz; 0 leaves it unchanged" min:"0" max:"10000000"`
}

const (
	retry         = 5 * time.Second // for an absent chip
	exportTimeout = time.Second     // for udev to set permissions on a channel that was just exported
)

// Action sets one channel.
type Action struct {
	o      ActionOptions
	env    kind.Env
	cancel context.CancelFunc
	ended  chan struct{}
	put    func(path, value string) error // writes a file of sysfs

	mu     sync.Mutex
	ready  bool // the channel is set up
	hz     float64
	closed bool
}

// NewAction makes an action of checked options and begins to set its channel up. Close ends it.
func NewAction(o ActionOptions, env kind.Env) *Action {
	return newAction(o, env, func(path, value string) error { return os.WriteFile(path, []byte(value), 0) })
}

func newAction(o ActionOptions, env kind.Env, put func(path, value string) error) *Action {
	ctx, cancel := context.WithCancel(context.Background())
	a := &Action{o: o, env: env, cancel: cancel, ended: make(chan struct{}), put: put, hz: o.Frequency}
	go func() {
		defer close(a.ended)
		for ctx.Err() == nil {
			a.mu.Lock()
			err := a.setUpLocked(ctx)
			a.mu.Unlock()
			if ctx.Err() != nil {
				return
			}
			if env.Degraded(err); err == nil {
				return
			}
			_ = kind.Sleep(ctx, retry) // its error is ctx's, which ends the loop
		}
	}()
	return a
}

func (a *Action) path(name string) string {
	return filepath.Join(a.o.Root, string(a.o.Chip), fmt.Sprintf("pwm%d", a.o.Channel), name)
}

// setUp exports the channel and sets its initial duty, unless that was done. The caller holds mu.
func (a *Action) setUpLocked(ctx context.Context) error {
	if a.ready {
		return nil
	}
	if runtime.GOOS != "linux" {
		return kind.Permanent(errors.New("pwm is on Linux only"))
	}
	if err := a.export(ctx); err != nil {
		return err
	}
	polarity := "normal"
	if a.o.Inverted {
		polarity = "inversed"
	}
	if now, err := os.ReadFile(a.path("polarity")); err == nil && strings.TrimSpace(string(now)) != polarity {
		if period, err := a.now("period"); err == nil && period == 0 { // otherwise everything is refused
			if err := a.write("period", number(math.Round(1e9/a.hz))); err != nil {
				return err
			}
		}
		if err := a.write("enable", "0"); err != nil { // otherwise the polarity is refused
			return err
		}
		if err := a.write("polarity", polarity); err != nil {
			return err
		}
	}
	if err := a.set(a.o.Initial, a.hz); err != nil {
		return err
	}
	a.ready = true
	return nil
}

// export makes the channel appear and waits until it is writable.
func (a *Action) export(ctx context.Context) error {
	chip := filepath.Join(a.o.Root, string(a.o.Chip))
	count, err := os.ReadFile(chip + "/npwm")
	if errors.Is(err, fs.ErrNotExist) {
		there, _ := filepath.Glob(a.o.Root + "/pwmchip*")
		for i := range there {
			there[i] = filepath.Base(there[i])
		}
		if len(there) == 0 {
			return fmt.Errorf("this machine has no PWM chip in %s; on a Raspberry Pi write dtoverlay=pwm into config.txt and restart it", a.o.Root)
		}
		return fmt.Errorf("there is no chip %s; available: %s", a.o.Chip, strings.Join(there, ", "))
	}
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(count))); err == nil && a.o.Channel >= n {
		return fmt.Errorf("%s has the channels 0 to %d, not %d", a.o.Chip, n-1, a.o.Channel)
	}
	if _, err := os.Stat(a.path("")); err == nil {
		return nil
	}
	if err := os.WriteFile(chip+"/export", []byte(strconv.Itoa(a.o.Channel)), 0); err != nil {
		return denied(err)
	}
	for end := time.Now().Add(exportTimeout); ; {
		f, err := os.OpenFile(a.path("duty_cycle"), os.O_WRONLY, 0)
		if err == nil {
			return f.Close()
		}
		if time.Now().After(end) {
			return denied(err)
		}
		if err := kind.Sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func denied(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: on a Raspberry Pi the group gpio has permission (sudo usermod -aG gpio USER, and restart postbus); elsewhere a udev rule must grant it to a group", err)
	}
	return err
}

func (a *Action) write(name, value string) error {
	if err := a.put(a.path(name), value); err != nil {
		return fmt.Errorf("setting %s to %s: %w", name, value, denied(err))
	}
	return nil
}

// set sets duty in percent and frequency in Hz. The kernel refuses at any moment a duty above the
// period, and before a period is set it refuses everything else (Linux 6.6 and before).
func (a *Action) set(duty, hz float64) error {
	period := math.Round(1e9 / hz)
	on := math.Round(period * duty / 100)
	before, err := a.now("period")
	if err != nil {
		return err
	}
	on0, err := a.now("duty_cycle")
	if err != nil {
		return err
	}
	order := [][2]string{{"duty_cycle", number(on)}, {"enable", "1"}}
	if before != period {
		at := 0
		if on0 > period {
			at = 1 // after the duty, which decreases
		}
		order = slices.Insert(order, at, [2]string{"period", number(period)})
	}
	for _, w := range order {
		if err := a.write(w[0], w[1]); err != nil {
			if w[0] == "period" && on0 > period {
				_ = a.write("duty_cycle", number(on0))
			}
			return err
		}
	}
	return nil
}

// now returns the kernel's current value.
func (a *Action) now(name string) (float64, error) {
	b, err := os.ReadFile(a.path(name))
	if err != nil {
		return 0, denied(err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
}

func number(ns float64) string { return strconv.FormatInt(int64(ns), 10) }

// Do sets the duty. A removed chip is an error, and the next attempt looks for it again.
func (a *Action) Do(ctx context.Context, args Args) error {
	switch { // the value may come from an expression, so it is checked here
	case !(args.Duty >= 0 && args.Duty <= 100):
		return kind.Permanent(fmt.Errorf("duty: %v is not from 0 to 100 percent", args.Duty))
	case !(args.Frequency >= 0 && args.Frequency <= 1e7):
		return kind.Permanent(fmt.Errorf("hz: %v is not from 0 to 10000000", args.Frequency))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errors.New("the action is closed")
	}
	if err := a.setUpLocked(ctx); err != nil {
		return err
	}
	hz := a.hz
	if args.Frequency > 0 {
		hz = args.Frequency
	}
	if err := a.set(args.Duty, hz); err != nil {
		if hz != a.hz && (errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ERANGE)) {
			return kind.Permanent(fmt.Errorf("hz: the chip does not support %v Hz: %w", hz, err)) // the channel keeps its frequency
		}
		a.ready = false
		return err
	}
	a.hz = hz
	return nil
}

// Close sets the safe duty. The channel stays exported.
func (a *Action) Close() error {
	a.cancel()
	<-a.ended
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if !a.ready {
		return nil
	}
	a.ready = false
	return a.set(a.o.Safe, a.hz)
}

// Describe lists the machine's PWM channels for `postbus devices`, as they are written in a file.
func Describe() []string {
	chips, _ := filepath.Glob("/sys/class/pwm/pwmchip*")
	var out []string
	for _, c := range chips {
		n, _ := os.ReadFile(c + "/npwm")
		out = append(out, fmt.Sprintf("chip: %s  # channels: %s", filepath.Base(c), strings.TrimSpace(string(n))))
	}
	return out
}
