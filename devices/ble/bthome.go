// This file decodes BTHome v2. Source: bthome.io/format, github.com/home-assistant/bthome.io,
// src/format.html, with the objects up to 0x5F, 2025.

package ble

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// object is a type of measurement: size bytes, least significant first, times mul, divided by div,
// which gives the nearest number as 25.06 and not 25.060000000000002.
type object struct {
	name   string
	size   int
	signed bool
	mul    float64
	div    float64
}

func unsigned(name string, size int, div float64) object { return object{name, size, false, 1, div} }
func signed(name string, size int, div float64) object   { return object{name, size, true, 1, div} }

// objects are the numbers. The names are the specification's, with the unit where it has the same
// name for two units.
var objects = map[byte]object{
	0x01: unsigned("battery", 1, 1), 0x02: signed("temperature", 2, 100), 0x03: unsigned("humidity", 2, 100),
	0x04: unsigned("pressure", 3, 100), 0x05: unsigned("illuminance", 3, 100), 0x06: unsigned("mass", 2, 100),
	0x07: unsigned("mass_lb", 2, 100), 0x08: signed("dewpoint", 2, 100), 0x09: unsigned("count", 1, 1),
	0x0a: unsigned("energy", 3, 1000), 0x0b: unsigned("power", 3, 100), 0x0c: unsigned("voltage", 2, 1000),
	0x0d: unsigned("pm2_5", 2, 1), 0x0e: unsigned("pm10", 2, 1), 0x12: unsigned("co2", 2, 1),
	0x13: unsigned("tvoc", 2, 1), 0x14: unsigned("moisture", 2, 100), 0x2e: unsigned("humidity", 1, 1),
	0x2f: unsigned("moisture", 1, 1), 0x3d: unsigned("count", 2, 1), 0x3e: unsigned("count", 4, 1),
	0x3f: signed("rotation", 2, 10), 0x40: unsigned("distance_mm", 2, 1), 0x41: unsigned("distance", 2, 10),
	0x42: unsigned("duration", 3, 1000), 0x43: unsigned("current", 2, 1000), 0x44: unsigned("speed", 2, 100),
	0x45: signed("temperature", 2, 10), 0x46: unsigned("uv_index", 1, 10), 0x47: unsigned("volume", 2, 10),
	0x48: unsigned("volume_ml", 2, 1), 0x49: unsigned("volume_flow_rate", 2, 1000), 0x4a: unsigned("voltage", 2, 10),
	0x4b: unsigned("gas", 3, 1000), 0x4c: unsigned("gas", 4, 1000), 0x4d: unsigned("energy", 4, 1000),
	0x4e: unsigned("volume", 4, 1000), 0x4f: unsigned("water", 4, 1000), 0x50: unsigned("timestamp", 4, 1),
	0x51: unsigned("acceleration", 2, 1000), 0x52: unsigned("gyroscope", 2, 1000), 0x55: unsigned("volume_storage", 4, 1000),
	0x56: unsigned("conductivity", 2, 1), 0x57: signed("temperature", 1, 1), 0x58: {"temperature", 1, true, 35, 100},
	0x59: signed("count", 1, 1), 0x5a: signed("count", 2, 1), 0x5b: signed("count", 4, 1),
	0x5c: signed("power", 4, 100), 0x5d: signed("current", 2, 1000), 0x5e: unsigned("direction", 2, 100),
	0x5f: unsigned("precipitation", 2, 1), 0xf0: unsigned("device_type", 2, 1),
}

// states are the objects of one byte that are true or false. Four have names of our own, because
// the specification gives theirs to numbers, too.
var states = map[byte]string{
	0x0f: "generic_boolean", 0x10: "power_on", 0x11: "opening", 0x15: "battery_low", 0x16: "battery_charging", 0x17: "carbon_monoxide",
	0x18: "cold", 0x19: "connectivity", 0x1a: "door", 0x1b: "garage_door", 0x1c: "gas_detected", 0x1d: "heat", 0x1e: "light", 0x1f: "lock",
	0x20: "moisture_detected", 0x21: "motion", 0x22: "moving", 0x23: "occupancy", 0x24: "plug", 0x25: "presence", 0x26: "problem", 0x27: "running",
	0x28: "safety", 0x29: "smoke", 0x2a: "sound", 0x2b: "tamper", 0x2c: "vibration", 0x2d: "window",
}

