// Package i2c is the kind `i2c`: sensors on an I²C bus, read at an interval.
//
// What it promises:
//
//   - An event every interval with checked values in the units that eventFields documents. Checksums are
//     verified where the sensor has them. A failed reading is retried at once, twice.
//   - A sensor that stops answering makes the source degraded, and does not end it. At each
//     interval the bus is opened and the sensor set up again, so that plugging it in again is
//     enough. The kernel's driver recovers a bus that hangs; programs can't.
//   - Several sensors share a bus, also with other programs that lock it as flock(2) does. A
//     transfer is never interrupted.
//   - An address that a kernel driver owns is left alone.
//
// The sensors' registers are read as their datasheets say, through the kernel's I2C_RDWR alone.
// Drivers made for microcontrollers were tried; they ignore errors and checksums.
package i2c

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
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
const about = "Reads a sensor on an I²C bus at an interval: BME280 (and BMP280), SHT3x, SHT4x, BH1750, ADS1115, INA219, MCP23017, TMP102 or SCD4x. Checksums are verified, failed readings " +
	"are retried; a sensor that was unplugged is found again. Several sensors may share a bus. Linux only; postbus must be in the group `i2c`, and on a Raspberry Pi I²C must " +
	"be enabled (`raspi-config`, Interface Options)."

