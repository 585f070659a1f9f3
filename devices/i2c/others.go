// This file is TI's TMP102 (SBOS397), ADS1115 (SBAS444) and INA219 (SBOS448), Rohm's BH1750 and
// Microchip's MCP23017 (DS20001952).

package i2c

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// register reads a register of 16 bits.
func (p *port) register(n byte) (uint16, error) {
	r, err := p.read(2, n)
	return binary.BigEndian.Uint16(r), err
}

type tmp102 struct{ port }

func (s *tmp102) setUp() error {
	if err := s.write(1, 0x60, 0xa0); err != nil { // 12 bits, always on: its power-up setting
		return err
	}
	return s.wait(35 * time.Millisecond) // a conversion
}

func (s *tmp102) measure() (map[string]any, error) {
	v, err := s.register(0)
	if err != nil {
		return nil, err
	}
	return map[string]any{"temperature": round(float64(int16(v)>>4)/16, 4)}, nil
}

type bh1750 struct{ port }

func (s *bh1750) setUp() error { return s.write(0x01) } // power on

func (s *bh1750) measure() (map[string]any, error) {
	if err := s.write(0x20); err != nil { // one measurement at the highest resolution
		return nil, err
	}
	if err := s.wait(180 * time.Millisecond); err != nil {
		return nil, err
	}
	r, err := s.read(2)
	if err != nil {
		return nil, err
	}
	return map[string]any{"lux": round(float64(binary.BigEndian.Uint16(r))/1.2, 1)}, nil
}

type ads1115 struct {
	port
	channels []string
	full     string
}

// The bits of the register "config", 8.1.3.
var (
	adsInput = map[string]uint16{"a0-a1": 0, "a0-a3": 1, "a1-a3": 2, "a2-a3": 3, "a0": 4, "a1": 5, "a2": 6, "a3": 7}
	adsRange = map[string]uint16{"6.144": 0, "4.096": 1, "2.048": 2, "1.024": 3, "0.512": 4, "0.256": 5}
)

func (s *ads1115) setUp() error {
	_, err := s.register(1)
	return err
}

func (s *ads1115) measure() (map[string]any, error) {
	full, err := strconv.ParseFloat(s.full, 64)
	if err != nil {
		return nil, err
	}
	volts := map[string]any{}
	for _, c := range s.channels {
		raw, err := s.convert(1<<15 | adsInput[c]<<12 | adsRange[s.full]<<9 | 1<<8 | 4<<5 | 3) // one conversion at 128 a second, no alarm
		if err != nil {
			return nil, err
		}
		volts[strings.ReplaceAll(c, "-", "_")] = round(float64(raw)*full/32768, 6)
	}
	return map[string]any{"volts": volts}, nil
}

func (s *ads1115) convert(config uint16) (int16, error) {
	if err := s.write(1, byte(config>>8), byte(config)); err != nil {
		return 0, err
	}
	for range 5 {
		if err := s.wait(9 * time.Millisecond); err != nil { // 1/128 s, and a tenth for the tolerance of its clock
			return 0, err
		}
		state, err := s.register(1)
		if err != nil {
			return 0, err
		}
		if state&(1<<15) != 0 { // not state&1<<15: that is (state&1)<<15
			v, err := s.register(0)
			return int16(v), err
		}
	}
	return 0, errors.New("a conversion takes longer than 45 ms")
}

type ina219 struct {
	port
	shunt float64
}

// inaConfig is 32 V, ±320 mV, 12 bits, always measuring: the power-up setting.
const inaConfig = 0x399f

func (s *ina219) setUp() error {
	if err := s.write(0, inaConfig>>8, inaConfig&0xff); err != nil {
		return err
	}
	v, err := s.register(0)
	if err == nil && v != inaConfig {
		err = wrongChip{fmt.Errorf("this is not an INA219: its configuration is %#04x after setting it to %#04x", v, inaConfig)}
	}
	if err != nil {
		return err
	}
	return s.wait(2 * time.Millisecond)
}

// measure does not use the chip's own current and power: they are this division and this product,
// but rounded.
func (s *ina219) measure() (map[string]any, error) {
	sh, err := s.register(1)
	if err != nil {
		return nil, err
	}
	b, err := s.register(2)
	if err != nil {
		return nil, err
	}
	drop, volts := float64(int16(sh))*10e-6, float64(b>>3)*4e-3
	amps := drop / s.shunt
	return map[string]any{"shunt_voltage": round(drop, 5), "voltage": round(volts, 3), "current": round(amps, 6), "power": round(volts*amps, 6)}, nil
}

type mcp23017 struct {
	port
	pullUp bool
	*pins
}

// pins are those of the last event. They outlive the chip's absence.
type pins struct {
	last  uint16
	known bool
}

func (s *mcp23017) setUp() error {
	pull := byte(0)
	if s.pullUp {
		pull = 0xff
	}
	// IOCON is written first, at the address that it has when another program set BANK: then the
	// registers are in another order, and 0x05 is an interrupt's.
	for _, w := range [][]byte{{0x05, 0}, {0x0a, 0}, {0x00, 0xff, 0xff}, {0x02, 0, 0}, {0x0c, pull, pull}} {
		if err := s.write(w...); err != nil {
			return err
		}
	}
	r, err := s.read(2, 0x0c)
	if err == nil && (r[0] != pull || r[1] != pull) {
		err = wrongChip{fmt.Errorf("this is not an MCP23017: its pull-ups are % x after setting them to %02x", r, pull)}
	}
	return err
}

func (s *mcp23017) measure() (map[string]any, error) {
	r, err := s.read(2, 0x12)
	if err != nil {
		return nil, err
	}
	now := binary.LittleEndian.Uint16(r)
	levels, changed := make([]any, 16), []any{}
	for i := range levels {
		levels[i] = int(now >> i & 1)
		if s.known && (now^s.last)>>i&1 == 1 {
			changed = append(changed, i)
		}
	}
	s.last, s.known = now, true
	return map[string]any{"pins": levels, "changed": changed}, nil
}
