// This file is Bosch's BME280 (datasheet BST-BME280-DS002), and the BMP280, which has no humidity.

package i2c

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

type bme280 struct {
	port
	humid bool
	c     calibration
}

// calibration is the chip's own data, from the datasheet's table 16.
type calibration struct {
	t1                             uint16
	t2, t3                         int16
	p1                             uint16
	p2, p3, p4, p5, p6, p7, p8, p9 int16
	h1, h3                         uint8
	h2, h4, h5                     int16
	h6                             int8
}

func (s *bme280) setUp() error {
	id, err := s.read(1, 0xd0)
	if err != nil {
		return err
	}
	switch id[0] {
	case 0x60:
		s.humid = true
	case 0x56, 0x57, 0x58:
		s.humid = false
	default:
		return wrongChip{fmt.Errorf("this is not a BME280 or BMP280: its chip id is %#02x, not 0x60 or 0x58", id[0])}
	}
	if err := s.write(0xe0, 0xb6); err != nil { // reset
		return err
	}
	for range 10 {
		if err := s.wait(2 * time.Millisecond); err != nil {
			return err
		}
		status, err := s.read(1, 0xf3)
		if err != nil {
			return err
		}
		if status[0]&1 == 0 { // the calibration has been copied from its memory
			return s.calibrate()
		}
	}
	return errors.New("it is not ready 20 ms after a reset")
}

func (s *bme280) calibrate() error {
	a, err := s.read(26, 0x88)
	if err != nil {
		return err
	}
	h := make([]byte, 7)
	if s.humid {
		if h, err = s.read(7, 0xe1); err != nil {
			return err
		}
	}
	if s.c = readCalibration(a, h); s.c.t1 == 0 || s.c.p1 == 0 {
		return errors.New("its calibration is empty")
	}
	return nil
}

// readCalibration decodes the registers from 0x88 and from 0xe1 on.
func readCalibration(a, h []byte) calibration {
	u := func(i int) uint16 { return binary.LittleEndian.Uint16(a[i:]) }
	i := func(n int) int16 { return int16(u(n)) }
	return calibration{
		t1: u(0), t2: i(2), t3: i(4),
		p1: u(6), p2: i(8), p3: i(10), p4: i(12), p5: i(14), p6: i(16), p7: i(18), p8: i(20), p9: i(22),
		h1: a[25], h2: int16(binary.LittleEndian.Uint16(h)), h3: h[2],
		h4: int16(int8(h[3]))<<4 | int16(h[4]&0xf), h5: int16(int8(h[5]))<<4 | int16(h[4]>>4), h6: int8(h[6]),
	}
}

func (s *bme280) measure() (map[string]any, error) {
	if s.humid {
		if err := s.write(0xf2, 1); err != nil {
			return nil, err
		}
	}
	if err := s.write(0xf4, 1<<5|1<<2|1); err != nil { // one measurement of each
		return nil, err
	}
	for range 5 {
		if err := s.wait(10 * time.Millisecond); err != nil { // 9.3 ms at most, by appendix B
			return nil, err
		}
		d, err := s.read(12, 0xf3)
		if err != nil {
			return nil, err
		}
		if d[0]&8 == 0 { // the measurement is complete
			return s.values(d[4:])
		}
	}
	return nil, errors.New("a measurement takes longer than 50 ms")
}

// values converts the registers from 0xf7 on.
func (s *bme280) values(d []byte) (map[string]any, error) {
	rawP := int32(d[0])<<12 | int32(d[1])<<4 | int32(d[2])>>4
	rawT := int32(d[3])<<12 | int32(d[4])<<4 | int32(d[5])>>4
	if rawT == 0x80000 || rawP == 0x80000 {
		return nil, errors.New("it did not measure") // it was reset meanwhile
	}
	fine, celsius := s.c.temperature(rawT)
	v := map[string]any{"temperature": round(celsius, 2), "pressure": round(s.c.pressure(rawP, fine)/100, 3)}
	if s.humid {
		v["humidity"] = round(s.c.humidity(int32(d[6])<<8|int32(d[7]), fine), 2)
	}
	return v, nil
}

// temperature returns °C, and the fine value that the other formulas need. All three are the
// datasheet's formulas in floating point, 8.1.
func (c calibration) temperature(raw int32) (fine, celsius float64) {
	v1 := (float64(raw)/16384 - float64(c.t1)/1024) * float64(c.t2)
	d := float64(raw)/131072 - float64(c.t1)/8192
	fine = v1 + d*d*float64(c.t3)
	return fine, fine / 5120
}

// pressure returns Pa.
func (c calibration) pressure(raw int32, fine float64) float64 {
	v1 := fine/2 - 64000
	v2 := v1 * v1 * float64(c.p6) / 32768
	v2 += v1 * float64(c.p5) * 2
	v2 = v2/4 + float64(c.p4)*65536
	v1 = (float64(c.p3)*v1*v1/524288 + float64(c.p2)*v1) / 524288
	v1 = (1 + v1/32768) * float64(c.p1)
	if v1 == 0 {
		return 0
	}
	p := (1048576 - float64(raw) - v2/4096) * 6250 / v1
	return p + (float64(c.p9)*p*p/2147483648+p*float64(c.p8)/32768+float64(c.p7))/16
}

// humidity returns percent.
func (c calibration) humidity(raw int32, fine float64) float64 {
	h := fine - 76800
	h = (float64(raw) - (float64(c.h4)*64 + float64(c.h5)/16384*h)) *
		(float64(c.h2) / 65536 * (1 + float64(c.h6)/67108864*h*(1+float64(c.h3)/67108864*h)))
	h *= 1 - float64(c.h1)*h/524288
	return min(max(h, 0), 100)
}