var presses = map[byte]string{1: "press", 2: "double_press", 3: "triple_press", 4: "long_press", 5: "long_double_press", 6: "long_triple_press", 0x80: "hold_press"}

var turns = map[byte]string{1: "rotate_left", 2: "rotate_right"}

// measurements collects values by name.
type measurements struct {
	values map[string]any
	count  map[string]int
}

// add adds a value; nil is the event None, which only counts. The second of a name is name_2.
func (m measurements) add(name string, value any) {
	m.count[name]++
	if n := m.count[name]; n > 1 {
		name = fmt.Sprintf("%s_%d", name, n)
	}
	if value != nil {
		m.values[name] = value
	}
}

// decodeBTHome decodes the objects up to the first unknown one, after which nothing can be decoded,
// because its length is unknown.
func decodeBTHome(data []byte) (reading, error) {
	if len(data) == 0 {
		return reading{}, errors.New("a BTHome device sent no data")
	}
	if version := data[0] >> 5; version != 2 {
		return reading{}, fmt.Errorf("a BTHome device sent version %d instead of 2", version)
	}
	m := measurements{map[string]any{}, map[string]int{}}
	r := reading{format: formatBTHome, fields: map[string]any{"values": m.values}}
	if data[0]&1 != 0 {
		r.fields["encrypted"] = true
		r.id, r.once = 1<<32, true // no packet id: one event for each device
		return r, nil
	}
	rest := data[1:]
	for len(rest) > 0 {
		size := r.object(m, rest)
		if size == 0 {
			r.fields["rest"] = hex.EncodeToString(rest)
			break
		}
		rest = rest[size:]
	}
	if len(m.count) == 0 && len(rest) > 0 {
		return reading{}, errors.New("a BTHome device sent nothing that is known")
	}
	return r, nil
}

// object decodes the first object of data, and returns its size; 0: it is unknown or incomplete.
func (r *reading) object(m measurements, data []byte) int {
	id, v := data[0], data[1:]
	if o, ok := objects[id]; ok && len(v) >= o.size {
		m.add(o.name, o.value(v))
		return 1 + o.size
	}
	if name, ok := states[id]; ok && len(v) >= 1 {
		m.add(name, v[0] != 0)
		return 2
	}
	switch {
	case id == 0x00 && len(v) >= 1: // the packet id
		r.fields["counter"] = int(v[0])
		r.id, r.once = uint64(v[0]), true
		return 2
	case id == 0x3a && len(v) >= 1:
		m.add("button", eventName(presses, v[0]))
		return 2
	case id == 0x3c && len(v) >= 2:
		m.add("dimmer", eventName(turns, v[0]))
		m.add("dimmer_steps", steps(v))
		return 3
	case (id == 0x53 || id == 0x54) && len(v) >= 1 && len(v)-1 >= int(v[0]):
		text := v[1 : 1+int(v[0])]
		if id == 0x53 {
			m.add("text", strings.ToValidUTF8(string(text), "\uFFFD"))
		} else {
			m.add("raw", hex.EncodeToString(text))
		}
		return 2 + len(text)
	case id == 0xf1 && len(v) >= 4:
		m.add("firmware", fmt.Sprintf("%d.%d.%d.%d", v[3], v[2], v[1], v[0]))
		return 5
	case id == 0xf2 && len(v) >= 3:
		m.add("firmware", fmt.Sprintf("%d.%d.%d", v[2], v[1], v[0]))
		return 4
	}
	return 0
}

// eventName returns the name of an event; nil for 0, which is none.
func eventName(names map[byte]string, v byte) any {
	if v == 0 {
		return nil
	}
	if n, ok := names[v]; ok {
		return n
	}
	return fmt.Sprintf("unknown_%d", v)
}

// steps returns a dimmer's steps; nil for the event None.
func steps(v []byte) any {
	if v[0] == 0 {
		return nil
	}
	return float64(v[1])
}

func (o object) value(v []byte) float64 {
	var n int64
	for i := o.size - 1; i >= 0; i-- {
		n = n<<8 | int64(v[i])
	}
	if bits := 64 - 8*o.size; o.signed {
		n = n << bits >> bits
	}
	return float64(n) * o.mul / o.div
}