// Options of the source.
type Options struct {
	Bus      Bus           `key:"bus" doc:"the bus: 1, i2c-1 or /dev/i2c-1" need:"yes"`
	Sensor   string        `key:"sensor" doc:"the type of the sensor" need:"yes" oneof:"bme280|sht3x|sht4x|bh1750|ads1115|ina219|mcp23017|tmp102|scd4x"`
	Address  Address       `key:"address" doc:"its address, as 0x76; by default the usual one of the sensor"`
	Every    time.Duration `key:"every" doc:"time between two events; scd4x measures every 5 s, and emits no event in between" min:"20ms" max:"24h"`
	Channels []string      `key:"channels" doc:"ads1115: the inputs to measure against ground, or differences of two" oneof:"a0|a1|a2|a3|a0-a1|a0-a3|a1-a3|a2-a3"`
	Range    string        `key:"range" doc:"ads1115: the range in volts; a smaller one has a higher resolution" oneof:"6.144|4.096|2.048|1.024|0.512|0.256"`
	Shunt    float64       `key:"shunt" doc:"ina219: the shunt resistor, in ohms" min:"0.0001" max:"1000"`
	PullUp   bool          `key:"pull_up" doc:"mcp23017: whether the pull-up resistors of its inputs are on"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{Every: 10 * time.Second, Channels: []string{"a0", "a1", "a2", "a3"}, Range: "4.096", Shunt: 0.1}
}

// Check checks the options against each other.
func (o Options) Check() []error {
	if o.Sensor == "ads1115" && len(o.Channels) == 0 {
		return []error{kind.Wrong("channels", "no channel is listed", "write channels: [a0]")}
	}
	return nil
}

// Claims is what only one plugin can hold: the address on the bus.
func (o Options) Claims() []string {
	return []string{fmt.Sprintf("i2c:%d/%s", o.Bus, o.address())}
}

// Access is the device that the source uses.
func (o Options) Access() []string { return []string{fmt.Sprintf("device:/dev/i2c-%d", o.Bus)} }

func (o Options) address() Address {
	if o.Address == 0 {
		return usual[o.Sensor]
	}
	return o.Address
}

// usual is a sensor's default address, which soldering can change.
var usual = map[string]Address{"bme280": 0x76, "sht3x": 0x44, "sht4x": 0x44, "bh1750": 0x23, "ads1115": 0x48, "ina219": 0x40, "mcp23017": 0x20, "tmp102": 0x48, "scd4x": 0x62}

// eventFields documents the fields of an event. Fields that the sensor doesn't measure are nil.
type eventFields struct {
	Sensor       string         `key:"sensor" doc:"as in the file"`
	Bus          int            `key:"bus" doc:"the number of the bus"`
	Address      string         `key:"address" doc:"as 0x76"`
	Temperature  float64        `key:"temperature" doc:"bme280, sht3x, sht4x, tmp102, scd4x: in degrees Celsius"`
	Humidity     float64        `key:"humidity" doc:"bme280, sht3x, sht4x, scd4x: relative, in percent"`
	Pressure     float64        `key:"pressure" doc:"bme280: air pressure at the sensor, in hPa"`
	Lux          float64        `key:"lux" doc:"bh1750: illuminance, in lux"`
	CO2          int            `key:"co2" doc:"scd4x: carbon dioxide, in ppm"`
	Volts        map[string]any `key:"volts" doc:"ads1115: of each channel, in volts, as {a0: 1.5, a0_a1: -0.25}"`
	Voltage      float64        `key:"voltage" doc:"ina219: between the load and ground, in volts"`
	ShuntVoltage float64        `key:"shunt_voltage" doc:"ina219: across the resistor, in volts"`
	Current      float64        `key:"current" doc:"ina219: through the resistor, in amperes; negative in the other direction"`
	Power        float64        `key:"power" doc:"ina219: voltage times current, in watts"`
	Pins         []int          `key:"pins" doc:"mcp23017: the levels of its 16 pins, A0 first, each 0 or 1"`
	Changed      []int          `key:"changed" doc:"mcp23017: the numbers of the pins that changed since the previous event, 0 for A0 to 15 for B7; empty in the first event"`
}

// Bus is the number of a bus.
type Bus int

// UnmarshalText reads 1, i2c-1 or /dev/i2c-1.
func (b *Bus) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimPrefix(string(text), "/dev/"), "i2c-"), 10, 16)
	if err != nil {
		return kind.Wrong("", fmt.Sprintf("%q is not a bus", text), "write 1 for /dev/i2c-1; `postbus devices` lists the buses")
	}
	*b = Bus(n)
	return nil
}

// Address is a device's address of seven bits.
type Address uint16

func (a Address) String() string { return fmt.Sprintf("%#02x", uint16(a)) }

// UnmarshalText reads 0x76, or 118.
func (a *Address) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 0, 16)
	if err != nil || n < firstAddress || n > lastAddress {
		return kind.Wrong("", fmt.Sprintf("%q is not an address of an I²C device", text), "write a number from 0x08 to 0x77, as 0x76")
	}
	*a = Address(n)
	return nil
}

// The remaining addresses are reserved by the specification.
const (
	firstAddress = 0x08
	lastAddress  = 0x77
)

// bus is an open bus. Errors are the kernel's.
type bus interface {
	// transfer writes and then reads, without releasing the bus in between. Either may be empty.
	transfer(ctx context.Context, address Address, w, r []byte) error
	Close() error
}

// Source is one sensor. An instance runs once: New, Open, Run, Close.
type Source struct {
	o     Options
	env   kind.Env
	open  func(Bus, Address) (bus, error)
	sleep func(context.Context, time.Duration) error
	b     bus
	s     sensor
	pins  pins
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	return &Source{o: o, env: env, open: openBus, sleep: kind.Sleep}
}

// Open opens the bus and sets the sensor up. An error says which buses exist, who may open the bus,
// who owns the address, or what answers on the bus when the sensor doesn't.
func (s *Source) Open(ctx context.Context) error {
	if err := s.setUp(ctx); err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

// setUp opens the bus b and sets up the sensor s. On an error both are nil.
func (s *Source) setUp(ctx context.Context) error {
	if err := s.Close(); err != nil {
		return err
	}
	b, err := s.open(s.o.Bus, s.o.address())
	if err != nil {
		return err
	}
	made := newSensor(s.o, port{ctx: ctx, b: b, at: s.o.address(), sleep: s.sleep}, &s.pins)
	if err := s.attempts(ctx, made.setUp); err != nil {
		err = s.explain(ctx, b, err)
		return errors.Join(err, b.Close())
	}
	s.b, s.s = b, made
	return nil
}

// attempts tries three times, with a pause in which the kernel may recover the bus.
func (s *Source) attempts(ctx context.Context, do func() error) (err error) {
	for _, pause := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 0} {
		if err = do(); err == nil || ctx.Err() != nil || errors.As(err, new(wrongChip)) || errors.As(err, new(lockedBus)) {
			return err
		}
		if pause > 0 && s.sleep(ctx, pause) != nil {
			return err
		}
	}
	return err
}

// explain adds to an error what answers on the bus.
func (s *Source) explain(ctx context.Context, b bus, err error) error {
	where := fmt.Sprintf("%s at %s on i2c-%d", s.o.Sensor, s.o.address(), s.o.Bus)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case hangs(err):
		return fmt.Errorf("%s: the bus hangs: a wire is held low, or pull-up resistors are missing; check the wiring, switch the sensor off and on: %w", where, err)
	case !silent(err):
		return fmt.Errorf("%s: %w", where, err)
	}
	there := "no address answers: check its power and the wires"
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second) // a bus may be slow to report that nothing answers
	defer cancel()
	if list := scan(ctx, b); len(list) > 0 {
		there = "addresses that answer: " + words(list)
	}
	return fmt.Errorf("%s doesn't answer; %s: %w", where, there, err)
}

func words(list []Address) string {
	var s []string
	for _, a := range list {
		s = append(s, a.String())
	}
	return strings.Join(s, ", ")
}

// Close releases the bus. The sensor keeps its settings.
func (s *Source) Close() error {
	if s.b == nil {
		return nil
	}
	b := s.b
	s.b, s.s = nil, nil
	return b.Close()
}

// Run emits until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	next := time.Now()
	for {
		if err := s.sleep(ctx, time.Until(next)); err != nil {
			return nil
		}
		fields, err := s.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.env.Degraded(err)
		if fields != nil {
			if err := emit(ctx, time.Now(), fields); err != nil {
				return err
			}
		}
		next = kind.NextTick(next, s.o.Every)
	}
}

// read returns one event's fields; nil without an error when there is no new value.
func (s *Source) read(ctx context.Context) (map[string]any, error) {
	if s.b == nil {
		if err := s.setUp(ctx); err != nil {
			return nil, err
		}
	}
	var values map[string]any
	s.s.begin(ctx)
	err := s.attempts(ctx, func() (err error) { values, err = s.s.measure(); return err })
	if err != nil {
		err = s.explain(ctx, s.b, err)
		return nil, errors.Join(err, s.Close()) // the next reading sets up everything again
	}
	if values == nil {
		return nil, nil
	}
	fields := map[string]any{"sensor": s.o.Sensor, "bus": int(s.o.Bus), "address": s.o.address().String()}
	for _, k := range []string{"temperature", "humidity", "pressure", "lux", "co2", "volts", "voltage", "shunt_voltage", "current", "power", "pins", "changed"} {
		fields[k] = values[k]
	}
	return fields, nil
}

// scan returns the addresses that answer on the bus.
func scan(ctx context.Context, b bus) []Address {
	var list []Address
	for a := Address(firstAddress); a <= lastAddress && ctx.Err() == nil; a++ {
		w, r := []byte{}, []byte(nil)
		if a >= 0x30 && a <= 0x37 || a >= 0x50 && a <= 0x5f { // memories: some understand an empty write as a command
			w, r = nil, make([]byte, 1)
		}
		err := b.transfer(ctx, a, w, r)
		if refused(err) && r == nil { // an adapter without empty writes
			err = b.transfer(ctx, a, nil, make([]byte, 1))
		}
		if err == nil {
			list = append(list, a)
		}
		if hangs(err) {
			break // each further address would take seconds
		}
	}
	return list
}
