// This file is the interface of a sensor, and the functions to talk to one.

package i2c

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// sensor is a chip. setUp checks that the chip is the right one and puts it into a known state.
// measure returns the values by the keys of eventFields, nil when there is no new value.
type sensor interface {
	begin(ctx context.Context)
	setUp() error
	measure() (map[string]any, error)
}

// port is a chip's address on a bus.
type port struct {
	ctx   context.Context // of the current call
	b     bus
	at    Address
	sleep func(context.Context, time.Duration) error
}

// begin sets the context that ends waiting.
func (p *port) begin(ctx context.Context) { p.ctx = ctx }

func (p *port) wait(d time.Duration) error { return p.sleep(p.ctx, d) }

func (p *port) write(w ...byte) error { return p.b.transfer(p.ctx, p.at, w, nil) }

// read reads n bytes after writing w, which may be empty.
func (p *port) read(n int, w ...byte) ([]byte, error) {
	r := make([]byte, n)
	return r, p.b.transfer(p.ctx, p.at, w, r)
}

// wrongChip is an error that no retry can fix: another device has the address.
type wrongChip struct{ error }

// lockedBus is an error after a wait that was long enough.
type lockedBus struct{ error }

// words reads n numbers of 16 bits, each with its checksum, as Sensirion's sensors send them.
func (p *port) words(n int) ([]uint16, error) {
	data, err := p.read(3 * n)
	if err != nil {
		return nil, err
	}
	list := make([]uint16, n)
	for i := range list {
		w := data[3*i : 3*i+3]
		if sum := checksum(w[:2]); sum != w[2] {
			return nil, fmt.Errorf("the checksum of % x is %#02x, not %#02x", w[:2], sum, w[2])
		}
		list[i] = binary.BigEndian.Uint16(w)
	}
	return list, nil
}

// checksum returns the CRC-8 of Sensirion's datasheets: polynomial 0x31, initial value 0xff.
func checksum(data []byte) byte {
	sum := byte(0xff)
	for _, b := range data {
		sum ^= b
		for range 8 {
			if carry := sum&0x80 != 0; carry {
				sum = sum<<1 ^ 0x31
			} else {
				sum <<= 1
			}
		}
	}
	return sum
}

// round keeps so many decimals. Further digits come from the arithmetic, not from the sensor.
func round(x float64, decimals int) float64 {
	f := math.Pow10(decimals)
	return math.Round(x*f) / f
}

func newSensor(o Options, p port, pins *pins) sensor {
	switch o.Sensor {
	case "bme280":
		return &bme280{port: p}
	case "sht3x":
		return &sht3x{p}
	case "sht4x":
		return &sht4x{p}
	case "bh1750":
		return &bh1750{p}
	case "ads1115":
		return &ads1115{port: p, channels: o.Channels, full: o.Range}
	case "ina219":
		return &ina219{port: p, shunt: o.Shunt}
	case "mcp23017":
		return &mcp23017{port: p, pullUp: o.PullUp, pins: pins}
	case "scd4x":
		return &scd4x{port: p}
	}
	return &tmp102{p}
}
