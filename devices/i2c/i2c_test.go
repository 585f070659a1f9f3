package i2c

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// wires is a bus with chips, each a function of the bytes written and the number of bytes to read.
type wires struct {
	mu     sync.Mutex
	chips  map[Address]func(w []byte, n int) ([]byte, error)
	fail   int // this many transfers will fail
	opened int
}

var errSilent = errors.New("no such device or address")

func (b *wires) transfer(ctx context.Context, a Address, w, r []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail > 0 {
		b.fail--
		return errSilent
	}
	c := b.chips[a]
	if c == nil {
		return errSilent
	}
	data, err := c(w, len(r))
	if len(data) < len(r) && err == nil {
		err = fmt.Errorf("the test's chip has %d bytes for % x and not %d", len(data), w, len(r))
	}
	copy(r, data)
	return err
}

func (b *wires) Close() error { return nil }

// registers is a chip with consecutive registers.
func registers(m map[byte][]byte) func(w []byte, n int) ([]byte, error) {
	return func(w []byte, n int) ([]byte, error) {
		if len(w) == 0 {
			return nil, nil
		}
		if len(w) > 1 {
			m[w[0]] = append([]byte{}, w[1:]...)
		}
		return m[w[0]], nil
	}
}

// answers is a chip with an answer to each command.
func answers(m map[string][]byte) func(w []byte, n int) ([]byte, error) {
	last := ""
	return func(w []byte, n int) ([]byte, error) {
		if n == 0 {
			last = fmt.Sprintf("%x", w)
			if _, ok := m[last]; !ok && last != "" {
				return nil, fmt.Errorf("the chip does not know the command %s", last)
			}
			return nil, nil
		}
		return m[last], nil
	}
}

func source(b *wires, o Options) (*Source, *kindtest.Bus) {
	e := kindtest.NewBus()
	s := New(o, e)
	s.open = func(Bus, Address) (bus, error) { b.mu.Lock(); b.opened++; b.mu.Unlock(); return b, nil }
	s.sleep = func(ctx context.Context, d time.Duration) error { return ctx.Err() }
	return s, e
}

func options(sensor string) Options {
	o := defaults()
	o.Bus, o.Sensor = 1, sensor
	return o
}

// measured returns the first event of a sensor.
func measured(t *testing.T, o Options, c func(w []byte, n int) ([]byte, error)) (map[string]any, error) {
	t.Helper()
	s, _ := source(&wires{chips: map[Address]func([]byte, int) ([]byte, error){o.address(): c}}, o)
	if err := s.Open(t.Context()); err != nil {
		return nil, err
	}
	defer s.Close()
	f, err := s.read(t.Context())
	for k, v := range f {
		if v == nil {
			delete(f, k)
		}
	}
	return f, err
}

func u16(list ...int) (b []byte) {
	for _, v := range list {
		b = append(b, byte(v>>8), byte(v))
	}
	return b
}

func le16(list ...int) (b []byte) {
	for _, v := range list {
		b = append(b, byte(v), byte(v>>8))
	}
	return b
}

// bmp280Example is the calibration of the BMP280's datasheet, 3.12.
var bmp280Example = append(le16(27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000), 0, 75)

