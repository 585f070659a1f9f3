// This file is Sensirion's SHT3x (datasheet of December 2022), SHT4x (version 6.6) and SCD4x
// (version 1.7).

package i2c

import (
	"fmt"
	"time"
)

type sht3x struct{ port }

func (s *sht3x) setUp() error {
	if err := s.write(0x30, 0xa2); err != nil { // reset
		return err
	}
	if err := s.wait(2 * time.Millisecond); err != nil {
		return err
	}
	if err := s.write(0xf3, 0x2d); err != nil { // status
		return err
	}
	_, err := s.words(1)
	return err
}

func (s *sht3x) measure() (map[string]any, error) {
	if err := s.write(0x24, 0x00); err != nil { // one measurement at the highest resolution
		return nil, err
	}
	if err := s.wait(16 * time.Millisecond); err != nil {
		return nil, err
	}
	w, err := s.words(2)
	if err != nil {
		return nil, err
	}
	return map[string]any{"temperature": round(-45+175*float64(w[0])/65535, 2), "humidity": round(100*float64(w[1])/65535, 2)}, nil
}

type sht4x struct{ port }

func (s *sht4x) setUp() error {
	if err := s.write(0x94); err != nil { // reset
		return err
	}
	if err := s.wait(2 * time.Millisecond); err != nil {
		return err
	}
	if err := s.write(0x89); err != nil { // serial number
		return err
	}
	if err := s.wait(2 * time.Millisecond); err != nil {
		return err
	}
	_, err := s.words(2)
	return err
}

func (s *sht4x) measure() (map[string]any, error) {
	if err := s.write(0xfd); err != nil { // at the highest resolution
		return nil, err
	}
	if err := s.wait(10 * time.Millisecond); err != nil {
		return nil, err
	}
	w, err := s.words(2)
	if err != nil {
		return nil, err
	}
	h := min(max(-6+125*float64(w[1])/65535, 0), 100) // the datasheet clamps it, 4.6
	return map[string]any{"temperature": round(-45+175*float64(w[0])/65535, 2), "humidity": round(h, 2)}, nil
}

type scd4x struct{ port }

func (s *scd4x) setUp() error {
	if err := s.write(0x3f, 0x86); err != nil { // stop: it accepts no other command while it measures
		return err
	}
	if err := s.wait(500 * time.Millisecond); err != nil {
		return err
	}
	if err := s.write(0x36, 0x82); err != nil { // serial number
		return err
	}
	if err := s.wait(2 * time.Millisecond); err != nil {
		return err
	}
	if _, err := s.words(3); err != nil {
		return err
	}
	return s.write(0x21, 0xb1) // measure every 5 s
}

func (s *scd4x) measure() (map[string]any, error) {
	if err := s.write(0xe4, 0xb8); err != nil { // ready?
		return nil, err
	}
	if err := s.wait(2 * time.Millisecond); err != nil {
		return nil, err
	}
	ready, err := s.words(1)
	if err != nil || ready[0]&0x7ff == 0 {
		return nil, err
	}
	if err := s.write(0xec, 0x05); err != nil {
		return nil, err
	}
	if err := s.wait(2 * time.Millisecond); err != nil {
		return nil, err
	}
	w, err := s.words(3)
	if err != nil {
		return nil, err
	}
	if w[0] == 0 {
		return nil, fmt.Errorf("it measured 0 ppm, as it does while it warms up")
	}
	return map[string]any{"co2": int(w[0]), "temperature": round(-45+175*float64(w[1])/65535, 2), "humidity": round(100*float64(w[2])/65535, 2)}, nil
}
