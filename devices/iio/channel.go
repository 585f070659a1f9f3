package iio

// This file reads one value of a sensor. A driver gives it ready (in_temp_input), or raw with an offset
// and a scale (in_temp_raw, in_temp_offset, in_temp_scale), which channels of a type may share.

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// channel is one value: the file is in_<id>_<form>.
type channel struct{ id, form string }

// units are the types of channels whose unit in sysfs is not that of events. Of a pressure sysfs has
// kilopascals, of the others thousandths.
var units = map[string]float64{"temp": 0.001, "humidityrelative": 0.001, "voltage": 0.001, "current": 0.001, "power": 0.001, "pressure": 10}

// words are types that events have other words for.
var words = map[string]string{"temp": "temperature", "humidityrelative": "humidity"}

var channelFile = regexp.MustCompile(`^in_([a-z][a-z0-9_-]*)_(input|raw)$`)

// channels lists the values of a device in the order of their names.
func channels(dir string) []channel {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []channel
	for _, e := range entries { // sorted: _input is before _raw
		m := channelFile.FindStringSubmatch(e.Name())
		if m != nil && !slices.ContainsFunc(out, func(c channel) bool { return c.id == m[1] }) {
			out = append(out, channel{m[1], m[2]})
		}
	}
	return out
}

// kind is the type of a channel: temp of temp0_ambient.
func (c channel) kind() string {
	return c.id[:len(c.id)-len(strings.TrimLeft(c.id, "abcdefghijklmnopqrstuvwxyz"))]
}

// name is the channel in events.
func (c channel) name() string {
	k := c.kind()
	name := c.id
	if w := words[k]; w != "" {
		name = w + c.id[len(k):]
	}
	return strings.ReplaceAll(name, "-", "_")
}

// errSeveral is the error of a channel that is not one number, as a quaternion.
var errSeveral = errors.New("it is several numbers")

// value reads a channel, in the unit of events.
func value(dir string, c channel) (float64, error) {
	v, err := readNumber(filepath.Join(dir, "in_"+c.id+"_"+c.form))
	if err != nil {
		return 0, err
	}
	if c.form == "raw" {
		offset, err := c.setting(dir, "offset", 0)
		if err != nil {
			return 0, err
		}
		scale, err := c.setting(dir, "scale", 1)
		if err != nil {
			return 0, err
		}
		v = (v + offset) * scale
	}
	if u, ok := units[c.kind()]; ok {
		v *= u
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%v is not a value", v)
	}
	return round(v), nil
}

// round drops what is below nine digits, which is noise of the conversion: 21.5, not 21.500000000000004.
func round(v float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 9, 64), 64)
	if err != nil {
		return v
	}
	return r
}

// setting reads the channel's own scale or offset, or the one that it shares with its type.
func (c channel) setting(dir, what string, otherwise float64) (float64, error) {
	shared := c.kind()
	if _, second, differential := strings.Cut(c.id, "-"); differential { // voltage0-voltage1
		shared += "-" + channel{id: second}.kind()
	}
	for _, id := range []string{c.id, shared} {
		v, err := readNumber(filepath.Join(dir, "in_"+id+"_"+what))
		if !errors.Is(err, fs.ErrNotExist) {
			return v, err
		}
	}
	return otherwise, nil
}

func readNumber(file string) (float64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err // the name of the file is said already
		}
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) > 1 {
		return 0, errSeveral
	}
	if len(fields) == 0 {
		return 0, errors.New("its file is empty")
	}
	v, err := strconv.ParseFloat(fields[0], 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%.40q is not a number", fields[0])
	}
	return v, nil
}