func TestValuesOfTheDatasheets(t *testing.T) {
	sum := func(w ...int) (b []byte) {
		for _, v := range w {
			two := u16(v)
			b = append(append(b, two...), checksum(two))
		}
		return b
	}
	bme := func(id byte) func([]byte, int) ([]byte, error) {
		const p, t = 415148, 519888
		data := []byte{p >> 12, p >> 4 & 0xff, p << 4 & 0xf0, t >> 12, t >> 4 & 0xff, t << 4 & 0xf0, 0x6a, 0x40}
		return registers(map[byte][]byte{0xd0: {id}, 0xf3: append([]byte{0, 0, 0, 0}, data...), 0x88: bmp280Example, 0xe1: {0x6a, 1, 0, 0x14, 0x00, 0x03, 0x1e}})
	}
	ina := func(shunt float64) Options {
		o := options("ina219")
		o.Shunt = shunt
		return o
	}
	ads := options("ads1115")
	ads.Channels, ads.Range = []string{"a0", "a0-a1"}, "2.048"
	adsValues := [][]byte{u16(0x7fff), u16(0x8000)}
	for name, c := range map[string]struct {
		o    Options
		chip func(w []byte, n int) ([]byte, error)
		want map[string]any
	}{
		"bmp280":    {options("bme280"), bme(0x58), map[string]any{"temperature": 25.08, "pressure": 1006.533}},
		"bme280":    {options("bme280"), bme(0x60), map[string]any{"temperature": 25.08, "pressure": 1006.533, "humidity": 36.92}},
		"sht3x":     {options("sht3x"), answers(map[string][]byte{"30a2": {}, "f32d": sum(0x8010), "2400": sum(0x6667, 0x5eb9)}), map[string]any{"temperature": 25.0, "humidity": 37.0}},
		"sht3x hot": {options("sht3x"), answers(map[string][]byte{"30a2": {}, "f32d": sum(0), "2400": sum(0xffff, 0xffff)}), map[string]any{"temperature": 130.0, "humidity": 100.0}},
		"sht4x":     {options("sht4x"), answers(map[string][]byte{"94": {}, "89": sum(1, 2), "fd": sum(0x6667, 0x5eb9)}), map[string]any{"temperature": 25.0, "humidity": 40.25}},
		"sht4x dry": {options("sht4x"), answers(map[string][]byte{"94": {}, "89": sum(1, 2), "fd": sum(0, 0)}), map[string]any{"temperature": -45.0, "humidity": 0.0}},
		"scd4x": {options("scd4x"), answers(map[string][]byte{"3f86": {}, "3682": sum(0xf896, 0x9f07, 0x3bbe), "21b1": {}, "e4b8": sum(0x8006), "ec05": {0x01, 0xf4, 0x33, 0x66, 0x67, 0xa2, 0x5e, 0xb9, 0x3c}}),
			map[string]any{"co2": 500, "temperature": 25.0, "humidity": 37.0}},
		"scd4x not ready": {options("scd4x"), answers(map[string][]byte{"3f86": {}, "3682": sum(1, 2, 3), "21b1": {}, "e4b8": sum(0x8000)}), nil},
		"bh1750":          {options("bh1750"), answers(map[string][]byte{"01": {}, "20": {0x83, 0x90}}), map[string]any{"lux": 28066.7}},
		"tmp102 +":        {options("tmp102"), registers(map[byte][]byte{0: u16(0x7ff0)}), map[string]any{"temperature": 127.9375}},
		"tmp102 -0.25":    {options("tmp102"), registers(map[byte][]byte{0: u16(0xffc0)}), map[string]any{"temperature": -0.25}},
		"tmp102 -55":      {options("tmp102"), registers(map[byte][]byte{0: u16(0xc900)}), map[string]any{"temperature": -55.0}},
		"ina219": {ina(0.002), registers(map[byte][]byte{1: u16(2000), 2: u16(0x5d98)}),
			map[string]any{"shunt_voltage": 0.02, "voltage": 11.98, "current": 10.0, "power": 119.8}},
		"ina219 back": {ina(0.1), registers(map[byte][]byte{1: u16(-1000), 2: u16(5000 / 4 << 3)}),
			map[string]any{"shunt_voltage": -0.01, "voltage": 5.0, "current": -0.1, "power": -0.5}},
		"ads1115": {ads, func(w []byte, n int) ([]byte, error) {
			switch {
			case n > 0 && w[0] == 0:
				v := adsValues[0]
				adsValues = adsValues[1:]
				return v, nil
			case n > 0:
				return u16(0x8583), nil
			case len(w) == 3:
				if want := [][]byte{{1, 0xc5, 0x83}, {1, 0x85, 0x83}}[2-len(adsValues)]; !reflect.DeepEqual(w, want) {
					return nil, fmt.Errorf("the configuration is % x, not % x", w, want)
				}
			}
			return nil, nil
		}, map[string]any{"volts": map[string]any{"a0": 2.047938, "a0_a1": -2.048}}},
		"mcp23017": {options("mcp23017"), registers(map[byte][]byte{0x12: {0x81, 0x02}}),
			map[string]any{"pins": []any{1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0}, "changed": []any{}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := measured(t, c.o, c.chip)
			if err != nil {
				t.Fatal(err)
			}
			if c.want != nil {
				c.want["sensor"], c.want["bus"], c.want["address"] = c.o.Sensor, 1, c.o.address().String()
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestChecksumOfTheDatasheet(t *testing.T) {
	for in, want := range map[uint16]byte{0xbeef: 0x92, 0x01f4: 0x33, 0x6667: 0xa2, 0x5eb9: 0x3c, 0xf896: 0x31, 0x9f07: 0xc2, 0x3bbe: 0x89} {
		if got := checksum(u16(int(in))); got != want {
			t.Errorf("%#04x: %#02x, want %#02x", in, got, want)
		}
	}
}

// humidity32 is the datasheet's other formula, 4.2.3, in integers: percent times 1024.
func humidity32(c calibration, raw, fine int32) uint32 {
	v := fine - 76800
	v = (((raw << 14) - (int32(c.h4) << 20) - (int32(c.h5) * v)) + 16384) >> 15 *
		(((((((v*int32(c.h6))>>10)*(((v*int32(c.h3))>>11)+32768))>>10)+2097152)*int32(c.h2) + 8192) >> 14)
	v -= (((v >> 15) * (v >> 15)) >> 7 * int32(c.h1)) >> 4
	return uint32(min(max(v, 0), 419430400)) >> 12
}

func TestHumidityIsTheSameByBothFormulas(t *testing.T) {
	c := readCalibration(bmp280Example, []byte{0x6a, 1, 0, 0x14, 0x25, 0x03, 0x1e})
	for raw := int32(20000); raw < 45000; raw += 777 {
		for _, fine := range []int32{-50000, 60000, 128422, 200000} {
			a, b := c.humidity(raw, float64(fine)), float64(humidity32(c, raw, fine))/1024
			if math.Abs(a-b) > 0.1 {
				t.Errorf("raw %d at %d: %.3f by one formula, %.3f by the other", raw, fine, a, b)
			}
		}
	}
}

func TestCalibrationKeepsSigns(t *testing.T) {
	c := readCalibration(bmp280Example, []byte{0x6a, 1, 7, 0xff, 0xfe, 0xff, 0x80})
	if c.h1 != 75 || c.h2 != 362 || c.h3 != 7 || c.h4 != -2 || c.h5 != -1 || c.h6 != -128 || c.p9 != 6000 || c.t3 != -1000 {
		t.Errorf("%+v", c)
	}
}

func TestMistakesAreErrors(t *testing.T) {
	sht := func(data ...byte) func([]byte, int) ([]byte, error) {
		return answers(map[string][]byte{"30a2": {}, "f32d": {0x80, 0x10, 0xe1}, "2400": data})
	}
	empty := make([]byte, 26)
	idle := append([]byte{0, 0, 0, 0}, 0x80, 0, 0, 0x80, 0, 0, 0x80, 0)
	for name, c := range map[string]struct {
		o    Options
		chip func(w []byte, n int) ([]byte, error)
		want string
	}{
		"checksum":       {options("sht3x"), sht(0xbe, 0xef, 0x93, 0, 0, 0x81), "sht3x at 0x44 on i2c-1: the checksum of be ef is 0x92, not 0x93"},
		"another chip":   {options("bme280"), registers(map[byte][]byte{0xd0: {0x55}}), "bme280 at 0x76 on i2c-1: this is not a BME280 or BMP280: its chip id is 0x55, not 0x60 or 0x58"},
		"no calibration": {options("bme280"), registers(map[byte][]byte{0xd0: {0x58}, 0xf3: {0}, 0x88: empty}), "bme280 at 0x76 on i2c-1: its calibration is empty"},
		"not measured":   {options("bme280"), registers(map[byte][]byte{0xd0: {0x58}, 0xf3: idle, 0x88: bmp280Example}), "bme280 at 0x76 on i2c-1: it did not measure"},
		"never ready":    {options("bme280"), registers(map[byte][]byte{0xd0: {0x58}, 0xf3: {1}, 0x88: empty}), "bme280 at 0x76 on i2c-1: it is not ready 20 ms after a reset"},
		"no INA219":      {options("ina219"), func(w []byte, n int) ([]byte, error) { return make([]byte, n), nil }, "ina219 at 0x40 on i2c-1: this is not an INA219: its configuration is 0x0000 after setting it to 0x399f"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := measured(t, c.o, c.chip); err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestASensorGoesAndComesBack(t *testing.T) {
	chip := registers(map[byte][]byte{0: u16(0x1900)})
	b := &wires{chips: map[Address]func([]byte, int) ([]byte, error){0x48: chip}}
	o := options("tmp102")
	s, e := source(b, o)
	ticks := make(chan struct{})
	s.sleep = func(ctx context.Context, d time.Duration) error {
		if d > time.Second || d <= 0 { // the interval
			select {
			case <-ticks:
			case <-ctx.Done():
			}
		}
		return ctx.Err()
	}
	stop := e.Start(t, s, nil)
	tick := func() string { ticks <- struct{}{}; return e.NextDegraded(t) }
	if got := tick(); got != "<nil>" || e.Next(t)["temperature"] != 25.0 {
		t.Error(got)
	}
	b.mu.Lock()
	b.fail = 2 // retried within the reading
	b.mu.Unlock()
	if got := tick(); got != "<nil>" || e.Next(t)["temperature"] != 25.0 {
		t.Error(got)
	}
	b.mu.Lock()
	delete(b.chips, 0x48)
	before := b.opened
	b.mu.Unlock()
	if tick() == "<nil>" {
		t.Error("a sensor that is gone is not degraded")
	}
	if tick() == "<nil>" || len(e.Events) > 0 {
		t.Error("a sensor that is gone is not degraded, or has events")
	}
	b.mu.Lock()
	b.chips[0x48] = chip
	b.mu.Unlock()
	if got := tick(); got != "<nil>" || e.Next(t)["temperature"] != 25.0 {
		t.Error(got)
	}
	if b.opened < before+2 {
		t.Error("the bus was not opened again")
	}
	stop()
}

func TestPinsThatChanged(t *testing.T) {
	m := map[byte][]byte{0x12: {0, 0}}
	b := &wires{chips: map[Address]func([]byte, int) ([]byte, error){0x20: registers(m)}}
	s, _ := source(b, options("mcp23017"))
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		a, b byte
		want string
	}{{0, 0, "[]"}, {1, 0x80, "[0 15]"}, {1, 0x80, "[]"}, {3, 0x80, "[1]"}} {
		m[0x12] = []byte{c.a, c.b}
		f, err := s.read(t.Context())
		if got := fmt.Sprint(f["changed"]); err != nil || got != c.want {
			t.Errorf("%d: %s, want %s, %v", i, got, c.want, err)
		}
	}
}

func TestAddressesAndBuses(t *testing.T) {
	for in, want := range map[string]string{"0x76": "0x76", "118": "0x76", "0x8": "0x08", "0x07": "", "0x78": "", "-1": "", "x": "", "": ""} {
		var a Address
		if err := a.UnmarshalText([]byte(in)); (err == nil) != (want != "") || err == nil && a.String() != want {
			t.Errorf("%q: %s, %v", in, a, err)
		}
	}
	for in, want := range map[string]int{"1": 1, "i2c-0": 0, "/dev/i2c-20": 20, "": -1, "i2c": -1, "-1": -1, "/dev/ttyS0": -1} {
		var b Bus
		if err := b.UnmarshalText([]byte(in)); (err == nil) != (want >= 0) || err == nil && int(b) != want {
			t.Errorf("%q: %d, %v", in, b, err)
		}
	}
	o := options("bme280")
	if got := fmt.Sprint(o.Claims(), o.Access()); got != "[i2c:1/0x76] [device:/dev/i2c-1]" {
		t.Error(got)
	}
	for a, want := range map[Address]string{0x48: "ads1115 tmp102 ina219", 0x77: "bme280", 0x5c: "bh1750", 0x62: "scd4x", 0x45: "ina219 sht3x sht4x", 0x46: "ina219 sht4x", 0x10: ""} {
		if got := strings.Join(sensorsAt(a), " "); len(strings.Fields(want)) != len(strings.Fields(got)) {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
}

func FuzzAddress(f *testing.F) {
	f.Add([]byte("0x76"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var a Address
		if a.UnmarshalText(text) == nil && (a < firstAddress || a > lastAddress) {
			t.Errorf("%q is %s", text, a)
		}
	})
}

func TestAConversionIsWaitedFor(t *testing.T) {
	o := options("ads1115")
	o.Channels = []string{"a0"}
	busy := 2 // this many reads find it converting
	got, err := measured(t, o, func(w []byte, n int) ([]byte, error) {
		switch {
		case n > 0 && w[0] == 1 && busy > 0:
			busy--
			return u16(0x4383), nil
		case n > 0 && w[0] == 1:
			return u16(0xc383), nil
		case n > 0 && busy > 0:
			return u16(0x1111), nil // of the previous conversion
		}
		return u16(0x4000), nil
	})
	if want := map[string]any{"a0": 2.048}; err != nil || !reflect.DeepEqual(got["volts"], want) {
		t.Errorf("%v, %v", got["volts"], err)
	}
	if _, err := measured(t, o, func(w []byte, n int) ([]byte, error) { return u16(0x4383), nil }); err == nil || !strings.Contains(err.Error(), "a conversion takes longer than 45 ms") {
		t.Error(err)
	}
}

func TestPinsThatChangedWhileTheChipWasAway(t *testing.T) {
	m := map[byte][]byte{0x12: {0, 0}}
	b := &wires{chips: map[Address]func([]byte, int) ([]byte, error){0x20: registers(m)}}
	s, _ := source(b, options("mcp23017"))
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	m[0x12] = []byte{4, 0}
	b.fail = 1000
	if _, err := s.read(t.Context()); err == nil {
		t.Fatal("a silent chip was read")
	}
	b.fail = 0
	f, err := s.read(t.Context())
	if got := fmt.Sprint(f["changed"]); err != nil || got != "[2]" {
		t.Errorf("since the event before %s changed, %v", got, err)
	}
}

// expander is an MCP23017 by tables 3-1 and 3-3 of its datasheet: IOCON.BANK decides the order of
// its registers.
func expander(bank1 bool) func(w []byte, n int) ([]byte, error) {
	const iocon = 0x0a
	var regs [22]byte // in the order of BANK 0
	regs[0], regs[1] = 0xff, 0xff
	if bank1 {
		regs[iocon] = 0x80
	}
	where := func(at byte) int { // -1: there is none
		switch {
		case regs[iocon]&0x80 == 0 && at < 22:
			return int(at) &^ map[bool]int{true: 1}[at == iocon+1]
		case regs[iocon]&0x80 != 0 && at&0x0f <= 0x0a && at < 0x20:
			i := int(at&0x0f)*2 + int(at>>4)
			return i &^ map[bool]int{true: 1}[i == iocon+1]
		}
		return -1
	}
	return func(w []byte, n int) ([]byte, error) {
		if len(w) == 0 {
			return nil, nil
		}
		for i, v := range w[1:] {
			if r := where(w[0] + byte(i)); r >= 0 {
				regs[r] = v
			}
		}
		out := make([]byte, n)
		for i := range out {
			switch r := where(w[0] + byte(i)); r {
			case -1:
			case 0x12, 0x13:
				out[i] = 0x21 ^ regs[r-0x12+2] // IPOL
			default:
				out[i] = regs[r]
			}
		}
		return out, nil
	}
}

func TestAnExpanderThatAnotherProgramSetOtherwise(t *testing.T) {
	for _, bank1 := range []bool{false, true} {
		f, err := measured(t, options("mcp23017"), expander(bank1))
		if got, want := fmt.Sprint(f["pins"]), "[1 0 0 0 0 1 0 0 1 0 0 0 0 1 0 0]"; err != nil || got != want {
			t.Errorf("BANK %v: %s, %v", bank1, got, err)
		}
	}
}
